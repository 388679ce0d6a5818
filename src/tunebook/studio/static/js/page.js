// The page view: answers are kept as they are given; prose is read while it is typed; the plan follows at once.
import "/static/js/rank-list.js";
import { $, ApiError, api, feed, fill as put, h, onNews, remember, tell, trying } from "/static/js/core.js";
import { noteKept, showKept } from "/static/js/fields.js";
import { PlanPanel } from "/static/js/plan.js";
import { understand } from "/static/js/reading.js";

const key = $("page").dataset.key;
const questions = [...document.querySelectorAll(".question")].map((box) => ({
  box,
  id: box.dataset.id,
  asks: box.dataset.asks,
  about: box.dataset.about,
  custom: box.querySelector(".custom"),
}));
remember(`page:${$("page").dataset.folder}`, key); // other folders have other pages
const TYPED = ["prose", "text", "number"];
const plan = new PlanPanel(key, settled);
const waiting = new Map(); // id -> what is still to be sent
const refused = new Map(); // id -> why what stands there does not fit; what was kept before it still is
let timer = 0,
  sends = 0,
  sending = null,
  behind = false, // what is kept was written since it was looked at
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
  else if (showKept(box.querySelector("textarea, input"), value ?? "") && asks === "prose") understand(question);
  if (custom) {
    showKept(custom, more ?? "");
    custom.hidden = !box.querySelector("input[data-custom]:checked");
  }
}

function fill(values) {
  for (const question of questions) {
    const { id } = question,
      more = `${id}.custom`;
    if (![id, more].some((name) => waiting.has(name) || refused.has(name))) show(question, values[id], values[more]);
  }
}

function keep(id, value, soon) {
  waiting.set(id, value);
  tellSaved("");
  clearTimeout(timer);
  timer = setTimeout(send, soon ? 0 : 350);
}

/** Send what waits; what came meanwhile, or was not taken, follows in a moment. */
function send() {
  if (!sending && waiting.size) {
    sends += 1;
    sending = post().then((soon) => {
      sending = null;
      catchUp();
      if (!waiting.size) return;
      clearTimeout(timer);
      timer = setTimeout(send, soon);
    });
  }
  return sending;
}

/** Milliseconds after which there may be more to send. */
async function post() {
  const changes = new Map(waiting);
  try {
    const { values, faults, before } = await api(`pages/${key}/answers`, {
      method: "POST",
      body: { changes: Object.fromEntries(changes) },
    });
    for (const [id, value] of changes) {
      if (waiting.get(id) === value) waiting.delete(id);
      const fault = faults.find((item) => item.id === id);
      if (fault) refused.set(id, `This ${fault.message}.${values[id] ? ` Kept is still ${values[id]}.` : ""}`);
      else refused.delete(id);
    }
    for (const question of questions) told(question, changes, values);
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

/** What became of the changes to a question. */
function told({ box, id, custom, asks }, changes, values) {
  const wrong = box.querySelector(".wrong"),
    why = refused.get(id) ?? refused.get(`${id}.custom`) ?? "";
  wrong.hidden = !why;
  tell(wrong, why);
  if (changes.has(id) && TYPED.includes(asks))
    noteKept(box.querySelector("textarea, input"), changes.get(id), values[id] ?? "");
  if (changes.has(`${id}.custom`)) noteKept(custom, changes.get(`${id}.custom`), values[`${id}.custom`] ?? "");
}

const tellSaved = (words) => tell($("saved"), words);

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
    const typed = TYPED.includes(asks);
    box.addEventListener(typed ? "input" : "change", (event) => {
      if (event.target === custom) return;
      if (custom) {
        custom.hidden = !box.querySelector("input[data-custom]:checked");
        if (!custom.hidden) custom.focus();
        else for (const kind of [waiting, refused]) kind.delete(`${id}.custom`); // it goes with its option
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
  const mine = sends;
  loadTasks().catch(() => {});
  const { values, faults } = await api(`pages/${key}/answers`);
  if (mine !== sends) {
    behind = true; // answers of this tab were on their way: it is older than they are
    return catchUp();
  }
  fill(values);
  tellUnfit(faults);
  plan.draw();
}

/** Look again at what is kept once nothing is on its way there. */
function catchUp() {
  if (!behind || sending) return;
  behind = false;
  load().catch(() => {});
}

onNews((news) => {
  if (news.answers === key) {
    behind = true;
    catchUp();
  }
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
