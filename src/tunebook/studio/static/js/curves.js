// The curves of a run: which metrics there are, which is shown, and other runs laid over it.
import { $, api, h, plural, trying, whole } from "/static/js/core.js";
import { Chart } from "/static/js/chart.js";
import { Table, joined, smoothed } from "/static/js/table.js";

const GROUPS = {
  loss: { title: "Loss", names: ["training_loss", "validation_loss"] },
  perplexity: { title: "Perplexity", names: ["perplexity"] },
  scores: { title: "Scores", names: ["bleu", "chrf", "rouge_l"] },
  response_length: { title: "Response length", names: ["response_length"] },
  learning_rate: { title: "Learning rate", names: ["learning_rate"] },
  gradient_norm: { title: "Gradient norm", names: ["gradient_norm"] },
  throughput: { title: "Tokens per second", names: ["throughput"] },
  memory: { title: "Memory (GB)", names: ["memory"], scale: 1e-9 },
};
const LABELS = {
  training_loss: "Training",
  validation_loss: "Validation",
  bleu: "BLEU",
  chrf: "chrF",
  rouge_l: "ROUGE-L",
  response_length: "Tokens",
};
const EVALUATED = new Set(["validation_loss", "perplexity", "bleu", "chrf", "rouge_l", "response_length"]);
const COLORS = ["--curve-1", "--curve-2", "--curve-3"];
const OTHERS = ["--curve-3", "--curve-4", "--curve-5"]; // one for each run laid over
const REST = 14; // times as long as a drawing took
const HINT = "Drag to zoom, arrow keys to read values.";

export class Curves {
  #name;
  #table = new Table();
  #others = new Map();
  #tab = "loss";
  #waiting = false;
  #rested = 0; // when the next drawing may begin
  #changed;
  #chart = new Chart($("chart"), $("legend"));

  /** `changed` is called when other runs are laid over or taken off: the feed is to follow `follows`. */
  constructor(name, changed) {
    this.#name = name;
    this.#changed = changed;
    $("tabs").addEventListener("keydown", (event) => this.#key(event));
    $("log").addEventListener("change", () => {
      this.#chart.log = $("log").checked;
      this.#draw();
    });
    $("zoom-out").addEventListener("click", () => this.#chart.showAll());
    $("over").addEventListener("change", () => this.#add($("over").value));
    this.#chart.onZoom = (zoomed) => {
      $("zoom-out").hidden = !zoomed;
    };
    addEventListener("theme", () => this.#draw());
  }

  async load() {
    this.#table.load(await api(`runs/${this.#name}/metrics`));
    this.#draw();
    const wanted = new URLSearchParams(location.search).get("over")?.split(",") ?? [];
    for (const name of wanted.slice(0, OTHERS.length)) await trying(() => this.#lay(name));
    this.#tellOthers();
  }

  /** What the feed is to send: each run, and the last event that is known of it. */
  get follows() {
    const own = { [this.#name]: () => this.#table.seq };
    return { ...own, ...Object.fromEntries([...this.#others].map(([name, table]) => [name, () => table.seq])) };
  }

  /** Take a run's events, this one's or another's. */
  take(name, events) {
    const table = name === this.#name ? this.#table : this.#others.get(name);
    let changed = false;
    for (const event of events) changed = table?.take(event) || changed;
    if (changed) this.#soon();
  }

  /** Draw at the next frame; a drawing that takes long is followed by a rest, so that long runs leave the machine be. */
  #soon() {
    if (this.#waiting) return;
    this.#waiting = true;
    const draw = () => {
      const begun = performance.now();
      this.#waiting = false;
      this.#draw();
      queueMicrotask(() => {
        this.#rested = performance.now() + REST * (performance.now() - begun); // uPlot has drawn by now
      });
    };
    setTimeout(() => requestAnimationFrame(draw), Math.max(0, this.#rested - performance.now()));
  }

  // --- other runs

  async #lay(name) {
    const table = new Table();
    table.load(await api(`runs/${name}/metrics`));
    this.#others.set(name, table);
  }

  async #add(name) {
    if (!name) return;
    await trying(() => this.#lay(name));
    this.#tellOthers();
  }

  async #tellOthers() {
    const { runs } = await api("runs").catch(() => ({ runs: [] }));
    const free = runs.filter((run) => run.name !== this.#name && !this.#others.has(run.name) && run.optimizer_step);
    $("over").hidden = !free.length || this.#others.size >= OTHERS.length;
    $("over").replaceChildren(
      h("option", { value: "" }, "Lay a run over it"),
      ...free.map((run) => h("option", {}, run.name)),
    );
    const names = [...this.#others.keys()];
    history.replaceState(null, "", names.length ? `?over=${names.join(",")}` : location.pathname);
    this.#changed();
    this.#draw();
  }

  // --- drawing

  #draw() {
    const tables = [this.#table, ...this.#others.values()];
    const there = Object.entries(GROUPS).filter(([, group]) =>
      group.names.some((metric) => this.#table.columns[metric] || this.#table.broken.get(metric)?.length),
    );
    this.#drawTabs(there);
    this.#drawOthers();
    $("chart").querySelector(".chart-empty")?.remove();
    if (!this.#table.steps.length) {
      this.#chart.clear();
      $("chart").append(h("div", { className: "chart-empty" }, "The curves begin with the first optimizer step."));
      return;
    }
    const group = GROUPS[this.#tab];
    const told = group.names.flatMap((metric) => this.#table.broken.get(metric) ?? []);
    const broken = [...new Set(told)].sort((a, b) => a - b);
    const own = this.#lines(group, this.#table, (place) => COLORS[place]);
    const others = [...this.#others].map(([name, table], number) =>
      this.#lines(group, table, () => OTHERS[number], name),
    );
    const { steps, curves } = joined(
      tables.map((table) => table.steps),
      [own, ...others],
    );
    this.#chart.draw(steps, curves, broken);
    $("chart-note").textContent = broken.length
      ? `Red marks: ${plural(broken.length, "step")} whose value was not a number, first at step ${whole(broken[0])}.`
      : HINT;
  }

  /** The curves of one run in a group. Training loss is drawn twice: every value, faint, and what it comes to. */
  #lines(group, table, color, run = "") {
    const lines = [];
    group.names.forEach((metric, place) => {
      const found = table.columns[metric];
      if (!found) return;
      const values = group.scale ? found.map((value) => (value == null ? null : value * group.scale)) : found;
      const label = [run, LABELS[metric] ?? group.title].filter(Boolean).join(" · ");
      const line = {
        label,
        values,
        color: color(place),
        points: EVALUATED.has(metric) || values.filter((value) => value != null).length === 1, // no line has one end
        dash: run && EVALUATED.has(metric) ? [6, 4] : undefined,
      };
      if (metric === "training_loss") {
        if (!run) lines.push({ ...line, color: "--curve-1-faint", width: 1, silent: true });
        Object.assign(line, { values: smoothed(values), read: values });
      }
      lines.push(line);
    });
    return lines;
  }

  #drawOthers() {
    const chips = [...this.#others.keys()].map((name) =>
      h(
        "span",
        { className: "over-chip" },
        h("a", { href: `/runs/${name}` }, name),
        h(
          "button",
          {
            type: "button",
            "aria-label": `Take ${name} off`,
            onclick: () => {
              this.#others.delete(name);
              this.#tellOthers();
            },
          },
          "×",
        ),
      ),
    );
    const key = [...this.#others.keys()].join();
    if ($("over-chips").dataset.key === key) return;
    $("over-chips").dataset.key = key;
    const both =
      chips.length > 0 &&
      h(
        "a",
        { className: "small", href: `/compare?with=${[this.#name, ...this.#others.keys()].join(",")}` },
        "Compare results",
      );
    $("over-chips").replaceChildren(...chips, ...(both ? [both] : []));
  }

  #drawTabs(there) {
    const key = there.map(([id]) => id).join() + this.#tab;
    if ($("tabs").dataset.key === key) return;
    const focused = $("tabs").contains(document.activeElement);
    $("tabs").dataset.key = key;
    const choose = (id) => {
      this.#tab = id;
      this.#draw();
    };
    $("tabs").replaceChildren(
      ...there.map(([id, group]) =>
        h(
          "button",
          {
            type: "button",
            role: "tab",
            "aria-selected": String(id === this.#tab),
            tabindex: id === this.#tab ? "0" : "-1",
            onclick: () => choose(id),
          },
          group.title,
        ),
      ),
    );
    if (focused) $("tabs").querySelector('[aria-selected="true"]')?.focus();
  }

  #key(event) {
    const all = [...$("tabs").children],
      at = all.indexOf(document.activeElement);
    const to = { ArrowRight: at + 1, ArrowLeft: at - 1 }[event.key];
    if (to == null || at < 0) return;
    event.preventDefault();
    all[(to + all.length) % all.length].click();
  }
}
