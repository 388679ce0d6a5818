// The page view: answers are kept as they are given; prose is read while it is typed; the plan follows at once.
import "/static/js/rank-list.js";
import { $, ApiError, api, feed, fill as put, h, onNews, trying } from "/static/js/core.js";
import { PlanPanel } from "/static/js/plan.js";

const key = $("page").dataset.key;
const questions = [...document.querySelectorAll(".question")].map((box) => ({
  box,
  id: box.dataset.id,
  asks: box.dataset.asks,
  about: box.dataset.about,
  custom: box.querySelector(".custom"),
}));
localStorage.setItem("page", key);
const plan = new PlanPanel(key, settled);
const waiting = new Map(); // id -> what is still to be sent
let timer = 0,
  sending = null,
  copied = ""; // the file of earlier answers that fit the page no more

// --- what is on the screen, and what is kept

function read({ box, asks }) {
  if (asks === "order") return box.querySelector("rank-list").value;
  if (asks === "one") return box.querySelector(".choice input:checked")?.value ?? "";
  if (asks === "many") return [...box.querySelectorAll(".choice input:checked")].map((input) => input.value);
  if (asks === "yes") return box.querySelector("input").checked ? "yes" : "no";
  return box.querySelector("textarea, input").value;
}

function show(question, value, more) {
  const { box, asks, custom } = question;
  if (asks === "order") {
    if (value) {
      box.querySelector("rank-list").value = value;
      judge(question);
    }
  } else if (asks === "one" || asks === "many")
    box.querySelectorAll(".choice input").forEach((input) => {
      input.checked = [value ?? []].flat().includes(input.value);
    });
  else if (asks === "yes") box.querySelector("input").checked = value === "yes";
  else {
    const field = box.querySelector("textarea, input");
    if (field !== document.activeElement && field.value !== (value ?? "")) {
      field.value = value ?? "";
      if (asks === "prose") understand(question);
    }
  }
  if (custom) {
    if (custom !== document.activeElement) custom.value = more ?? "";
    custom.hidden = !box.querySelector("input[data-custom]:checked");
  }
}

function fill(values) {
  for (const question of questions)
    if (!waiting.has(question.id)) show(question, values[question.id], values[`${question.id}.custom`]);
}

function keep(id, value, soon) {
  waiting.set(id, value);
  tellSaved("");
  clearTimeout(timer);
  timer = setTimeout(send, soon ? 0 : 350);
}

/** Send what waits; what came meanwhile, or was not taken, follows in a moment. */
function send() {
  if (!sending && waiting.size)
    sending = post().then((soon) => {
      sending = null;
      if (!waiting.size) return;
      clearTimeout(timer);
      timer = setTimeout(send, soon);
    });
  return sending;
}

/** Milliseconds after which there may be more to send. */
async function post() {
  const changes = new Map(waiting);
  try {
    const { faults, before } = await api(`pages/${key}/answers`, {
      method: "POST",
      body: { changes: Object.fromEntries(changes) },
    });
    for (const [id, value] of changes) if (waiting.get(id) === value) waiting.delete(id);
    for (const { box, id } of questions) {
      const fault = faults.find((item) => item.id === id || item.id === `${id}.custom`);
      box.querySelector(".wrong").hidden = !fault;
      box.querySelector(".wrong").textContent = fault ? `This ${fault.message}.` : "";
    }
    if (before) {
      copied = before;
      tellUnfit([]);
    }
    tellSaved("Answers kept");
    plan.draw();
    return 100;
  } catch (error) {
    tellSaved(error instanceof ApiError ? `Not kept yet. ${error.message}` : "");
    return 2000;
  }
}

/** The same words again are not written again: they would be read aloud each time. */
function tellSaved(words) {
  if ($("saved").textContent !== words) $("saved").textContent = words;
}

/** Earlier answers that fit the page no more: before the next answer takes them out of the file, and after it. */
function tellUnfit(faults) {
  let words =
    copied && `Earlier answers that fit this page no more were taken out; answers/${copied} still holds them.`;
  if (faults.length)
    words = faults[0].id
      ? `Earlier answers fit this page no more. Your next answer takes them out of answers/${key}.yaml, which is copied first:`
      : "The answers kept for this page cannot be read, and none can be kept until that is mended:";
  const lines = faults.map(({ id, message }) => h("li", { dir: "auto" }, id ? `${id}: ${message}` : message));
  put($("unfit"), ...(words ? [h("div", { className: "notice warn" }, words, h("ul", {}, lines))] : []));
}

/** Over when the answers on the screen are kept; an error when they could not be. */
async function settled() {
  await sending;
  await send();
  if (waiting.size) throw new Error("The last answers are not kept yet; try again in a moment.");
}

// --- ranking: right or not, and why only when asked

async function judge({ box }) {
  const found = await api("order", { method: "POST", body: { lines: box.querySelector("rank-list").value } }).catch(
    () => null,
  );
  if (!found || found.unknown.length) return;
  const all = box.querySelectorAll("rank-list li").length,
    [bar, words, why] = box.querySelector(".judged").children,
    reasons = box.querySelector(".reasons");
  box.querySelector(".judged").hidden = false;
  box.querySelector(".judged").classList.toggle("valid", found.valid);
  bar.max = all;
  bar.value = found.workable;
  words.textContent = found.valid ? "This order works." : `${found.workable} of ${all} in a workable place`;
  why.hidden = found.valid;
  if (found.valid) reasons.hidden = true;
  why.textContent = reasons.hidden ? "Show why" : "Hide";
  why.setAttribute("aria-expanded", String(!reasons.hidden));
  reasons.replaceChildren(...found.sentences.map((sentence) => h("li", {}, sentence)));
  box
    .querySelectorAll("rank-list li")
    .forEach((row) => row.classList.toggle("misplaced", !reasons.hidden && found.misplaced.includes(row.dataset.text)));
  why.onclick = () => {
    reasons.hidden = !reasons.hidden;
    judge({ box });
  };
}

// --- prose: what was read of it, under it

const readers = new Map();

function understand(question) {
  const { box, about, id } = question,
    field = box.querySelector("textarea"),
    out = box.querySelector(".reading");
  if (!["stopping", "overfitting", "quality"].includes(about)) return;
  clearTimeout(readers.get(id));
  readers.set(
    id,
    setTimeout(async () => {
      const text = field.value;
      if (!text.trim()) {
        out.hidden = true;
        return;
      }
      const found = await api("rules", { method: "POST", body: { text, purpose: about } }).catch(() => null);
      if (!found || field.value !== text) return;
      const lines = [
        ...found.rules.map((rule) => read_line(rule.says, rule.source)),
        ...found.settings.map((item) =>
          read_line(
            item.setting.replaceAll("_", " ") +
              (item.value === true ? "" : item.value == null ? ": the usual value" : ` ${item.value}`),
            item.source,
          ),
        ),
        ...found.not_understood.map((piece) =>
          h(
            "p",
            { className: "unread" },
            mark("M6 2.500v4.500M6 9.200v.3"),
            h("span", {}, "Not understood: ", h("q", { dir: "auto" }, piece.slice(0, 300))),
          ),
        ),
      ];
      out.hidden = !lines.length;
      out.replaceChildren(...lines.slice(0, 30));
    }, 180),
  );
}

const read_line = (says, source) =>
  h(
    "p",
    { className: "read" },
    mark("M2 6.500l2.800 2.800L10 3"),
    h(
      "span",
      {},
      says[0].toUpperCase() + says.slice(1),
      source && h("small", { dir: "auto" }, `  from “${source.slice(0, 120)}”`),
    ),
  );

function mark(path) {
  const made = document.createElementNS("http://www.w3.org/2000/svg", "svg");
  for (const [name, value] of Object.entries({ viewBox: "0 0 12 12", width: 12, height: 12, "aria-hidden": true }))
    made.setAttribute(name, value);
  const line = made.appendChild(document.createElementNS("http://www.w3.org/2000/svg", "path"));
  for (const [name, value] of Object.entries({
    d: path,
    fill: "none",
    stroke: "currentColor",
    "stroke-width": 1.8,
    "stroke-linecap": "round",
  }))
    line.setAttribute(name, value);
  return made;
}

// --- tasks: items of the instructions, ticked off

const tasks = [...document.querySelectorAll(".tasks li")]
  .filter((item) => !item.querySelector("li"))
  .map((item) => {
    const box = h("input", { type: "checkbox" }),
      text = item.textContent.trim();
    item.replaceChildren(h("label", {}, box, h("span", {}, ...item.childNodes)));
    box.addEventListener("change", () =>
      trying(() =>
        api(`pages/${key}/tasks`, {
          method: "POST",
          body: { done: tasks.filter((task) => task.box.checked).map((task) => task.text) },
        }),
      ),
    );
    return { box, text };
  });

async function loadTasks() {
  if (!tasks.length) return;
  const { done } = await api(`pages/${key}/tasks`);
  for (const { box, text } of tasks) box.checked = done.includes(text);
}

// --- begin

for (const question of questions) {
  const { box, id, asks, custom } = question;
  if (asks === "order") {
    box.addEventListener("rank", () => {
      keep(id, read(question), true);
      judge(question);
    });
    judge(question);
  } else {
    const typed = asks === "prose" || asks === "text" || asks === "number";
    box.addEventListener(typed ? "input" : "change", (event) => {
      if (event.target === custom) return;
      if (custom) {
        custom.hidden = !box.querySelector("input[data-custom]:checked");
        if (!custom.hidden) custom.focus();
      }
      keep(id, read(question), !typed);
      if (asks === "prose") understand(question);
    });
    custom?.addEventListener("input", () => {
      waiting.set(id, read(question));
      keep(`${id}.custom`, custom.value, false);
    });
  }
}

async function load() {
  loadTasks().catch(() => {});
  const { values, faults } = await api(`pages/${key}/answers`);
  fill(values);
  tellUnfit(faults);
  plan.draw();
}

onNews((news) => {
  if (news.answers === key && !sending) load().catch(() => {});
  if (plan.others.includes(news.answers)) plan.draw();
});
addEventListener("beforeunload", (event) => {
  if (waiting.size) {
    send();
    event.preventDefault();
  }
});
load().catch((error) => {
  tellSaved(error.message);
});
feed.follow({ answers: [key, ...plan.others] });
