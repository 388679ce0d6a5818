// The plan beside the page: what the answers ask for, drawn again with each of them.
import { $, ApiError, api, bytes, h, recall, remember, seconds, toast, trying } from "/static/js/core.js";
import { quiet } from "/static/js/parts.js";
import { drawCurve, factRows, planRows, unread, words } from "/static/js/plan-values.js";

export class PlanPanel {
  #key;
  #store; // where the browser remembers what is chosen: other folders have other data
  #others = [...document.querySelectorAll("#others input")]; // a box for each other page that has answers
  #accept = new Set();
  #settings = [];
  #asked = 0;
  #drawn = null;
  #ready = false; // a run can be made of what is drawn
  #busy = false; // one is being asked for
  #measuring = "";
  #refused = null; // {key, message}: why the data could not be looked at
  #estimate = null;
  #shown = null; // {wanted, plan}: what is on the screen
  #settled;

  /** `settled` waits until the answers on the screen are kept. */
  constructor(key, settled) {
    this.#key = key;
    this.#store = `plan:${$("page").dataset.folder}:${key}`;
    this.#settled = settled;
    const kept = JSON.parse(recall(this.#store) ?? "{}");
    if ([...$("data").options].some((option) => option.value === kept.data)) {
      $("data").value = kept.data;
      this.#settings = kept.settings ?? [];
    }
    if (kept.model) $("model").value = kept.model;
    this.#accept = new Set(kept.accept ?? []);
    for (const box of this.#others) {
      box.checked = (kept.others ?? []).includes(box.value);
      box.addEventListener("change", () => this.draw());
    }
    this.#fromAddress();
    $("data").addEventListener("change", () => {
      this.#settings = []; // the data view set them for the other file
      this.draw();
    });
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

  /** Draw the plan of what is chosen now; over when it, or a later one, is drawn. */
  draw() {
    this.#drawn = this.#redraw(++this.#asked);
    return this.#drawn;
  }

  async #redraw(mine) {
    const wanted = this.#wanted();
    remember(this.#store, JSON.stringify(wanted));
    try {
      const found = await api("plan", { method: "POST", body: wanted });
      if (mine !== this.#asked) return this.#drawn;
      if (found.error) throw new ApiError(found.error);
      this.#show(found, wanted);
      this.#allow(Boolean(wanted.data && wanted.model));
      $("start-note").textContent = wanted.data
        ? "Nothing is spent before you start it."
        : "Choose the data to train on first.";
      if (wanted.data && wanted.model && !found.plan.facts) this.#measure(wanted);
    } catch (error) {
      if (mine !== this.#asked) return this.#drawn;
      this.#allow(false);
      this.#shown = null;
      this.#drawEstimate();
      const fault = error.error ?? { what: error.message };
      say(firstOf(fault));
      $("plan").replaceChildren(told(fault));
    }
  }

  /** Rows and tokens, looked at once for a file; what fails there is said, and the plan stays. */
  async #measure(wanted) {
    const key = looked(wanted);
    if (this.#measuring === key || this.#refused?.key === key) return;
    this.#measuring = key;
    $("plan").append(looking());
    try {
      await api("facts", { method: "POST", body: wanted });
    } catch (error) {
      this.#refused = { key, message: error.message };
      say(error.message);
    }
    if (this.#measuring === key) this.#measuring = "";
    this.draw();
  }

  #show({ plan, curve, steps, rules }, wanted) {
    const key = looked(wanted);
    $("plan").replaceChildren(
      ...drawCurve(curve, plan.training.learning_rate.value, steps),
      ...(plan.facts ? [factRows(plan.facts)] : []),
      planRows(plan, rules, wanted.others.length > 0),
      ...plan.advice.map((item) => this.#advice(item)),
      ...[...this.#accept].map((path) => this.#accepted(path)),
      ...(plan.not_understood.length ? [unread(plan.not_understood)] : []),
      ...(this.#settings.length ? [this.#set()] : []),
      ...(this.#measuring === key && !plan.facts ? [looking()] : []),
      ...(this.#refused?.key === key && !plan.facts ? [this.#refusal()] : []),
    );
    if (JSON.stringify(plan) !== JSON.stringify(this.#shown?.plan)) say("Plan updated");
    this.#shown = { wanted, plan };
    this.#drawEstimate();
  }

  #refusal() {
    const again = () => {
      this.#refused = null;
      this.draw();
    };
    return h("div", { className: "faults" }, h("p", {}, this.#refused.message), quiet("Try again", again));
  }

  #set() {
    const back = () => {
      this.#settings = [];
      this.draw();
    };
    const words = h("code", {}, this.#settings.join("  "));
    return h("p", { className: "muted small" }, "Set on the data view: ", words, " ", quiet("Take it back", back));
  }

  /** Time, memory and disk: measured when asked for, and marked when the plan is another one since. */
  #drawEstimate() {
    const { wanted, plan } = this.#shown ?? {};
    if (!wanted?.data || !wanted.model) return void $("estimate").replaceChildren();
    const key = JSON.stringify(plan),
      found = this.#estimate;
    const measure = async (button) => {
      button.textContent = "Measuring a few steps …";
      const made = await trying(() => api("estimate", { method: "POST", body: wanted }), button);
      if (made) this.#estimate = { key, made };
      this.#drawEstimate(); // of what is on the screen by now
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

  /** The buttons stay as they are while a plan is drawn: a click that also ends a field's change must not be lost. */
  #allow(ready) {
    this.#ready = ready;
    for (const button of ["start", "enqueue"]) $(button).disabled = !ready || this.#busy;
  }

  /** Ask for a run of what is on the screen: the last answers are kept and their plan is drawn first. */
  async #ask(more) {
    if (this.#busy) return null;
    this.#busy = true;
    this.#allow(this.#ready);
    const found = await trying(async () => {
      await this.#settled();
      await this.draw();
      if (!this.#ready) throw new Error("No run was made: the plan says what is still needed.");
      return api("runs", { method: "POST", body: { ...this.#wanted(), ...more } });
    });
    this.#busy = false;
    this.#allow(this.#ready);
    return found;
  }

  async #enqueue() {
    const found = await this.#ask({ queue: true });
    if (found) toast(`${found.started} waits in the queue on the home view.`);
  }

  async #start() {
    const button = $("start");
    button.textContent = "Checking data and model …";
    const found = await this.#ask({});
    button.textContent = "Start the run";
    if (found) {
      toast(`${found.started} is on its way.`);
      location.assign(`/runs/${found.started}`);
    }
  }
}

/** What the data is looked at for: another look is needed once this is another. */
const looked = ({ data, model, others, settings }) => JSON.stringify([data, model, others, settings]);

const looking = () => h("p", { className: "muted small measuring" }, "Looking at the data …");

/** Aloud, in a few words: the whole plan after each answer would be too much to listen to. */
function say(text) {
  $("plan-say").textContent = text;
}

const firstOf = ({ what, faults: [first] = [] }) => (first ? `${first.where}: ${first.message}` : what);

/** Why there is no plan, every fault in a line. */
function told({ what, faults = [] }) {
  const lines = faults.map((fault) => h("li", {}, fault.where ? `${fault.where}: ` : "", fault.message));
  return h("div", { className: "faults" }, what, h("ul", {}, lines));
}
