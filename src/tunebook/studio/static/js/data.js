// The data view: a file chosen or dropped, what the gate finds in it, its rows as the model sees them, and on to a page.
import { $, ApiError, api, h, plural, toast, trying, whole } from "/static/js/core.js";
import { lengths } from "/static/js/lengths.js";
import { card, quiet } from "/static/js/parts.js";

const OURS = [
  "prompt",
  "completion",
  "system",
  "messages",
  "role",
  "content",
  "instruction",
  "input",
  "output",
  "choices",
  "gold",
  "group",
];
let found = null,
  looks = 0,
  asked = 0,
  mapping = {};

const file = () => $("file").value;
const model = () => $("model").value.trim();
const limit = () => Number($("limit").value) || 1024;
const about = () => ({ file: file(), columns: mapping });

// --- a look at every row

/** Nothing is known of the file that is chosen now; what is still being looked at is of another. */
function forget() {
  looks += 1;
  asked += 1;
  mapping = {};
  $("found").replaceChildren();
  $("found").removeAttribute("aria-busy");
  $("row-card").hidden = $("pair-card").hidden = true;
}

async function look() {
  const mine = ++looks;
  $("found").replaceChildren(h("p", { className: "muted whole" }, "Looking at every row …"));
  $("found").setAttribute("aria-busy", "true");
  $("row-card").hidden = $("pair-card").hidden = true;
  try {
    const seen = await api("data/check", {
      method: "POST",
      body: { ...about(), model: model(), max_length: limit(), too_long: $("too-long").value },
    });
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
  if (found.tokens) parts.push(tokens(found.tokens));
  if (Object.keys(mapping).length) parts.push(mapper());
  $("found").replaceChildren(...parts);
}

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
  const page = localStorage.getItem("page") ?? "phase-3-fine-tuning";
  return h(
    "div",
    { className: `whole accept ${good ? "good" : "bad"}` },
    h("span", {}, words),
    good && h("a", { className: "button primary", href: `/pages/${page}?${query}` }, "Use it on a page"),
  );
}

const TWIN = /the same as line (\d+)/;

function findings() {
  const all = Object.values(found.counts).reduce((sum, count) => sum + count, 0);
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
  $("found").replaceChildren(h("div", { className: "notice bad whole", role: "alert" }, words), mapper());
}

function mapper() {
  const rows = h("div", { className: "mapping" });
  const add = (ours = "", yours = "") => {
    const choice = h(
      "select",
      { "aria-label": "Our name" },
      h("option", { value: "" }, "—"),
      OURS.map((name) => h("option", { value: name, selected: name === ours }, name)),
    );
    rows.append(
      h(
        "div",
        {},
        choice,
        h("span", { "aria-hidden": "true" }, "="),
        h("input", {
          type: "text",
          "aria-label": "Your column",
          placeholder: "your column",
          value: yours,
          spellcheck: false,
        }),
      ),
    );
  };
  const given = Object.entries(mapping);
  (given.length
    ? given
    : [
        ["prompt", ""],
        ["completion", ""],
      ]
  ).forEach(([ours, yours]) => add(ours, yours));
  const take = () => {
    mapping = Object.fromEntries(
      [...rows.children]
        .map((row) => [row.querySelector("select").value, row.querySelector("input").value.trim()])
        .filter(([ours, yours]) => ours && yours),
    );
    trying(look);
  };
  const again = h("button", { type: "button", className: "primary", onclick: take }, "Look again");
  const more = quiet("One more", () => add());
  return card("Columns", "our name = yours", rows, h("div", { className: "actions" }, again, more));
}

// --- rows as the model sees them

const shown = (row) => api("data/show", { method: "POST", body: { ...about(), model: model(), row } });
const coloured = (row) =>
  row.tokens.map((token) =>
    h("span", { className: token.trained ? "trained" : "", title: `token ${token.id}` }, token.text),
  );

async function showRow(row) {
  if (!model()) return void toast("Name a model: its tokenizer shows the row.");
  const mine = ++asked;
  $("row-card").hidden = false;
  $("row").value = row;
  $("tokens").setAttribute("aria-busy", "true");
  try {
    const got = await shown(row);
    if (mine !== asked) return;
    $("tokens").replaceChildren(...coloured(got));
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
$("upload").addEventListener("change", () => take($("upload").files[0]));
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
