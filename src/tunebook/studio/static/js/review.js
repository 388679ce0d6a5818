// The review view: one pair at a time, blind; a verdict is kept the moment it is given, and tells whose answer was whose.
import { $, api, h, toast, trying, whole } from "/static/js/core.js";
import { drawSummary, rejectCheckpoint } from "/static/js/review-summary.js";

const name = $("review").dataset.name;
const at = `runs/${name}/review`;
let items = [],
  total = 0,
  left = 0,
  place = 0,
  loads = 0,
  busy = false, // a verdict is being kept
  kept = Promise.resolve(); // over when what was said so far is
const given = new Map(); // place of an item -> what was said of it in this sitting
const known = new Set(); // pairs that have a verdict of this sitting
const earlier = new Map(); // pair that is judged again -> what was said of it before
const drafts = new Map(); // pair -> a fixed answer as it was typed last
const pairOf = (item) => `${item.step} ${item.id}`;

const policy = () => $("policy").value;

async function load() {
  const mine = ++loads;
  $("review").setAttribute("aria-busy", "true");
  try {
    const found = await api(policy() ? `${at}?policy=${policy()}` : at);
    if (mine !== loads) return;
    ({ items, total, left } = found);
    place = 0;
    given.clear();
    draw();
    drawSummary(found.reviews, at);
  } catch (error) {
    if (mine === loads)
      $("pair").replaceChildren(h("div", { className: "notice bad", role: "alert" }, error.message));
  } finally {
    if (mine === loads) $("review").removeAttribute("aria-busy");
  }
}

// --- one pair

const key = (letter) => h("kbd", {}, letter);

function button(label, letter, act, kind = "plain") {
  return h(
    "button",
    { type: "button", className: kind, "aria-keyshortcuts": letter, onclick: act },
    label,
    key(letter),
  );
}

function draw() {
  $("bar").max = Math.max(total, 1);
  $("bar").value = total - left;
  $("count").textContent = total ? `${whole(total - left)} of ${whole(total)} judged` : "";
  const item = items[place];
  if (!item) return left > 0 ? void load() : drawEnd();
  const said = given.get(place);
  const column = (letter) => {
    const whose = said ? (said.tuned === letter ? "tuned" : "base") : "";
    const better = said?.chosen === letter;
    return h(
      "section",
      { className: `answer ${whose} ${better ? "chosen" : ""}`, "aria-label": `Answer ${letter.toUpperCase()}` },
      h(
        "h2",
        {},
        h("span", { className: "letter" }, letter.toUpperCase()),
        whose && h("span", { className: "whose" }, whose === "tuned" ? "Tuned" : "Base"),
      ),
      h("p", { dir: "auto" }, item[letter].trim() || h("em", { className: "muted" }, "(nothing)")),
    );
  };
  $("pair").replaceChildren(
    h("p", { className: "question", dir: "auto", tabindex: "-1" }, item.prompt),
    h("div", { className: "both" }, column("a"), column("b")),
    said ? acted(item, said) : asked(),
    item.reference &&
      h(
        "details",
        { className: "reference" },
        h("summary", {}, "Reference answer"),
        h("p", { dir: "auto" }, item.reference),
      ),
  );
}

function asked() {
  return h(
    "div",
    { className: "judge", role: "group", "aria-label": "Which answers better?" },
    button("A is better", "A", () => choose("a")),
    button("The same", "S", () => choose("same")),
    button("B is better", "B", () => choose("b")),
    place > 0 && button("Back", "U", back, "quiet"),
  );
}

const VERDICTS = {
  better: "The tuned model’s answer is better.",
  same: "Both are the same.",
  worse: "The base’s answer is better.",
};

function acted(item, said) {
  const note = h("input", {
    type: "text",
    id: "note",
    placeholder: "Note (optional)",
    "aria-label": "Note",
    value: said.note,
    dir: "auto",
    maxlength: 10000,
  });
  note.addEventListener("change", () => keep({ note: note.value }));
  return h(
    "div",
    { className: `after ${said.verdict}` },
    h(
      "p",
      { className: "told", role: "status" },
      VERDICTS[said.verdict],
      h(
        "span",
        { className: "muted" },
        ` Answer ${said.tuned.toUpperCase()} is the tuned model’s, after step ${whole(item.step)}.`,
      ),
    ),
    h(
      "div",
      { className: "judge", role: "group", "aria-label": "What becomes of the tuned answer?" },
      button("Keep it", "K", () => settle("keep"), "primary"),
      button("Fix it", "F", () => fix(item, said)),
      button("Reject it", "R", () => settle("reject")),
      button("Back", "U", back, "quiet"),
    ),
    h(
      "div",
      { className: "note-line" },
      note,
      h(
        "button",
        { type: "button", className: "quiet danger", onclick: () => rejectCheckpoint(item.step, at) },
        `Reject checkpoint ${whole(item.step)}`,
      ),
    ),
  );
}

function fix(item, said) {
  const text = h(
    "textarea",
    { rows: 6, "aria-label": "The answer as it should be", dir: "auto" },
    drafts.get(pairOf(item)) ?? (said.fixed || item[said.tuned]),
  );
  const save = () =>
    alone(async () => {
      if (!text.value.trim()) return void toast("Write the answer as it should be, or reject it.");
      if (await keep({ action: "fix", fixed: text.value })) next();
    });
  text.addEventListener("input", () => drafts.set(pairOf(item), text.value));
  text.addEventListener("keydown", (event) => {
    if (event.key === "Enter" && (event.ctrlKey || event.metaKey) && !event.repeat) save();
    if (event.key === "Escape") draw();
  });
  const box = h(
    "div",
    { className: "fixing" },
    text,
    h(
      "div",
      { className: "judge" },
      h("button", { type: "button", className: "primary", onclick: save }, "Keep this answer", key("Ctrl ⏎")),
      h("button", { type: "button", className: "quiet", onclick: draw }, "Cancel", key("Esc")),
    ),
  );
  $("pair").querySelector(".after").replaceChildren(box);
  text.focus();
}

// --- what is said, and kept

/** One verdict at a time: what is pressed while it is being kept would be said of the next pair, unread. */
async function alone(act) {
  if (busy) return;
  busy = true;
  try {
    await act();
  } finally {
    busy = false;
  }
}

const choose = (chosen) =>
  alone(async () => {
    const said = items[place] && earlier.get(pairOf(items[place]));
    given.set(place, { note: "", action: "keep", fixed: "", ...said, chosen });
    if (!(await keep({}))) given.delete(place);
    draw();
    $("pair").querySelector(".judge .primary")?.focus({ preventScroll: true });
  });

/** Send what is said of the pair on the screen, after what was said before; true when it is kept. */
function keep(changes) {
  const item = items[place],
    said = given.get(place);
  if (!item || !said) return false;
  Object.assign(said, changes);
  if (said.action !== "fix") said.fixed = "";
  kept = kept.then(() => trying(() => post(item, said)));
  return kept;
}

async function post(item, said) {
  const { chosen, action, fixed, note } = said;
  const again = known.has(pairOf(item));
  const body = { step: item.step, id: item.id, chosen, action, fixed, note, again, policy: policy() || null };
  const of = loads;
  let told;
  try {
    told = await api(at, { method: "POST", body });
  } catch (error) {
    if (error.status === 409 && !again) await load(); // another tab judged it
    throw error;
  }
  known.add(pairOf(item));
  if (of !== loads) return void drawSummary(told.reviews, at); // another queue is on the screen, or on its way
  Object.assign(said, { tuned: told.tuned, verdict: told.verdict });
  left = told.left;
  $("bar").value = total - left;
  $("count").textContent = `${whole(total - left)} of ${whole(total)} judged`;
  drawSummary(told.reviews, at);
  return true;
}

const settle = (action) =>
  alone(async () => {
    if (await keep({ action })) next();
  });

function next() {
  place += 1;
  draw();
  $("pair").querySelector(".question")?.focus({ preventScroll: true });
}

function back() {
  if (busy) return;
  if (given.has(place)) {
    earlier.set(pairOf(items[place]), given.get(place));
    given.delete(place);
  } else if (place > 0) place -= 1;
  draw();
}

// --- the end

function drawEnd() {
  const done = total > 0;
  const words = done
    ? "Every answer in this queue is judged. The report counts your verdicts."
    : "The queue is empty: either the plan asks for no review, or the held-out prompts have not been answered yet. “Read” above chooses another one.";
  $("pair").replaceChildren(
    h(
      "div",
      { className: "card empty" },
      h("h2", {}, done ? "All judged" : "Nothing to review"),
      h("p", {}, words),
      h(
        "p",
        {},
        h("a", { className: "button primary", href: `/runs/${name}/report` }, "Read the report"),
        given.size > 0 && " ",
        given.size > 0 && h("button", { type: "button", className: "plain", onclick: back }, "Back to the last one"),
      ),
    ),
  );
}

// --- keys

addEventListener("keydown", (event) => {
  if (document.querySelector("dialog[open]")) return;
  if (event.repeat && event.target.closest?.("#pair button")) event.preventDefault(); // a held Enter clicks on and on
  if (
    event.repeat ||
    event.ctrlKey ||
    event.metaKey ||
    event.altKey ||
    /INPUT|TEXTAREA|SELECT/.test(event.target.tagName)
  )
    return;
  const item = items[place],
    said = given.get(place),
    letter = event.key.toLowerCase();
  if (!item || $("pair").querySelector(".fixing")) return;
  const acts = said
    ? {
        k: () => settle("keep"),
        f: () => fix(item, said),
        r: () => settle("reject"),
        u: back,
        n: () => $("note").focus(),
      }
    : { a: () => choose("a"), b: () => choose("b"), s: () => choose("same"), u: back };
  if (!acts[letter]) return;
  event.preventDefault();
  acts[letter]();
});

$("policy").addEventListener("change", load);
load();
