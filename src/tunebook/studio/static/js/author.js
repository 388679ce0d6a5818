// A page of one's own: its source, and its faults under the lines that they stand in. A kept page is watched while its
// author mends it elsewhere; a new one is checked as it is typed or dropped.
import { $, api, confirmed, h, plural, toast, trying, whole } from "/static/js/core.js";

const key = $("author").dataset.key;
const LOOK = 1500; // milliseconds between looks at the file
const EXAMPLE = `---
title: My first page
subtitle: Three questions before a run
components:
  - {type: information}
  - {type: form}
---

## Why
{type: information, title: What this page is for}

Write here what a reader should know.

## Settings
{type: form}

**Learning Rate**
{type: select, options: ["3e-5 (Recommended)", "1e-4 (Fast)"]}

**When should it stop?**
{type: textarea, placeholder: "no improvement for 3 evaluations"}
`;

function draw({ ok, title, asked, lines, problems }) {
  const errors = problems.filter((problem) => problem.severity === "error").length;
  $("verdict").className = `verdict-line ${ok ? "good" : "bad"}`;
  $("verdict").replaceChildren(
    ok
      ? `“${title}” can be answered: ${plural(asked, "question")}${problems.length ? `, ${plural(problems.length, "warning")}` : ""}. `
      : `${plural(errors, "error")} to mend.`,
    key && ok ? h("a", { className: "button primary", href: `/pages/${key}` }, "Answer it") : "",
  );
  if ($("keep")) $("keep").disabled = !ok;
  $("faults").replaceChildren(
    ...problems
      .slice(0, 200)
      .map((problem) =>
        h(
          "li",
          { className: problem.severity },
          h("a", { href: `#line-${problem.line}` }, `line ${whole(problem.line)}`),
          h("span", {}, problem.message),
        ),
      ),
  );
  drawSource(lines, problems);
}

function drawSource(lines, problems) {
  const by_line =
    Map.groupBy?.(problems, (problem) => problem.line) ??
    problems.reduce((all, one) => all.set(one.line, [...(all.get(one.line) ?? []), one]), new Map());
  $("source").hidden = !lines.length || (!key && !problems.length);
  $("source").replaceChildren(
    ...lines.map((text, place) => {
      const faults = by_line.get(place + 1) ?? [];
      return h(
        "div",
        { id: `line-${place + 1}`, className: faults.length ? `row ${faults[0].severity}` : "row" },
        h("i", {}, String(place + 1)),
        h("code", { dir: "auto" }, text || " "),
        faults.map((fault) => h("p", {}, fault.message)),
      );
    }),
  );
}

// --- a page that lies in the folder: looked at again and again

let stamp = null;

async function watch() {
  const found = await api(`pages/${key}/source`).catch(() => null);
  if (found && found.stamp !== stamp) {
    stamp = found.stamp;
    draw(found);
  }
  setTimeout(watch, LOOK);
}

// --- a new one

let timer = 0,
  checked = 0,
  elsewhere = ""; // a text that lies somewhere, too

const unkept = () => $("text").value.trim() !== "" && $("text").value !== elsewhere;

async function check() {
  const mine = ++checked,
    text = $("text").value;
  if (!text.trim()) {
    $("verdict").textContent = "";
    $("faults").replaceChildren();
    $("source").hidden = true;
    $("keep").disabled = true;
    return;
  }
  const found = await trying(() => api("pages/check", { method: "POST", body: { text } }));
  if (found && mine === checked) draw(found);
}

/** Put another text in the place of what is written, once that may go. */
async function replace(text, name) {
  const words = "It is kept nowhere yet.";
  if (unkept() && !(await confirmed("Replace what is written here?", words, "Replace it"))) return;
  $("text").value = text;
  elsewhere = $("text").value; // with the line ends that a field has
  $("name").value = name;
  check();
}

async function open(file) {
  if (file) await replace(await file.text(), file.name.replace(/\.(md|markdown)$/i, ""));
}

function begin() {
  $("text").addEventListener("input", () => {
    clearTimeout(timer);
    timer = setTimeout(check, 250);
  });
  $("open").addEventListener("change", () => {
    open($("open").files[0]);
    $("open").value = ""; // the same file can be chosen again
  });
  $("example").addEventListener("click", () => replace(EXAMPLE, $("name").value || "my-first-page"));
  $("keep").addEventListener("click", async () => {
    const text = $("text").value;
    const made = await trying(
      () => api("pages", { method: "POST", body: { text, name: $("name").value || "page" } }),
      $("keep"),
    );
    if (made) {
      elsewhere = text;
      toast("It lies in pages/ now.");
      location.assign(made.key ? `/pages/${made.key}` : "/");
    }
  });
  addEventListener("beforeunload", (event) => {
    if (unkept()) event.preventDefault();
  });
  addEventListener("dragover", (event) => event.preventDefault());
  addEventListener("drop", (event) => {
    event.preventDefault();
    open(event.dataTransfer.files[0]);
  });
}

key ? watch() : begin();
