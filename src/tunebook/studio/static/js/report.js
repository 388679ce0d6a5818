// The report of a run, made when this view opens, in the words of `tunebook report`; and what its result can become.
import { $, api, figure, h, plural, seconds, whole } from "/static/js/core.js";
import { MARKS, card, pair, said, showMore } from "/static/js/parts.js";
import { TakeAlong } from "/static/js/take-along.js";

const NAMES = {
  training_loss: "Training loss falls",
  validation: "Validation holds",
  answers: "Answers are better",
  retention: "Ability is kept",
};
const name = $("report").dataset.name;

function draw(report) {
  $("headline").textContent = report.headline;
  $("facts").textContent = facts(report).join(" · ");
  const parts = [
    h("div", { className: "signs" }, report.indicators.map(sign)),
    ...report.warnings.map((text) => h("div", { className: "notice warn" }, text)),
    report.next.length > 0 && card("What to try next", "", h("ul", { className: "next" }, report.next.map(advice))),
    new TakeAlong(name, report).box,
    report.answers.length > 0 && answers([...report.answers].sort((a, b) => b.change - a.change)),
    scores(report),
    reviews(report),
    report.regressions.length > 0 && regressions(report),
    report.not_understood.length > 0 &&
      card(
        "Not understood on the page",
        "",
        h(
          "ul",
          {},
          report.not_understood.map((text) => h("li", { dir: "auto" }, text)),
        ),
      ),
  ];
  $("body").replaceChildren(...parts.filter(Boolean));
}

function facts({ model, settings, end, seconds: spent }) {
  const rate = settings.learning_rate && `learning rate ${figure(settings.learning_rate)}`;
  const examples = settings.training_examples && plural(settings.training_examples, "training example");
  const method = settings.method === "lora" ? "adapters (LoRA)" : settings.method && "every weight";
  const ended = end.early
    ? `${plural(end.step, "optimizer step")} of ${whole(end.planned_steps)}`
    : plural(end.step, "optimizer step");
  return [model, method, rate, examples, ended, spent && seconds(spent), end.reason].filter(Boolean);
}

function sign(item) {
  return h(
    "div",
    { className: `card sign ${item.verdict}` },
    h("span", { className: "verdict", "aria-hidden": "true" }, MARKS[item.verdict]),
    h("h2", {}, NAMES[item.id], h("span", { className: "hidden" }, `: ${item.verdict}`)),
    h("p", {}, item.why),
  );
}

function advice(item) {
  return h(
    "li",
    {},
    h("b", {}, item.do),
    " ",
    h("span", { className: "muted" }, item.why),
    item.set && h("div", {}, h("code", {}, `--set ${item.set}`)),
  );
}

function answers(rows) {
  let shown = 5;
  const box = h("div", {});
  const fill = () => {
    const more = showMore(rows.length - shown, () => {
      shown += 20;
      fill();
    });
    box.replaceChildren(...rows.slice(0, shown).map(both), ...more);
  };
  fill();
  return card("Answers", "likeness to the reference, greatest gain first", box);
}

const both = (row) =>
  pair(row.prompt.trim(), [column("base", "Base", row.base), column("tuned", "Tuned", row.tuned)], row.reference);

const column = (kind, title, { scores: found, text }) =>
  said(kind, [title, h("span", { className: "score" }, `${Math.round(found.likeness)} of 100`)], text || "(nothing)");

// Name, key, digits, factor, and how it is told.
const SCORES = [
  ["chrF", "chrf", 1, 1, "characters in common"],
  ["ROUGE-L", "rouge_l", 1, 1, "words in the same order"],
  ["BLEU", "bleu", 1, 1, "runs of words, over all answers at once"],
  ["Exact match", "exact_match", 1, 1, "word for word, %"],
  ["Format", "format_likeness", 1, 1, "lines, lists, code, endings"],
  ["Length", "length_likeness", 1, 1, "likeness to the reference’s"],
  ["Tokens", "tokens", 0, 1, "in an answer, mean"],
  ["Ended", "ended", 0, 100, "by itself, %"],
];

function scores({ indicators }) {
  const { numbers } = indicators.find((item) => item.id === "answers");
  if (!numbers.scores) return null;
  const { base, tuned } = numbers.scores;
  const rows = SCORES.filter(([, key]) => base[key] != null).map(([title, key, digits, factor, note]) => {
    const change = numbers.style?.[key];
    const sure = change && (change.low > 0 || change.high < 0);
    return h(
      "tr",
      {},
      h("th", { scope: "row" }, title, h("small", {}, note)),
      h("td", { className: "num" }, (factor * base[key]).toFixed(digits)),
      h("td", { className: "num" }, (factor * tuned[key]).toFixed(digits)),
      h(
        "td",
        { className: `num ${sure ? "sure" : "muted"}` },
        change ? `${signed(change.low, digits)} to ${signed(change.high, digits)}` : "–",
      ),
    );
  });
  const head = h(
    "tr",
    {},
    h("th", {}, ""),
    ["Base", "Tuned", `Change, ${Math.round(100 * numbers.interval.level)} % interval`].map((title) =>
      h("th", { className: "num", scope: "col" }, title),
    ),
  );
  return card(
    "Scores and style",
    `over ${plural(numbers.n, "prompt")}; bold: the interval leaves zero out`,
    h("div", { className: "scroll" }, h("table", { className: "scores" }, h("thead", {}, head), h("tbody", {}, rows))),
  );
}

const signed = (value, digits) => `${value < 0 ? "−" : "+"}${Math.abs(value).toFixed(digits)}`;

function reviews({ reviews: found }) {
  const open = h(
    "a",
    { className: "button", href: `/runs/${name}/review` },
    found ? "Go on reviewing" : "Review the answers",
  );
  if (!found)
    return card(
      "Review",
      "",
      h(
        "p",
        { className: "muted" },
        "Nobody has judged the answers yet. You see two at a time, without knowing whose they are.",
      ),
      open,
    );
  const told = `${plural(found.judged, "answer")} judged in blind order: ${whole(found.better)} better than the base’s, ${whole(found.same)} the same, ${whole(found.worse)} worse. ${whole(found.kept)} kept, ${whole(found.fixed)} fixed, ${whole(found.rejected)} rejected.`;
  const against =
    found.rejected_checkpoints.length > 0 &&
    h("p", { className: "warn-text" }, `Rejected checkpoints: ${found.rejected_checkpoints.map(whole).join(", ")}.`);
  return card("Review", plural(found.reviewers, "reviewer"), h("p", {}, told), against, open);
}

function regressions({ regressions: found }) {
  const rows = found.map((row) =>
    h(
      "tr",
      {},
      h("td", {}, h("code", {}, row.id)),
      h("td", { className: "num" }, figure(row.base)),
      h("td", { className: "num" }, figure(row.tuned)),
      h("td", { className: "num" }, signed(row.change, 3)),
    ),
  );
  const head = h(
    "tr",
    {},
    h("th", {}, "Example"),
    ["Base", "Tuned", "Change"].map((title) => h("th", { className: "num" }, title)),
  );
  return card(
    "Held-out examples that got worse",
    "loss in nats per token, worst first",
    h("div", { className: "scroll" }, h("table", { className: "scores" }, h("thead", {}, head), h("tbody", {}, rows))),
  );
}

async function begin() {
  try {
    draw(await api(`runs/${name}/report`));
  } catch (error) {
    $("headline").textContent = "There is no report yet";
    $("body").replaceChildren(h("div", { className: "notice bad" }, error.message));
  } finally {
    $("report").removeAttribute("aria-busy");
  }
}

begin();
