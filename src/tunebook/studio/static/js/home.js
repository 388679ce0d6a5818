// The home view: the list of runs, live, searchable, drawn a page at a time.
import { $, ago, api, confirmed, feed, figure, h, onNews, plural, seconds, toast, trying, whole } from "/static/js/core.js";

const runs = new Map();
let shown = 50;

function row(run) {
  const far = run.optimizer_steps ? h("td", { className: "how-far" }, h("progress", { max: run.optimizer_steps, value: run.optimizer_step, "aria-label": "Optimizer steps" }),
    h("span", {}, `${whole(run.optimizer_step)} of ${whole(run.optimizer_steps)} steps${run.state === "running" && run.eta_seconds ? `, ${seconds(run.eta_seconds)} left` : ""}`)) : h("td", { className: "how-far" }, h("span", {}, run.optimizer_step ? `${whole(run.optimizer_step)} steps` : "not begun"));
  return h("tr", {},
    h("td", {}, h("a", { className: "row-link", href: `/runs/${run.name}` }, run.name)),
    h("td", {}, h("span", { className: `pill ${run.state}`, title: run.reason || false }, run.state)), far,
    h("td", { className: "num wide" }, figure(run.last.validation_loss)),
    h("td", { className: "num wide muted" }, ago(run.updated)),
    h("td", { className: "num wide" }, h("button", { className: "quiet", type: "button", "aria-label": `Remove ${run.name}`, onclick: (event) => remove(run, event.target) }, "Remove")));
}

async function remove(run, button) {
  if (!await confirmed(`Remove the run ${run.name}?`, "Everything in its folder goes: curves, checkpoints, answers, exports. It cannot be taken back.", "Remove it")) return;
  if (await trying(() => api(`runs/${run.name}`, { method: "DELETE" }), button)) { runs.delete(run.name); draw(); toast(`Removed ${run.name}.`); }
}

function draw() {
  const text = $("search").value.trim().toLowerCase();
  const all = [...runs.values()].sort((a, b) => (b.updated ?? 0) - (a.updated ?? 0));
  const found = all.filter((run) => `${run.name} ${run.state}`.includes(text));
  $("run-count").textContent = runs.size ? (text ? `${whole(found.length)} of ${whole(runs.size)}` : whole(runs.size)) : "";
  const box = $("runs");
  box.removeAttribute("aria-busy");
  if (!found.length) {
    box.replaceChildren(h("div", { className: "empty" }, h("h2", {}, runs.size ? "No run of that name" : "No runs yet"),
      h("p", {}, runs.size ? "Search finds names and states." : "Answer the page Fine-Tuning Workflow and start one, or try `tunebook demo` in a terminal.")));
    return;
  }
  const focused = document.activeElement?.getAttribute("href");
  const head = h("thead", {}, h("tr", {}, ...["Name", "State", "Progress"].map((name) => h("th", {}, name)), h("th", { className: "num wide" }, "Validation loss"), h("th", { className: "num wide" }, "Changed"), h("th", { className: "wide" }, h("span", { className: "hidden" }, "Remove"))));
  box.replaceChildren(h("table", {}, head, h("tbody", {}, found.slice(0, shown).map(row))));
  if (found.length > shown) box.append(h("div", { className: "more" }, h("button", { className: "quiet", type: "button", onclick: () => { shown += 200; draw(); } }, `Show more (${plural(found.length - shown, "run")})`)));
  if (focused) box.querySelector(`a[href="${CSS.escape(focused)}"]`)?.focus();
}

onNews((news) => {
  if (!news.list) return;
  news.list.forEach((run) => {
    const before = runs.get(run.name);
    if (before?.state === "running" && run.state !== "running") toast(`${run.name} is ${run.state}. ${run.reason}`);
    runs.set(run.name, run);
  });
  news.gone.forEach((name) => runs.delete(name));
  draw();
});
$("search").addEventListener("input", () => { shown = 50; draw(); });
addEventListener("keydown", (event) => {
  if (event.key === "/" && !/INPUT|TEXTAREA|SELECT/.test(document.activeElement.tagName)) { event.preventDefault(); $("search").focus(); }
});
feed.follow({ list: true });
