// The queue on the home view: what waits, what it is being tried with, and a form that adds a plan or a sweep.
import { $, api, figure, fill, goneBy, h, onNews, plural, seconds, toast, trying, unpressed, whole } from "/static/js/core.js";
import { pill, quiet } from "/static/js/parts.js";

let rows = [],
  working = false,
  plans = [],
  asked = 0,
  adding = false, // a plan is being checked for the queue
  timer = 0,
  states = null; // of all runs, once they are known
const LOOK = 3000; // milliseconds between looks while runs are taken: one that cannot begin changes no state
const live = new Map();

const value = (text) => (/^[\[{"]/.test(text) ? text : Number.isFinite(Number(text)) ? figure(Number(text)) : text);
const short = (path) => path.split(".").at(-1).replaceAll("_", " ");

/** The lowest validation loss of each sweep, where more than one of its runs has one. */
function best() {
  const found = new Map();
  for (const row of rows) {
    if (row.sweep && row.validation_loss != null && row.state === "finished")
      found.set(row.sweep, [...(found.get(row.sweep) ?? []), row.validation_loss]);
  }
  return new Map(
    [...found].filter(([, losses]) => losses.length > 1).map(([sweep, losses]) => [sweep, Math.min(...losses)]),
  );
}

function item(row, lowest) {
  const now = { ...row, ...live.get(row.name) };
  const loss = now.result_loss ?? row.validation_loss;
  const tried = Object.entries(row.set)
    .map(([path, text]) => `${short(path)} ${value(text)}`)
    .join(", ");
  const isBest = now.state === "finished" && loss != null && lowest.get(row.sweep) === loss;
  const said = [
    now.state === "waiting" && row.reason,
    tried,
    loss != null && `validation loss ${figure(loss)}`,
    now.state === "running" && now.eta_seconds && `${seconds(now.eta_seconds)} left`,
  ]
    .filter(Boolean)
    .join(" · ");
  return h(
    "li",
    {},
    h("span", {}, h("a", { href: `/runs/${row.name}` }, row.name), pill(now.state)),
    now.state !== "running" &&
      quiet(now.state === "waiting" ? "Remove" : "Clear", (event) => trying(() => remove(row), event.target), {
        "aria-label": `Take ${row.name} out of the queue`,
      }),
    (said || isBest) && h("small", {}, said, isBest && h("span", { className: "best" }, " · best of its sweep")),
    now.state === "running" &&
      now.optimizer_steps &&
      h("progress", {
        max: now.optimizer_steps,
        value: now.optimizer_step,
        "aria-label": `Optimizer steps of ${row.name}`,
      }),
  );
}

function draw() {
  const waiting = rows.filter((row) => row.state === "waiting").length;
  const lowest = best();
  $("queue-count").textContent = waiting ? `${whole(waiting)} waiting` : "";
  const button = working ? ["Pause", "stop", "plain"] : ["Run the queue", "run", "primary"];
  fill(
    $("queue-tools"),
    ...(working || waiting
      ? [
          h(
            "button",
            { type: "button", className: button[2], onclick: (event) => trying(() => tell(button[1]), event.target) },
            button[0],
          ),
        ]
      : []),
  );
  const active = $("queue").contains(document.activeElement) && document.activeElement;
  const focused = active && (active.getAttribute("aria-label") ?? active.getAttribute("href"));
  $("queue").replaceChildren(...rows.map((row) => item(row, lowest)));
  $("queue-card")
    .querySelectorAll(".queue-empty, .sweep-links")
    .forEach((old) => old.remove());
  if (!rows.length)
    $("queue").before(h("p", { className: "queue-empty" }, "Runs in the queue are taken one after another."));
  const finished = rows.filter((row) => row.sweep && row.state === "finished").map((row) => row.name);
  if (finished.length > 1)
    $("queue").after(
      h(
        "p",
        { className: "sweep-links" },
        h("a", { href: `/compare?with=${finished.slice(-4).join(",")}` }, "Compare what finished"),
      ),
    );
  if (focused)
    $("queue")
      .querySelector(`[aria-label="${CSS.escape(focused)}"], a[href="${CSS.escape(focused)}"]`)
      ?.focus();
}

const drawNews = unpressed(draw);

async function load() {
  const mine = ++asked;
  const found = await api("queue");
  if (mine !== asked) return;
  ({ runs: rows, working } = found);
  if (found.plans.join() !== plans.join()) {
    const chosen = $("add-plan").value;
    plans = found.plans;
    $("add-plan").replaceChildren(...plans.map((plan) => h("option", { selected: plan === chosen }, plan)));
  }
  drawGo();
  $("add-box").querySelector(".muted").textContent = plans.length
    ? "The plan is checked, data and memory too, before it is put into the queue."
    : "There is no plan yet: `tunebook plan -o plan.yaml` makes one, and each run started here leaves one in plans/.";
  drawNews();
  again();
}

function again() {
  clearTimeout(timer);
  if (working) timer = setTimeout(() => load().catch(() => {}), LOOK);
}

async function tell(what) {
  await api(`queue/${what}`, { method: "POST" });
  working = what === "run";
  draw();
  again();
  if (what === "stop") toast("No further run is taken; the one under way goes on.");
}

async function remove(row) {
  await api(`queue/${row.name}`, { method: "DELETE" });
  await load();
}

// --- adding

const settings = () =>
  [...$("varied").children]
    .map((box) => [...box.querySelectorAll("input")].map((input) => input.value.trim()))
    .filter(([path, text]) => path && text);
const list = (text) => (text.startsWith("[") ? text : `[${text}]`);

/** How many values a text names; commas inside brackets and quotes belong to a value. */
function count(text) {
  const inner = text.startsWith("[") ? text.slice(1, -1) : text;
  return inner
    .replace(/"[^"]*"|\[[^\]]*\]/g, "x")
    .split(",")
    .filter((part) => part.trim()).length;
}

function drawGo() {
  const runs = settings().reduce((product, [, text]) => product * count(text), 1);
  $("add-go").textContent = adding ? "Checking …" : `Add ${plural(runs, "run")}`;
  $("add-go").disabled = adding || !plans.length;
}

function vary() {
  const leave = () => {
    box.remove();
    drawGo();
    $("vary").focus();
  };
  const box = h(
    "div",
    { className: "vary-row" },
    h(
      "label",
      {},
      h("span", {}, "Setting"),
      h("input", {
        type: "text",
        list: "settings",
        placeholder: "training.learning_rate",
        spellcheck: "false",
        autocomplete: "off",
      }),
    ),
    quiet("✕", leave, { "aria-label": "Leave this setting as the plan has it" }),
    h(
      "label",
      { className: "wholes" },
      h("span", {}, "Values, with commas between"),
      h("input", { type: "text", placeholder: "1e-4, 3e-4", spellcheck: "false", autocomplete: "off" }),
    ),
  );
  $("varied").append(box);
  box.querySelector("input").focus();
}

async function add() {
  if (adding) return;
  adding = true;
  drawGo();
  try {
    await send();
  } finally {
    adding = false;
    drawGo();
  }
}

async function send() {
  const body = {
    plan: $("add-plan").value,
    settings: settings().map(([path, text]) => `${path}=${list(text)}`),
    name: $("add-name").value.trim(),
  };
  const { added } = await api("queue", { method: "POST", body });
  toast(`Added ${added.join(", ")}.`);
  $("varied").replaceChildren();
  $("add-name").value = "";
  await load();
}

$("vary").addEventListener("click", vary);
$("add").addEventListener("input", drawGo);
$("add").addEventListener("submit", (event) => {
  event.preventDefault();
  trying(add);
});
addEventListener("focus", () => load().catch(() => {}));
onNews((news) => {
  if (!news.list) return;
  news.list.forEach((run) => live.set(run.name, run));
  goneBy(news, live).forEach((name) => live.delete(name));
  const now = [...live.values()].map((run) => run.name + run.state).join();
  if (now !== states) {
    states = now;
    trying(load);
  } else if (rows.some((row) => live.get(row.name)?.state === "running")) drawNews();
});
