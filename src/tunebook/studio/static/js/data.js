// The data view: what the gate finds in a file, and its rows as the model sees them.
import { $, api, h, plural, trying, whole } from "/static/js/core.js";

const NS = "http://www.w3.org/2000/svg";
let rows = 0, asked = 0;

function shape(tag, props, text) {
  const made = document.createElementNS(NS, tag);
  for (const [name, value] of Object.entries(props)) made.setAttribute(name, value);
  if (text != null) made.textContent = text;
  return made;
}

async function look() {
  $("found").replaceChildren(h("p", { className: "muted whole" }, "Looking at every row …"));
  $("found").setAttribute("aria-busy", "true");
  $("row-card").hidden = true;
  try {
    const found = await api("data/check", { method: "POST", body: { file: $("file").value, model: $("model").value.trim(), max_length: Number($("limit").value) || 1024 } });
    rows = found.rows;
    show(found);
    if ($("model").value.trim() && found.good) { $("row-card").hidden = false; await showRow(1); }
  } catch (error) {
    $("found").replaceChildren(h("div", { className: "notice bad whole", role: "alert" }, error.message));
  } finally {
    $("found").removeAttribute("aria-busy");
  }
}

const number = (label, value, bad) => h("div", { className: bad ? "is-bad" : "" }, h("span", {}, label), h("b", {}, whole(value)));

function show(found) {
  const { tokens } = found;
  const numbers = h("div", { className: "card figures whole" }, number("Rows", found.rows), number("Good", found.good), number("Bad", found.bad, found.bad > 0), tokens && number("Examples", found.examples), tokens && number("Tokens", tokens.total), tokens && number("Trained tokens", tokens.trained),
    number("Duplicates", found.duplicates), number("Near-duplicates", found.near_duplicates), ...Object.entries(found.private).map(([kind, count]) => number(`Possibly private: ${kind.replaceAll("_", " ")}`, count)));
  const problems = found.problems.slice(0, 300).map((problem) => h("li", {}, h("button", { type: "button", className: `quiet ${problem.severity}`, onclick: () => showRow(problem.line) }, `line ${whole(problem.line)}`), h("span", { dir: "auto" }, problem.message)));
  const all = Object.values(found.counts).reduce((sum, count) => sum + count, 0);
  const list = h("section", { className: "card" }, h("div", { className: "card-head" }, h("h2", {}, "Findings"), h("span", { className: "count" }, whole(all))), problems.length ? h("ul", { className: "findings" }, problems) : h("p", { className: "muted" }, "Nothing is wrong with any row."));
  const parts = [numbers, list];
  if (tokens) {
    const over = tokens.rows_over ? `${plural(tokens.rows_over, "row")} over the limit of ${whole(tokens.limit)}: left out, they cost ${plural(tokens.if_dropped.answer_tokens, "answer token")}; cut, ${whole(tokens.if_cut.answer_tokens)}.` : `Every row fits the limit of ${whole(tokens.limit)} tokens; the longest has ${whole(tokens.longest)}.`;
    const end = tokens.end_of_turn_trained ? `The end of turn ${tokens.end_of_turn} is trained, so the model learns to stop.` : "The chat template ends answers with no token, so the model will not learn to stop.";
    parts.push(h("section", { className: "card" }, h("div", { className: "card-head" }, h("h2", {}, "Lengths in tokens")), lengths(tokens), h("p", { className: "small" }, over), h("p", { className: "small muted" }, end)));
  }
  $("found").replaceChildren(...parts);
}

/** Rows by length, up to powers of two; what is over the limit in the second colour. */
function lengths({ histogram, limit }) {
  const wide = 520, high = 170, step = wide / Math.max(histogram.length, 4), most = Math.max(...histogram.map((bin) => bin.rows), 1);
  const drawn = shape("svg", { viewBox: `0 0 ${wide} ${high + 40}`, class: "lengths", role: "img", "aria-label": histogram.map((bin) => `${bin.rows} rows up to ${bin.up_to} tokens`).join(", ") });
  histogram.forEach((bin, place) => {
    const tall = Math.max(2, (high - 10) * bin.rows / most), x = place * step + step * 0.14;
    drawn.append(shape("rect", { x, y: high + 18 - tall, width: step * 0.72, height: tall, rx: 4, class: bin.up_to / 2 >= limit ? "over" : "" }),
      shape("text", { x: x + step * 0.36, y: high + 12 - tall }, whole(bin.rows)), shape("text", { x: x + step * 0.36, y: high + 34 }, `≤ ${whole(bin.up_to)}`));
  });
  drawn.append(shape("line", { x1: 0, x2: wide, y1: high + 18, y2: high + 18 }));
  return drawn;
}

async function showRow(row) {
  const mine = ++asked;
  $("row-card").hidden = false;
  $("row").value = row;
  $("tokens").setAttribute("aria-busy", "true");
  try {
    const found = await api("data/show", { method: "POST", body: { file: $("file").value, model: $("model").value.trim(), row } });
    if (mine !== asked) return;
    $("tokens").replaceChildren(...found.tokens.map((token) => h("span", { className: token.trained ? "trained" : "", title: `token ${token.id}` }, token.text)));
    const trained = found.tokens.filter((token) => token.trained).length;
    $("token-count").textContent = `${plural(found.tokens.length, "token")}, ${whole(trained)} trained.`;
  } catch (error) {
    if (mine !== asked) return;
    $("tokens").replaceChildren(error.message);
    $("token-count").textContent = "";
  } finally {
    $("tokens").removeAttribute("aria-busy");
  }
}

$("look").addEventListener("submit", (event) => { event.preventDefault(); trying(look, $("go")); });
$("row").addEventListener("change", () => showRow(Math.max(1, Number($("row").value) || 1)));
$("back").addEventListener("click", () => showRow(Math.max(1, Number($("row").value) - 1)));
$("on").addEventListener("click", () => showRow(Math.min(rows, Number($("row").value) + 1)));
if ($("file").value) look();
