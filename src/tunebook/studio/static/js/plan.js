// The plan beside the page: what the answers ask for, drawn again with each of them.
import { $, ApiError, api, bytes, figure, h, plural, seconds, toast, trying, whole } from "/static/js/core.js";
import { quiet } from "/static/js/parts.js";

const SHOWN = [
  ["training.learning_rate", "Learning rate"],
  ["training.batch_size", "Batch size"],
  ["training.epochs", "Epochs"],
  ["training.warmup.strategy", "Warmup"],
  ["training.method", "Trains"],
  ["evaluation.schedule", "Evaluates"],
  ["stopping.rules", "Stops early"],
  ["metrics", "Measures"],
  ["review.policy", "Review"],
];

export class PlanPanel {
  #key;
  #others = [...document.querySelectorAll("#others input")]; // a box for each other page that has answers
  #accept = new Set();
  #settings = [];
  #asked = 0;
  #measuring = "";
  #estimate = null;

  constructor(key) {
    this.#key = key;
    const kept = JSON.parse(localStorage.getItem(`plan:${key}`) ?? "{}");
    if ([...$("data").options].some((option) => option.value === kept.data)) $("data").value = kept.data;
    if (kept.model) $("model").value = kept.model;
    this.#accept = new Set(kept.accept ?? []);
    this.#settings = kept.settings ?? [];
    for (const box of this.#others) {
      box.checked = (kept.others ?? []).includes(box.value);
      box.addEventListener("change", () => this.draw());
    }
    this.#fromAddress();
    $("data").addEventListener("change", () => this.draw());
    $("model").addEventListener("change", () => this.draw());
    $("start").addEventListener("click", () => this.#start());
    $("enqueue").addEventListener("click", () => this.#enqueue());
  }

  /** The keys of pages whose answers can go into this plan, too. */
  get others() {
    return this.#others.map((box) => box.value);
  }

  #wanted() {
    return {
      page: this.#key,
      others: this.#others.filter((box) => box.checked).map((box) => box.value),
      data: $("data").value,
      model: $("model").value.trim(),
      accept: [...this.#accept],
      settings: this.#settings,
    };
  }

  /** The data view sends its file here, with what was set there. */
  #fromAddress() {
    const query = new URLSearchParams(location.search);
    if (!query.has("data")) return;
    $("data").value = query.get("data");
    if (query.has("model")) $("model").value = query.get("model");
    this.#settings = query.getAll("set");
    history.replaceState(null, "", location.pathname);
  }

  async draw() {
    const mine = ++this.#asked,
      wanted = this.#wanted();
    localStorage.setItem(`plan:${this.#key}`, JSON.stringify(wanted));
    $("start").disabled = $("enqueue").disabled = true;
    try {
      const found = await api("plan", { method: "POST", body: wanted });
      if (mine !== this.#asked) return;
      if (found.error) throw new ApiError(found.error);
      this.#show(found, wanted);
      $("start").disabled = $("enqueue").disabled = !wanted.data || !wanted.model;
      $("start-note").textContent = wanted.data
        ? "Nothing is spent before you start it."
        : "Choose the data to train on first.";
      if (wanted.data && wanted.model && !found.plan.facts) this.#measure(wanted);
    } catch (error) {
      if (mine !== this.#asked) return;
      $("estimate").replaceChildren();
      const { what, faults = [] } = error.error ?? { what: error.message };
      $("plan").replaceChildren(
        h(
          "div",
          { className: "faults" },
          what,
          h(
            "ul",
            {},
            faults.map((fault) => h("li", {}, fault.where ? `${fault.where}: ` : "", fault.message)),
          ),
        ),
      );
    }
  }

  /** Rows and tokens, looked at once for a file; what fails there is said, and the plan stays. */
  async #measure(wanted) {
    const key = looked(wanted);
    if (this.#measuring === key) return;
    this.#measuring = key;
    $("plan").append(h("p", { className: "muted small measuring" }, "Looking at the data …"));
    try {
      await api("facts", { method: "POST", body: wanted });
      this.#measuring = "";
      this.draw();
    } catch (error) {
      $("plan")
        .querySelector(".measuring")
        ?.replaceWith(h("div", { className: "faults" }, error.message));
    }
  }

  #show({ plan, curve, steps, rules }, wanted) {
    const at = (path) => path.split(".").reduce((value, part) => value?.[part], plan);
    const rows = SHOWN.map(([path, label]) => {
      if (path === "training.epochs")
        return row(
          label,
          `${at("training.epochs.min").value} to ${at("training.epochs.max").value}`,
          at("training.epochs.max"),
        );
      if (path === "stopping.rules")
        return row(
          label,
          rules.length ? rules.map((rule) => rule.replace(/^stop /, "")).join("; or ") : "by no rule",
          null,
        );
      const item = at(path);
      return row(label, words(path, item.value), item);
    });
    const known = plan.facts;
    const facts =
      known &&
      h(
        "dl",
        { className: "values" },
        row("Data", `${plural(known.training, "example")} train, ${whole(known.validation)} held out`),
        row("Length", `${plural(known.optimizer_steps, "optimizer step")}, ${whole(known.steps_per_epoch)} an epoch`),
        known.trained_tokens != null &&
          row("Tokens", `${whole(known.trained_tokens)} trained an epoch, of ${whole(known.tokens)}`),
      );
    $("plan").replaceChildren(
      drawCurve(curve),
      h(
        "div",
        { className: "curve-ends" },
        h("span", {}, `Learning rate, peak ${figure(at("training.learning_rate").value)}`),
        h("span", {}, steps ? plural(steps, "step") : "shape only"),
      ),
      ...(facts ? [facts] : []),
      h(
        "dl",
        { className: "values" },
        rows,
        wanted.others.length > 0 && answered(plan).map(([path, item]) => named(path, item)),
      ),
      ...plan.advice.map((item) => this.#advice(item)),
      ...[...this.#accept].map((path) => this.#accepted(path)),
      ...(plan.not_understood.length
        ? [
            h(
              "div",
              { className: "advice unread" },
              h("p", {}, "Not understood, so it changes nothing:"),
              plan.not_understood.map((text) => h("p", { dir: "auto" }, `“${text.slice(0, 200)}”`)),
            ),
          ]
        : []),
    );
    this.#drawEstimate(wanted, plan);
    if (this.#settings.length)
      $("plan").append(
        h(
          "p",
          { className: "muted small" },
          "Set on the data view: ",
          h("code", {}, this.#settings.join("  ")),
          " ",
          quiet("Take it back", () => {
            this.#settings = [];
            this.draw();
          }),
        ),
      );
    if (this.#measuring === looked(wanted) && !known)
      $("plan").append(h("p", { className: "muted small measuring" }, "Looking at the data …"));
  }

  /** Time, memory and disk: measured when asked for, and marked when the plan is another one since. */
  #drawEstimate(wanted, plan) {
    if (!wanted.data || !wanted.model) return void $("estimate").replaceChildren();
    const key = JSON.stringify(plan),
      found = this.#estimate;
    const measure = async (button) => {
      button.textContent = "Measuring a few steps …";
      const made = await trying(() => api("estimate", { method: "POST", body: wanted }), button);
      if (made) this.#estimate = { key, made };
      this.#drawEstimate(wanted, plan);
    };
    const button = quiet(found ? "Measure again" : "Measure time and memory", (event) => measure(event.target));
    if (!found) return void $("estimate").replaceChildren(button);
    const { seconds: time, memory_bytes: memory, disk_bytes: disk, usual } = found.made;
    const stale = found.key !== key;
    $("estimate").replaceChildren(
      h(
        "p",
        { className: stale ? "stale" : "" },
        "About ",
        h("b", {}, seconds(time.expected)),
        ` (${seconds(time.low)} to ${seconds(time.high)}), `,
        h("b", {}, bytes(memory)),
        ` of memory, ${bytes(disk)} of disk. Usual for this much data: ${usual}.`,
      ),
      ...(stale ? [h("p", { className: "muted small" }, "The plan has changed since this was measured."), button] : []),
    );
  }

  #advice({ path, value, why }) {
    const accept = () => {
      this.#accept.add(path);
      this.draw();
    };
    return h(
      "div",
      { className: "advice" },
      h("p", {}, `${why[0].toUpperCase()}${why.slice(1)}.`),
      quiet(`Set ${path.split(".").at(-1).replaceAll("_", " ")} to ${words(path, value)}`, accept),
    );
  }

  #accepted(path) {
    const back = () => {
      this.#accept.delete(path);
      this.draw();
    };
    return h("p", { className: "muted small" }, `Advice taken: ${path}. `, quiet("Take it back", back));
  }

  async #enqueue() {
    const body = { ...this.#wanted(), queue: true };
    const found = await trying(() => api("runs", { method: "POST", body }), $("enqueue"));
    if (found) toast(`${found.started} waits in the queue on the home view.`);
  }

  async #start() {
    const button = $("start");
    button.textContent = "Checking data and model …";
    const found = await trying(() => api("runs", { method: "POST", body: this.#wanted() }), button);
    button.textContent = "Start the run";
    if (found) {
      toast(`${found.started} is on its way.`);
      location.assign(`/runs/${found.started}`);
    }
  }
}

function words(path, value) {
  if (path === "training.method") return value === "lora" ? "adapters (LoRA)" : "every weight";
  if (Array.isArray(value))
    return value.length ? value.map((item) => String(item).replaceAll("_", " ")).join(", ") : "none";
  if (value !== null && typeof value === "object") return JSON.stringify(value);
  return typeof value === "number" ? figure(value) : String(value ?? "none");
}

/** What the data is looked at for: another look is needed once this is another. */
const looked = ({ data, model, others, settings }) => JSON.stringify([data, model, others, settings]);

/** Values that answers set and no row above shows: with several pages, there may be any. */
function answered(plan, at = "") {
  return Object.entries(plan).flatMap(([name, value]) => {
    const path = at + name;
    if (value === null || typeof value !== "object" || Array.isArray(value)) return [];
    if (!("from" in value)) return answered(value, `${path}.`);
    const above = SHOWN.some(([shown]) => path === shown || path.startsWith(`${shown}.`));
    return value.from === "answer" && !above ? [[path, value]] : [];
  });
}

const ORIGINS = { answer: "your answer", advice: "advice taken", set: "set", hand: "edited" };
const row = (label, value, item) =>
  h(
    "div",
    {},
    h("dt", {}, label),
    h("dd", {}, value, item && ORIGINS[item.from] && h("small", {}, ORIGINS[item.from])),
  );

function named(path, item) {
  const label = path.split(".").at(-1).replaceAll("_", " ");
  return row(label[0].toUpperCase() + label.slice(1), words(path, item.value), item);
}

/** The learning rate over the run, as a line with what lies under it. */
function drawCurve(points) {
  const NS = "http://www.w3.org/2000/svg",
    last = points.at(-1)[0] || 1,
    top = Math.max(1, ...points.map((point) => point[1]));
  const line = points
    .map(
      ([step, share], place) =>
        `${place ? "L" : "M"}${((400 * step) / last).toFixed(1)} ${(96 - (90 * share) / top).toFixed(1)}`,
    )
    .join("");
  const made = document.createElementNS(NS, "svg");
  for (const [name, value] of Object.entries({
    viewBox: "0 0 400 100",
    preserveAspectRatio: "none",
    class: "curve",
    role: "img",
    "aria-label": "Learning rate over the run: it rises, then falls",
  }))
    made.setAttribute(name, value);
  for (const [kind, path] of [
    ["under", `${line}L400 96L0 96Z`],
    ["line", line],
  ]) {
    const drawn = made.appendChild(document.createElementNS(NS, "path"));
    drawn.setAttribute("class", kind);
    drawn.setAttribute("d", path);
  }
  return made;
}
