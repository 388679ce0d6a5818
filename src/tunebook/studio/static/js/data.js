// The data view: a file chosen or dropped, what the gate finds in it, its rows as the model sees them, and on to a page.
import { $, ApiError, api, h, plural, recall, tell, toast, trying, whole } from "/static/js/core.js";
import { lengths } from "/static/js/lengths.js";
import { mapper } from "/static/js/mapping.js";
import { card, quiet } from "/static/js/parts.js";

let found = null,
  looks = 0,
  asked = 0,
  mapping = {}, // our name -> the file's
  seenWith = ""; // the settings of the last look

const file = () => $("file").value;
const model = () => $("model").value.trim();
const limit = () => Number($("limit").value) || 1024;
const about = () => ({ file: file(), columns: mapping });
const settings = () => ({ model: model(), max_length: limit(), too_long: $("too-long").value });

// --- a look at every row

/** Nothing is known of the file that is chosen now; what is still being looked at is of another. */
function forget() {
  mapping = {};
  clear();
}

function clear() {
  looks += 1;
  asked += 1;
  tell($("found-say"), "");
  $("found").replaceChildren();
  $("found").removeAttribute("aria-busy");
  $("row-card").hidden = $("pair-card").hidden = true;
}

/** What was found with other settings goes; why a file could not be read stays, with the columns named so far. */
function changed() {
  if (JSON.stringify(settings()) !== seenWith && !$("found").querySelector(".notice")) clear();
}

async function look() {
  const mine = ++looks;
  seenWith = JSON.stringify(settings());
  tell($("found-say"), "Looking at every row …");
  $("found").replaceChildren(h("p", { className: "muted whole" }, "Looking at every row …"));
  $("found").setAttribute("aria-busy", "true");
  $("row-card").hidden = $("pair-card").hidden = true;
  try {
    const seen = await api("data/check", { method: "POST", body: { ...about(), ...settings() } });
    if (mine !== looks) return;
    found = seen;
    if (found.error) throw new ApiError(found.error);
    draw();
    if (model() && found.good) await showRow(1);
  } catch (error) {
    if (mine === looks) drawRefusal(error.message);
  } finally {
    if (mine === looks) $("found").removeAttribute("aria-busy");
  }
}

function draw() {
  const parts = [figures(), verdict(), findings()];
  if (found.tokens?.histogram.length) parts.push(tokens(found.tokens));
  if (Object.keys(mapping).length) parts.push(mapper(mapping, takeColumns));
  $("found").replaceChildren(...parts);
  tell($("found-say"), `Looked at ${plural(found.rows, "row")}: ${whole(found.bad)} bad, ${plural(total(), "finding")}.`);
}

const total = () => Object.values(found.counts).reduce((sum, count) => sum + count, 0);

function figures() {
  const number = (label, value, bad) =>
    value != null &&
    h("div", { className: bad ? "stat is-bad" : "stat" }, h("span", {}, label), h("b", {}, whole(value)));
  const hidden = Object.entries(found.private).map(([kind, count]) =>
    number(`Possibly private: ${kind.replaceAll("_", " ")}`, count),
  );
  return h(
    "div",
    { className: "card figures whole" },
    number("Rows", found.rows),
    number("Good", found.good),
    number("Bad", found.bad, found.bad > 0),
    number("Examples", found.tokens && found.examples),
    number("Tokens", found.tokens?.total),
    number("Trained tokens", found.tokens?.trained),
    number("Duplicates", found.duplicates),
    number("Near-duplicates", found.near_duplicates),
    ...hidden,
  );
}

/** Can it be trained on, and the way on. */
function verdict() {
  const good = found.bad === 0 && found.good > 0;
  const words = good
    ? "Every row can be trained on."
    : found.good
      ? `${plural(found.bad, "row")} cannot be trained on: mend or leave them out, then look again.`
      : "No row can be trained on.";
  const query = new URLSearchParams({ data: file(), ...(model() && { model: model() }) });
  if (Object.keys(mapping).length) query.append("set", `data.columns=${JSON.stringify(mapping)}`);
  if (limit() !== 1024) query.append("set", `data.max_length=${limit()}`);
  if ($("too-long").value !== "drop") query.append("set", `data.too_long=${$("too-long").value}`);
  const page = recall(`page:${$("look").dataset.folder}`) ?? "phase-3-fine-tuning";
  return h(
    "div",
    { className: `whole accept ${good ? "good" : "bad"}` },
    h("span", {}, words),
    good && h("a", { className: "button primary", href: `/pages/${page}?${query}` }, "Use it on a page"),
  );
}

const TWIN = /the same as line (\d+)/;

function findings() {
  const all = total();
  const rows = found.problems.slice(0, 300).map((problem) => {
    const twin = TWIN.exec(problem.message)?.[1];
    const open = () => (twin ? showTwins(Number(twin), problem.line) : showRow(problem.line));
    return h(
      "li",
      {},
      h(
        "button",
        { type: "button", className: `quiet ${problem.severity}`, onclick: open },
        `line ${whole(problem.line)}`,
      ),
      h("span", { dir: "auto" }, problem.message, twin && h("small", { className: "muted" }, " (side by side)")),
    );
  });
  const rest =
    all > rows.length &&
    h(
      "p",
      { className: "muted small" },
      `${whole(all - rows.length)} more are in what \`tunebook data check\` prints.`,
    );
  const list = rows.length
    ? h("ul", { className: "findings" }, rows)
    : h("p", { className: "muted" }, "Nothing is wrong with any row.");
  return card("Findings", whole(all), list, rest);
}

function tokens(seen) {
  const over = seen.rows_over
    ? `${plural(seen.rows_over, "row")} over the limit of ${whole(seen.limit)}: left out, they cost ${plural(seen.if_dropped.answer_tokens, "answer token")}; cut, ${whole(seen.if_cut.answer_tokens)}.`
    : `Every row fits the limit of ${whole(seen.limit)} tokens; the longest has ${whole(seen.longest)}.`;
  const end = seen.end_of_turn_trained
    ? `The end of turn ${seen.end_of_turn} is trained, so the model learns to stop.`
    : "The chat template ends answers with no token, so the model will not learn to stop.";
  const words = [h("p", { className: "small" }, over), h("p", { className: "small muted" }, end)];
  return card("Lengths in tokens", "", lengths(seen), ...words);
}

// --- a file whose form is not known: its columns are named by hand

function drawRefusal(words) {
  for (const [, ours, yours] of words.matchAll(/--columns (\w+)=([^\s)]+)/g))
    if (yours !== "YOURS") mapping[ours] ??= yours;
  tell($("found-say"), "");
  $("found").replaceChildren(h("div", { className: "notice bad whole", role: "alert" }, words), mapper(mapping, takeColumns));
}

function takeColumns(named) {
  mapping = named;
  trying(look);
}

// --- rows as the model sees them

const shown = (row) => api("data/show", { method: "POST", body: { ...about(), model: model(), row } });

/** A span a token, one by one: a long row has more of them than a call takes arguments. */
function coloured(row) {
  const spans = new DocumentFragment();
  for (const { trained, id, text } of row.tokens)
    spans.append(h("span", { className: trained ? "trained" : "", title: `token ${id}` }, text));
  return spans;
}

async function showRow(row) {
  if (!model()) return void toast("Name a model: its tokenizer shows the row.");
  const mine = ++asked;
  $("row-card").hidden = false;
  $("row").value = row;
  $("tokens").setAttribute("aria-busy", "true");
  try {
    const got = await shown(row);
    if (mine !== asked) return;
    $("tokens").replaceChildren(coloured(got));
    $("token-count").textContent =
      `${plural(got.tokens.length, "token")}, ${whole(got.tokens.filter((token) => token.trained).length)} trained.`;
  } catch (error) {
    if (mine !== asked) return;
    $("tokens").replaceChildren(error.message);
    $("token-count").textContent = "";
  } finally {
    $("tokens").removeAttribute("aria-busy");
  }
}

async function showTwins(first, second) {
  if (!model()) return void toast("Name a model: its tokenizer shows the rows.");
  const of = looks;
  const got = await trying(() => Promise.all([shown(first), shown(second)]));
  if (!got || of !== looks) return;
  $("pair-card").hidden = false;
  $("twins").replaceChildren(
    ...got.map((row, place) =>
      h(
        "div",
        {},
        h("h3", {}, `Line ${whole([first, second][place])}`),
        h("div", { className: "tokens", dir: "auto" }, coloured(row)),
      ),
    ),
  );
  $("pair-card").scrollIntoView({ block: "nearest" });
}

// --- a file from elsewhere

async function take(dropped) {
  if (!dropped) return;
  toast(`Taking ${dropped.name} into the working folder …`);
  const kept = await trying(async () => {
    const answer = await fetch(`/api/data/files/${encodeURIComponent(dropped.name)}`, {
      method: "POST",
      headers: { "content-type": "application/octet-stream" },
      body: dropped,
    });
    const value = await answer.json();
    if (!answer.ok) throw new Error([value.error.what, value.error.do].filter(Boolean).join(" "));
    return value.file;
  });
  if (!kept) return;
  $("file").append(h("option", { value: kept, selected: true }, kept));
  $("none")?.remove();
  forget();
  await trying(look, $("go"));
}

$("look").addEventListener("submit", (event) => {
  event.preventDefault();
  trying(look, $("go"));
});
$("file").addEventListener("change", forget);
for (const id of ["model", "limit", "too-long"]) $(id).addEventListener("change", changed);
$("upload").addEventListener("change", () => {
  take($("upload").files[0]);
  $("upload").value = ""; // the same file can be taken again
});
$("row").addEventListener("change", () => showRow(Math.max(1, Number($("row").value) || 1)));
$("back").addEventListener("click", () => showRow(Math.max(1, Number($("row").value) - 1)));
$("on").addEventListener("click", () => showRow(Math.min(found.rows, Number($("row").value) + 1)));
addEventListener("dragover", (event) => {
  event.preventDefault();
  document.body.classList.add("dropping");
});
addEventListener("dragleave", (event) => {
  if (!event.relatedTarget) document.body.classList.remove("dropping");
});
addEventListener("drop", (event) => {
  event.preventDefault();
  document.body.classList.remove("dropping");
  take(event.dataTransfer.files[0]);
});
if (file()) look();
