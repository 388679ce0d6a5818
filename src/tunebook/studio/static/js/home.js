// The home view: the list of runs, live, searchable, drawn a page at a time.
import {
  $,
  ago,
  api,
  confirmed,
  feed,
  figure,
  goneBy,
  h,
  onNews,
  plural,
  seconds,
  toast,
  trying,
  unpressed,
  whenSeen,
  whole,
} from "/static/js/core.js";
import { pill, showMore } from "/static/js/parts.js";

const STATES = ["running", "waiting", "finished", "stopped", "failed", "killed"];
const NOT_BEGUN = 1e12; // what has not begun stands first
const runs = new Map();
let shown = 50,
  only = null;

function far(run) {
  if (!run.optimizer_steps)
    return h(
      "td",
      { className: "how-far" },
      h("span", {}, run.optimizer_step ? `${whole(run.optimizer_step)} steps` : "not begun"),
    );
  const left = run.state === "running" && run.eta_seconds ? `, ${seconds(run.eta_seconds)} left` : "";
  return h(
    "td",
    { className: "how-far" },
    h("progress", { max: run.optimizer_steps, value: run.optimizer_step, "aria-label": "Optimizer steps" }),
    h("span", {}, `${whole(run.optimizer_step)} of ${whole(run.optimizer_steps)}${left}`),
  );
}

function row(run) {
  return h(
    "tr",
    {},
    h(
      "td",
      { className: "name" },
      h("a", { className: "row-link", href: `/runs/${run.name}` }, run.name),
      run.reason && h("span", { className: "why", title: run.reason, dir: "auto" }, run.reason),
    ),
    h("td", {}, pill(run.state)),
    far(run),
    h("td", { className: "num wide" }, figure(run.result_loss)),
    h("td", { className: "num wide muted" }, ago(run.updated)),
    h(
      "td",
      { className: "num last" },
      h(
        "button",
        {
          className: "icon-button",
          type: "button",
          "aria-label": `Remove ${run.name}`,
          title: "Remove",
          onclick: (event) => remove(run, event.currentTarget),
        },
        "✕",
      ),
    ),
  );
}

async function remove(run, button) {
  if (
    !(await confirmed(
      `Remove the run ${run.name}?`,
      "Everything in its folder goes: curves, checkpoints, answers, exports. It cannot be taken back.",
      "Remove it",
    ))
  )
    return;
  if (await trying(() => api(`runs/${run.name}`, { method: "DELETE" }), button)) {
    runs.delete(run.name);
    draw();
    toast(`Removed ${run.name}.`);
  }
}

/** Every run that a search found; what a process works on stays. */
async function removeAll(found, button) {
  const idle = found.filter((run) => run.state !== "running");
  if (
    !(await confirmed(
      `Remove ${plural(idle.length, "run")}?`,
      `All that is found now goes, with everything in the folders: ${idle
        .slice(0, 8)
        .map((run) => run.name)
        .join(", ")}${idle.length > 8 ? " …" : ""}. It cannot be taken back.`,
      "Remove them",
    ))
  )
    return;
  let gone = 0,
    kept = "";
  button.disabled = true;
  for (const run of idle) {
    try {
      await api(`runs/${run.name}`, { method: "DELETE" });
      runs.delete(run.name);
      button.textContent = `Removing ${whole(++gone)} of ${whole(idle.length)} …`;
    } catch (error) {
      kept = error.message;
    }
  }
  draw();
  toast(`Removed ${plural(gone, "run")}.${kept ? ` ${whole(idle.length - gone)} stay. ${kept}` : ""}`);
}

function drawStates(all, found) {
  const counts = STATES.map((state) => [state, all.filter((run) => run.state === state).length]).filter(
    ([state, count]) => count || state === only,
  );
  if (counts.length < 2 && !only) {
    $("states").replaceChildren();
    return;
  }
  const focused = document.activeElement?.dataset?.state;
  const many =
    found.length > 1 &&
    found.length < all.length &&
    h(
      "button",
      { type: "button", className: "remove-all", onclick: (event) => removeAll(found, event.target) },
      `Remove these ${whole(found.length)}`,
    );
  $("states").replaceChildren(
    ...counts.map(([state, count]) =>
      h(
        "button",
        {
          type: "button",
          "data-state": state,
          "aria-pressed": String(state === only),
          onclick: () => {
            only = only === state ? null : state;
            shown = 50;
            draw();
          },
        },
        `${state} ${whole(count)}`,
      ),
    ),
    ...(many ? [many] : []),
  );
  if (focused) $("states").querySelector(`[data-state="${focused}"]`)?.focus();
}

function nothing() {
  const [title, text] = runs.size
    ? ["No such run", "Search finds names, states and reasons; all its words must be there."]
    : ["No runs yet", "Answer the page Fine-Tuning Workflow and start one, or try `tunebook demo` in a terminal."];
  return h("div", { className: "empty" }, h("h3", {}, title), h("p", {}, text));
}

function draw() {
  const words = $("search").value.toLowerCase().split(/\s+/).filter(Boolean);
  const all = [...runs.values()].sort((a, b) => (b.updated ?? NOT_BEGUN) - (a.updated ?? NOT_BEGUN));
  const found = all.filter(
    (run) =>
      (!only || run.state === only) &&
      words.every((word) => `${run.name} ${run.state} ${run.reason}`.toLowerCase().includes(word)),
  );
  $("run-count").textContent = runs.size
    ? found.length < runs.size
      ? `${whole(found.length)} of ${whole(runs.size)}`
      : whole(runs.size)
    : "";
  drawStates(all, found);
  const box = $("runs");
  box.removeAttribute("aria-busy");
  if (!found.length) {
    box.replaceChildren(nothing());
    return;
  }
  const active = box.contains(document.activeElement) && document.activeElement;
  const focused = active && (active.getAttribute("href") ?? active.getAttribute("aria-label"));
  const head = h(
    "thead",
    {},
    h(
      "tr",
      {},
      ...["Name", "State", "Progress"].map((name) => h("th", { scope: "col" }, name)),
      h("th", { className: "num wide", scope: "col" }, "Validation loss"),
      h("th", { className: "num wide", scope: "col" }, "Changed"),
      h("th", { scope: "col" }, h("span", { className: "hidden" }, "Remove")),
    ),
  );
  box.replaceChildren(h("table", {}, head, h("tbody", {}, found.slice(0, shown).map(row))));
  const rest = found.length - shown;
  const more = () => {
    shown += 200;
    draw();
  };
  if (rest > 0) box.append(h("div", { className: "more" }, showMore(rest, more, plural(rest, "run"))));
  if (focused) box.querySelector(`a[href="${CSS.escape(focused)}"], [aria-label="${CSS.escape(focused)}"]`)?.focus();
}

const drawNews = whenSeen(unpressed(draw));
onNews((news) => {
  if (!news.list) return;
  news.list.forEach((run) => {
    const before = runs.get(run.name);
    if (before?.state === "running" && run.state !== "running") toast(`${run.name} is ${run.state}. ${run.reason}`);
    runs.set(run.name, run);
  });
  goneBy(news, runs).forEach((name) => runs.delete(name));
  drawNews();
});
$("search").addEventListener("input", () => {
  shown = 50;
  draw();
});
addEventListener("keydown", (event) => {
  if (event.key === "/" && !/INPUT|TEXTAREA|SELECT/.test(document.activeElement.tagName)) {
    event.preventDefault();
    $("search").focus();
  }
});
feed.follow({ list: true });
