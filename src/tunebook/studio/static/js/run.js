// The run view: one run, live. The status comes whole from the feed; the curves grow by its events.
import { $, ApiError, api, bytes, confirmed, feed, figure, h, onNews, plural, seconds, toast, trying, whole } from "/static/js/core.js";
import { Chart, Table, smoothed } from "/static/js/chart.js";
import { Answers } from "/static/js/answers.js";

const name = $("run").dataset.name;
const table = new Table();
const chart = new Chart($("chart"), $("legend"));
const answers = new Answers(name, $("answers"), $("answer-tools"));
let status = null, tab = "loss", waiting = false, doing = null;

const line = (label, values, color, more = {}) => ({ label, values, color, ...more });
const GROUPS = {
  loss: { title: "Loss", names: ["training_loss", "validation_loss"], draw: ({ training_loss: train, validation_loss: held }) => [
    ...(train ? [line("Training", train, "--curve-1-faint", { width: 1, silent: true }), line("Training", smoothed(train), "--curve-1")] : []),
    ...(held ? [line("Validation", held, "--curve-2", { points: true })] : [])] },
  perplexity: { title: "Perplexity", names: ["perplexity"] },
  scores: { title: "Scores", names: ["bleu", "chrf", "rouge_l"], labels: { bleu: "BLEU", chrf: "chrF", rouge_l: "ROUGE-L" } },
  response_length: { title: "Response length", names: ["response_length"] },
  learning_rate: { title: "Learning rate", names: ["learning_rate"] },
  gradient_norm: { title: "Gradient norm", names: ["gradient_norm"] },
  throughput: { title: "Tokens per second", names: ["throughput"] },
  memory: { title: "Memory (GB)", names: ["memory"], scale: 1e-9 },
};
const COLORS = ["--curve-1", "--curve-2", "--curve-3"];
const EVALUATED = new Set(["perplexity", "bleu", "chrf", "rouge_l", "response_length"]);

function curves(group) {
  const there = Object.fromEntries(group.names.filter((metric) => table.columns[metric]).map((metric) => [metric, table.columns[metric]]));
  if (group.draw) return group.draw(there);
  const scaled = (values) => (group.scale ? values.map((value) => (value == null ? null : value * group.scale)) : values);
  return Object.entries(there).map(([metric, values], place) => line(group.labels?.[metric] ?? group.title, scaled(values), COLORS[place], { points: EVALUATED.has(metric) }));
}

function drawChart() {
  waiting = false;
  const there = Object.entries(GROUPS).filter(([, group]) => group.names.some((metric) => table.columns[metric] || table.broken.get(metric)?.length));
  drawTabs(there);
  $("chart").querySelector(".chart-empty")?.remove();
  if (!table.steps.length) {
    chart.clear();
    $("chart").append(h("div", { className: "chart-empty" }, status?.state === "running" ? "The curves begin with the first optimizer step." : "This run has no curves yet."));
    return;
  }
  const group = GROUPS[tab];
  const broken = group.names.flatMap((metric) => table.broken.get(metric) ?? []);
  chart.draw(table.steps, curves(group), broken);
  $("chart-note").textContent = broken.length ? `Red marks: ${plural(broken.length, "step")} whose value was not a number, first at step ${whole(broken[0])}.` : "Drag to zoom, arrow keys to read values.";
}

function drawTabs(there) {
  const key = there.map(([id]) => id).join() + tab;
  if ($("tabs").dataset.key === key) return;
  const focused = $("tabs").contains(document.activeElement);
  $("tabs").dataset.key = key;
  $("tabs").replaceChildren(...there.map(([id, group]) => h("button", { type: "button", role: "tab", "aria-selected": String(id === tab), tabindex: id === tab ? "0" : "-1", onclick: () => choose(id) }, group.title)));
  if (focused) $("tabs").querySelector('[aria-selected="true"]')?.focus();
}

function choose(id) { tab = id; drawChart(); }

$("tabs").addEventListener("keydown", (event) => {
  const all = [...$("tabs").children], at = all.indexOf(document.activeElement);
  const to = { ArrowRight: at + 1, ArrowLeft: at - 1 }[event.key];
  if (to == null || at < 0) return;
  event.preventDefault();
  all[(to + all.length) % all.length].click();
});
$("log").addEventListener("change", () => { chart.log = $("log").checked; drawChart(); });
$("zoom-out").addEventListener("click", () => chart.showAll());
chart.onZoom = (zoomed) => { $("zoom-out").hidden = !zoomed; };
addEventListener("theme", () => drawChart());
const soon = () => { if (!waiting) { waiting = true; requestAnimationFrame(drawChart); } };

// --- what the status says

const stat = (label, value, small = "") => h("div", { className: "stat" }, h("span", {}, label), h("b", {}, value), small && h("small", {}, small));

function drawStats() {
  const { last, optimizer_step: step, optimizer_steps: steps } = status;
  const first = stat("Optimizer step", whole(step), steps ? `of ${whole(steps)}, epoch ${status.epoch.toFixed(1)}` : "");
  if (steps) first.append(h("progress", { max: steps, value: step, "aria-label": "Optimizer steps done" }));
  const spent = status.started && status.updated ? status.updated - status.started : null;
  $("stats").replaceChildren(first, stat("Training loss", figure(last.training_loss)), stat("Validation loss", figure(last.validation_loss)),
    stat("Tokens / s", figure(last.throughput)), stat("Memory", bytes(last.memory)),
    status.state === "running" ? stat("Time left", seconds(status.eta_seconds)) : stat("Took", seconds(spent)));
}

const MARKS = { done: "✓", failed: "✕", skipped: "–", waiting: "", running: "" };

function drawSteps() {
  $("steps").replaceChildren(...status.steps.map((step, place) => {
    const going = step.state === "running" && doing ? `${doing.what}: ${whole(doing.done)} of ${whole(doing.total)}` : "";
    const facts = Object.entries(step.evidence ?? {}).filter(([, value]) => value != null && typeof value !== "object").slice(0, 4).map(([key, value]) => `${key.replaceAll("_", " ")} ${typeof value === "number" ? figure(value) : value}`).join(" · ");
    return h("li", { className: step.state, title: step.does }, h("span", { className: "mark", "aria-hidden": "true" }, MARKS[step.state] || String(place + 1)),
      h("span", { className: "name" }, step.title, h("span", { className: "hidden" }, ` (${step.state})`)), h("span", { className: "time" }, step.seconds == null ? "" : seconds(step.seconds)),
      (step.reason || going || facts) && h("span", { className: "evidence" }, step.reason || going || facts));
  }));
}

const PARTS = ["data", "forward", "loss", "backward", "optimizer", "validation", "checkpoint"];

function drawParts() {
  const total = PARTS.reduce((sum, part) => sum + (status.parts[part] ?? 0), 0);
  if (!total) return void $("parts").replaceChildren(h("p", { className: "muted" }, "Measured once training runs."));
  const share = (part) => (status.parts[part] ?? 0) / total;
  const bar = h("div", { className: "bar", "aria-hidden": "true" }, PARTS.map((part, place) => share(part) > 0 && h("i", { className: `part-${place}` })));
  [...bar.children].forEach((piece, place) => { piece.style.flexGrow = PARTS.filter((part) => share(part) > 0).map(share)[place]; });
  $("parts").replaceChildren(bar, h("ul", { className: "part-list" }, PARTS.map((part, place) => h("li", {}, h("i", { className: `part-${place}` }), part[0].toUpperCase() + part.slice(1),
    h("b", {}, `${(share(part) * 100).toFixed(share(part) < 0.0995 ? 1 : 0)} %`), h("span", { className: "seconds" }, seconds(status.parts[part] ?? 0))))));
}

function drawStopping() {
  const rules = status.stopping.map((rule) => {
    const bar = h("progress", { max: rule.of || 1, value: Math.min(rule.count, rule.of || 1), "aria-label": rule.rule });
    if (rule.count >= 0.66 * rule.of) bar.className = "near";
    return h("div", { className: "rule" }, h("p", {}, rule.rule), bar, h("p", { className: "muted small" }, rule.text));
  });
  const words = status.optimizer_step ? "No rule ends this run early; a loss that is not a number always does." : "Rules are looked at after each evaluation.";
  $("stopping").replaceChildren(...(rules.length ? rules : [h("p", { className: "muted" }, words)]));
}

function drawCheckpoints() {
  const rows = [...status.checkpoints].reverse().map((point) => h("li", {}, h("b", {}, `Step ${whole(point.step)}`),
    point.best && h("span", { className: "tag best" }, "best"), h("span", { className: point.ok ? "tag" : "tag bad" }, point.ok ? "whole" : "damaged")));
  $("checkpoints").replaceChildren(rows.length ? h("ul", { className: "checks" }, rows) : h("p", { className: "muted" }, "Saved at each evaluation and on the way."));
}

function drawNotice() {
  const { state, reason } = status;
  const kind = { failed: "bad", killed: "bad", stopped: "warn" }[state];
  const boxes = kind && reason ? [h("div", { className: `notice ${kind}`, role: "alert" }, reason)] : [];
  if (state === "finished") boxes.push(h("div", { className: "notice good" }, reason || "The run is finished.", " ", h("a", { href: `/runs/${name}/report` }, "Read the report")));
  for (const text of [...new Set(status.warnings)].slice(-3)) boxes.push(h("div", { className: "notice warn" }, text));
  $("notice").replaceChildren(...boxes);
}

function drawActions() {
  const button = (label, kind, act) => h("button", { type: "button", className: kind, onclick: (event) => trying(act, event.target) }, label);
  const { state } = status;
  const made = [];
  if (state === "running") {
    made.push(button("Stop and save", "plain", () => end(false)));
    made.push(button("Stop, discard", "plain danger", async () => await confirmed("Stop without saving?", "The steps since the last checkpoint are lost. Checkpoints already there stay.", "Stop, discard") && end(true)));
  } else if (state !== "finished") {
    made.push(button(status.started ? "Resume" : "Start", "primary", async () => { await api(`runs/${name}/resume`, { method: "POST" }); toast("It begins in a moment."); }));
  }
  if (state === "finished") made.push(h("a", { className: "button primary", href: `/runs/${name}/report` }, "Report"));
  const key = `${state}${status.started}`;
  if ($("actions").dataset.key !== key) { $("actions").dataset.key = key; $("actions").replaceChildren(...made); }
}

async function end(discard) {
  const { asked } = await api(`runs/${name}/stop`, { method: "POST", body: { discard } });
  toast(asked ? "It ends after the optimizer step under way." : "No process is working on this run.");
}

function drawStatus(next) {
  status = next;
  $("state").className = `pill ${status.state}`;
  $("state").textContent = status.state;
  document.title = `${status.state === "running" && status.optimizer_steps ? `${Math.round((100 * status.optimizer_step) / status.optimizer_steps)} % · ` : ""}${name} · Tunebook`;
  for (const part of [drawStats, drawSteps, drawParts, drawStopping, drawCheckpoints, drawNotice, drawActions]) part();
}

$("log-box").addEventListener("toggle", () => $("log-box").open && trying(drawLog));
async function drawLog() {
  const { text } = await api(`runs/${name}/log`);
  $("log-text").textContent = text || "Nothing was written.";
  $("log-text").scrollTop = $("log-text").scrollHeight;
}

onNews((news) => {
  if (news.run !== name) return;
  if (news.gone) { $("notice").replaceChildren(h("div", { className: "notice warn" }, "This run was removed or begun anew. Load the page again to see what is there.")); return; }
  let changed = false;
  for (const event of news.events) {
    changed = table.take(event) || changed;
    doing = event.kind === "progress" ? event : null;
    if (event.kind === "samples") answers.add(event.step);
  }
  if (changed) soon();
  if (news.status) { drawStatus(news.status); if ($("log-box").open) drawLog().catch(() => {}); }
  else if (doing && status) drawSteps();
});

async function begin() {
  const [first, metrics] = await Promise.all([api(`runs/${name}`), api(`runs/${name}/metrics`)]);
  table.load(metrics);
  drawStatus(first);
  drawChart();
  answers.steps(first.samples);
  feed.follow({ runs: { [name]: () => table.seq } });
}

begin().catch((error) => { if (!(error instanceof ApiError)) throw error; toast(error.message); });
