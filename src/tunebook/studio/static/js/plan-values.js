// The values of a plan as the panel beside a page shows them.
import { figure, h, plural, whole } from "/static/js/core.js";

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

/** The rows that are always there and, with `all`, every other value that an answer sets. */
export const planRows = (plan, rules, all) =>
  h(
    "dl",
    { className: "values" },
    SHOWN.map(([path, label]) => shownRow(plan, rules, path, label)),
    all && answered(plan).map(([path, item]) => named(path, item)),
  );

function shownRow(plan, rules, path, label) {
  const at = (name) => name.split(".").reduce((value, part) => value?.[part], plan);
  if (path === "training.epochs") {
    const { min, max } = at(path);
    return row(label, `${min.value} to ${max.value}`, max);
  }
  if (path === "stopping.rules") {
    const said = rules.map((rule) => rule.replace(/^stop /, "")).join("; or ");
    return row(label, said || "by no rule", null);
  }
  return row(label, words(path, at(path).value), at(path));
}

/** What the data means for the run. */
export const factRows = (known) =>
  h(
    "dl",
    { className: "values" },
    row("Data", `${plural(known.training, "example")} train, ${whole(known.validation)} held out`),
    row("Length", `${plural(known.optimizer_steps, "optimizer step")}, ${whole(known.steps_per_epoch)} an epoch`),
    known.trained_tokens != null &&
      row("Tokens", `${whole(known.trained_tokens)} trained an epoch, of ${whole(known.tokens)}`),
  );

/** Pieces of prose that set nothing. */
export const unread = (pieces) =>
  h(
    "div",
    { className: "advice unread" },
    h("p", {}, "Not understood, so it changes nothing:"),
    pieces.map((text) => h("p", { dir: "auto" }, `“${text.slice(0, 200)}”`)),
  );

/** A value in words. */
export function words(path, value) {
  if (path === "training.method") return value === "lora" ? "adapters (LoRA)" : "every weight";
  if (Array.isArray(value))
    return value.length ? value.map((item) => String(item).replaceAll("_", " ")).join(", ") : "none";
  if (value !== null && typeof value === "object") return JSON.stringify(value);
  return typeof value === "number" ? figure(value) : String(value ?? "none");
}

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

/** The learning rate over the run, with its peak and its length below it. */
export const drawCurve = (points, peak, steps) => [
  line(points),
  h(
    "div",
    { className: "curve-ends" },
    h("span", {}, `Learning rate, peak ${figure(peak)}`),
    h("span", {}, steps ? plural(steps, "step") : "shape only"),
  ),
];

function line(points) {
  const NS = "http://www.w3.org/2000/svg",
    last = points.at(-1)[0] || 1,
    top = Math.max(1, ...points.map((point) => point[1]));
  const path = points
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
  for (const [kind, shape] of [
    ["under", `${path}L400 96L0 96Z`],
    ["line", path],
  ]) {
    const drawn = made.appendChild(document.createElementNS(NS, "path"));
    drawn.setAttribute("class", kind);
    drawn.setAttribute("d", shape);
  }
  return made;
}
