// The compare view: runs and versions chosen in the address (`?with=a,house@2`), their reports in one table, their answers,
// and a talk. A version is shown by the report of the run that it came from.
import { $, api, figure, h, plural, seconds, trying, whole } from "/static/js/core.js";
import { MARKS, pair, said, showMore } from "/static/js/parts.js";
import { Talk } from "/static/js/talk.js";

const MOST = 4;
let all = new Map(), // name -> {run, label}
  chosen = [],
  draws = 0;
const reports = new Map();

async function begin() {
  const [{ runs }, { versions }] = await Promise.all([api("runs"), api("versions")]);
  all = new Map(runs.map(({ name, state }) => [name, { run: name, label: `${name} (${state})` }]));
  for (const { version, run, current } of versions)
    all.set(version, { run, label: `${version} (version${current ? ", current" : ""})` });
  const asked = new URLSearchParams(location.search).get("with");
  const finished = runs.filter((run) => run.state === "finished").map((run) => run.name);
  chosen =
    asked == null
      ? finished.slice(0, 2)
      : asked
          .split(",")
          .filter((name) => all.has(name))
          .slice(0, MOST);
  await draw();
}

async function choose(names) {
  chosen = names;
  history.replaceState(null, "", chosen.length ? `/compare?with=${chosen.join(",")}` : "/compare");
  await draw();
}

async function draw() {
  const mine = ++draws;
  drawChosen();
  const found = await Promise.all(chosen.map(reportOf));
  if (mine !== draws) return; // others are chosen by now
  $("chosen").removeAttribute("aria-busy");
  const good = found.filter((report) => !report.fault);
  for (const id of ["table-card", "talk-card", "answers-card"]) $(id).hidden = !chosen.length;
  if (!chosen.length) return;
  drawTable(found);
  drawAnswers(good);
  talk.with(chosen);
}

/** A run's report under the name that was chosen, or `{name, fault}` where it has none so far. */
async function reportOf(name) {
  const { run } = all.get(name);
  if (!reports.has(run))
    reports.set(
      run,
      api(`runs/${run}/report`).catch((error) => {
        reports.delete(run);
        return { fault: error.message };
      }),
    );
  return { ...(await reports.get(run)), name, run };
}

// --- which

function drawChosen() {
  const free = [...all].filter(([name]) => !chosen.includes(name));
  const chips = chosen.map((name) =>
    h(
      "span",
      { className: "run-chip" },
      h("a", { href: `/runs/${all.get(name).run}` }, name),
      h(
        "button",
        {
          type: "button",
          "aria-label": `Leave out ${name}`,
          onclick: () => choose(chosen.filter((other) => other !== name)),
        },
        "×",
      ),
    ),
  );
  const add = h(
    "select",
    { "aria-label": "Add a run or a version" },
    h("option", { value: "" }, chosen.length ? "Add one" : "Choose a run"),
    free.map(([name, { label }]) => h("option", { value: name }, label)),
  );
  add.addEventListener("change", () => add.value && choose([...chosen, add.value]));
  if (!all.size) {
    $("chosen").replaceChildren(
      h(
        "div",
        { className: "empty card" },
        h("h2", {}, "Nothing to compare yet"),
        h("p", {}, "Once a run has come to its first evaluation, it can be put beside its base and beside others."),
      ),
    );
    return;
  }
  $("chosen").replaceChildren(...chips, ...(free.length && chosen.length < MOST ? [add] : []));
}

// --- what was measured

const sign = (report, id) => report.indicators?.find((item) => item.id === id);
const numbers = (report, id) => sign(report, id)?.numbers ?? {};
const percent = (value) => (value == null ? null : `${(100 * value).toFixed(1)} %`);
const method = ({ method: name, rank }) =>
  name === "lora" ? `LoRA, rank ${rank}` : name === "full" ? "every weight" : null;

// Each row: its name, the base's value, a run's value, and whether more is better (1), less (-1) or neither (0).
const ROWS = [
  [
    "Validation loss",
    (report) => numbers(report, "validation").base,
    (report) => numbers(report, "validation").tuned,
    -1,
  ],
  [
    "Perplexity",
    (report) => numbers(report, "validation").perplexity_base,
    (report) => numbers(report, "validation").perplexity_tuned,
    -1,
  ],
  ["Likeness of answers", (report) => numbers(report, "answers").base, (report) => numbers(report, "answers").tuned, 1],
  [
    "Tokens in an answer",
    (report) => numbers(report, "answers").scores?.base.tokens,
    (report) => numbers(report, "answers").scores?.tuned.tokens,
    0,
  ],
  [
    "General questions right",
    (report) => numbers(report, "retention").base,
    (report) => numbers(report, "retention").tuned,
    1,
    percent,
  ],
  [
    "Loss on plain prose",
    (report) => numbers(report, "retention").prose_base,
    (report) => numbers(report, "retention").prose_tuned,
    -1,
  ],
];
const SETTINGS = [
  ["Base model", (report) => report.model],
  ["Data", (report) => report.data],
  ["Trains", (report) => method(report.settings)],
  ["Learning rate", (report) => figure(report.settings.learning_rate)],
  ["Batch size", (report) => report.settings.batch_size],
  ["Optimizer steps", (report) => whole(report.end.step)],
  ["Result", (report) => (report.end.result_step ? `step ${whole(report.end.result_step)}` : null)],
  ["Took", (report) => seconds(report.seconds)],
];

const HELD_OUT = new Set(["Validation loss", "Perplexity", "Likeness of answers"]); // measured on a run's own data
const differ = (values) => new Set(values.filter((value) => value != null)).size > 1;

/** The same base on the same data is measured alike, but for rounding. */
function apart(values) {
  const there = values.filter((value) => value != null);
  return Math.max(...there) - Math.min(...there) > 1e-3 * Math.max(...there.map(Math.abs));
}

/** Were these runs held against different data, by its name or by what their one base makes of it? */
function onOtherData(reports) {
  if (differ(reports.map((report) => report.data))) return true;
  return !differ(reports.map((report) => report.model)) && apart(reports.map(ROWS[0][1]));
}

function drawTable(found) {
  const good = found.filter((report) => !report.fault),
    otherData = onOtherData(good);
  const head = h(
    "tr",
    {},
    h("td", {}),
    h("th", { scope: "col" }, "Base"),
    found.map((report) => h("th", { scope: "col" }, h("a", { href: `/runs/${report.run}/report` }, report.name))),
  );
  const verdicts = h("tr", {}, h("th", { scope: "row" }, "Signs of success"), h("td", {}), found.map(signs));
  const measured = ROWS.map(([name, base, tuned, better, shown = figure]) => {
    const values = found.map((report) => (report.fault ? null : tuned(report)));
    const there = new Set(values.filter((value) => value != null));
    const alike = !(otherData && HELD_OUT.has(name)) && !(better < 0 && apart(good.map(base)));
    const best = better && alike && there.size > 1 ? (better > 0 ? Math.max(...there) : Math.min(...there)) : null;
    const beats = (value, own) => own == null || (value - own) * better > 0;
    const before = good.map(base).find((value) => value != null);
    return h(
      "tr",
      {},
      h("th", { scope: "row" }, name),
      cell(before, shown),
      values.map((value, at) => cell(value, shown, value != null && value === best && beats(value, base(found[at])))),
    );
  });
  const settings = SETTINGS.map(([name, value]) => {
    const values = found.map((report) => (report.fault ? null : value(report)));
    return h(
      "tr",
      { className: differ(values) ? "differs" : "" },
      h("th", { scope: "row" }, name),
      h("td", {}),
      values.map((one) => h("td", {}, one ?? "–")),
    );
  });
  $("table").replaceChildren(
    h(
      "table",
      { className: "comparison" },
      h("thead", {}, head),
      h("tbody", {}, verdicts, measured),
      h("tbody", { className: "settings" }, settings),
    ),
  );
  const notes = [
    differ(good.map((report) => report.model)) &&
      "These runs start from different bases; the column is the first one’s.",
    otherData && "Different data: each against its own base.",
  ];
  $("table-note").textContent = notes.filter(Boolean).join(" ");
  for (const report of found.filter((one) => one.fault))
    $("table").append(h("p", { className: "notice warn" }, `${report.name}: ${report.fault}`));
}

const cell = (value, shown, best = false) =>
  h("td", { className: best ? "best" : "" }, value == null ? "–" : shown(value));

function signs(report) {
  if (report.fault) return h("td", { className: "muted" }, "no report yet");
  return h(
    "td",
    {},
    report.indicators.map((item) =>
      h(
        "span",
        {
          className: `mini ${item.verdict}`,
          title: item.why,
          role: "img",
          "aria-label": `${item.id.replaceAll("_", " ")}: ${item.verdict}`,
        },
        MARKS[item.verdict],
      ),
    ),
  );
}

// --- the same prompts, answered by each

function drawAnswers(found) {
  const rows = new Map();
  for (const report of found)
    for (const row of report.answers) {
      const one = rows.get(row.id) ?? { prompt: row.prompt, reference: row.reference, base: row.base, said: new Map() };
      one.said.set(report.name, row.tuned);
      rows.set(row.id, one);
    }
  const list = [...rows.values()];
  $("answers-card").hidden = !list.length;
  let shown = 4;
  const fill = () => {
    const pairs = list.slice(0, shown).map((row) => {
      const tuned = found.map((report) => column("tuned", report.name, row.said.get(report.name)));
      return pair(row.prompt.trim(), [column("base", "Base", row.base), ...tuned], row.reference);
    });
    const more = showMore(list.length - shown, () => {
      shown += 20;
      fill();
    });
    $("answers").replaceChildren(...pairs, ...more);
  };
  fill();
}

function column(kind, title, answer) {
  const score = answer?.scores ? `${Math.round(answer.scores.likeness)}` : "";
  return said(
    kind,
    [title, h("span", { className: "score" }, score)],
    answer ? answer.text || "(nothing)" : "not asked",
    answer?.tokens != null && h("small", { className: "muted" }, plural(answer.tokens, "token")),
  );
}

const talk = new Talk({
  box: $("talk"),
  tools: $("talk-tools"),
  form: $("ask"),
  question: $("question"),
  send: $("send"),
  note: $("talk-note"),
});
trying(begin);
