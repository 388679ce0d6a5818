// The report of a run, made when this view opens, in the words of `tunebook report`.
import { $, api, figure, h, plural, whole } from "/static/js/core.js";

const NAMES = { training_loss: "Training loss falls", validation: "Validation holds", answers: "Answers are better", retention: "Ability is kept" };
const MARKS = { yes: "✓", no: "✕", unclear: "?" };
const name = $("report").dataset.name;

function said(title, answer, kind) {
  return h("div", { className: kind }, h("h3", {}, title, h("span", { className: "score" }, `${Math.round(answer.scores.likeness)} of 100`)), h("p", { dir: "auto" }, answer.text || "(nothing)"));
}

function answers(rows) {
  let shown = 5;
  const box = h("div", {});
  const draw = () => {
    box.replaceChildren(...rows.slice(0, shown).map((row) => h("div", { className: "pair" }, h("p", { className: "prompt", dir: "auto" }, row.prompt.trim()), h("div", { className: "said" }, said("Base", row.base, "base"), said("Tuned", row.tuned, "tuned")), h("details", {}, h("summary", {}, "Reference answer"), h("p", { dir: "auto" }, row.reference)))));
    if (rows.length > shown) box.append(h("button", { type: "button", className: "quiet", onclick: () => { shown += 20; draw(); } }, `Show more (${rows.length - shown})`));
  };
  draw();
  return h("section", { className: "card" }, h("div", { className: "card-head" }, h("h2", {}, "Answers"), h("span", { className: "muted small" }, "likeness to the reference, greatest gain first")), box);
}

function draw(report) {
  $("headline").textContent = report.headline;
  const { settings, end } = report;
  $("facts").textContent = [report.model, settings.method === "lora" ? "adapters (LoRA)" : "every weight", settings.learning_rate && `learning rate ${figure(settings.learning_rate)}`, settings.training_examples && plural(settings.training_examples, "training example"), plural(end.step, "optimizer step"), end.reason].filter(Boolean).join(" · ");
  const parts = [h("div", { className: "signs" }, report.indicators.map((item) => h("div", { className: `card sign ${item.verdict}` }, h("span", { className: "verdict", "aria-hidden": "true" }, MARKS[item.verdict]), h("h2", {}, NAMES[item.id], h("span", { className: "hidden" }, `: ${item.verdict}`)), h("p", {}, item.why))))];
  for (const text of report.warnings) parts.push(h("div", { className: "notice warn" }, text));
  if (report.next.length) parts.push(h("section", { className: "card" }, h("div", { className: "card-head" }, h("h2", {}, "What to try next")), h("ul", { className: "next" }, report.next.map((item) => h("li", {}, h("b", {}, item.do), " ", h("span", { className: "muted" }, item.why), item.set ? h("div", {}, h("code", {}, `--set ${item.set}`)) : null)))));
  if (report.answers.length) parts.push(answers([...report.answers].sort((a, b) => b.change - a.change)));
  if (report.regressions.length) parts.push(h("section", { className: "card" }, h("h2", {}, "Held-out examples that got worse"), h("p", { className: "muted" }, `${whole(report.regressions.length)} of them; the report file in the run folder lists each.`)));
  if (report.not_understood.length) parts.push(h("section", { className: "card" }, h("h2", {}, "Not understood on the page"), h("ul", {}, report.not_understood.map((text) => h("li", { dir: "auto" }, text)))));
  $("body").replaceChildren(...parts);
}

api(`runs/${name}/report`).then(draw).catch((error) => { $("headline").textContent = "There is no report yet"; $("body").replaceChildren(h("div", { className: "notice bad" }, error.message)); }).finally(() => $("report").removeAttribute("aria-busy"));
