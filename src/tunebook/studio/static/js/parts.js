// Parts that several views draw alike; their styles are in parts.css.
import { h, whole } from "/static/js/core.js";

/** Marks of a sign of success, by its verdict. */
export const MARKS = { yes: "✓", no: "✕", unclear: "?" };

/** The state of a run, or another word in its colour. */
export const pill = (state, words = state) => h("span", { className: `pill ${state}` }, words);

/** A button that looks like a link. */
export const quiet = (words, act, more = {}) =>
  h("button", { type: "button", className: "quiet", onclick: act, ...more }, words);

/** The button for what is not shown yet, in a list that is empty where nothing is left. */
export const showMore = (rest, act, words = whole(rest)) => (rest > 0 ? [quiet(`Show more (${words})`, act)] : []);

/** A card with a title and, beside it, a note in small. */
export const card = (title, note, ...body) =>
  h(
    "section",
    { className: "card" },
    h("div", { className: "card-head" }, h("h2", {}, title), note && h("span", { className: "muted small" }, note)),
    ...body,
  );

/** What was asked, the answers side by side (`said`), and under them the reference where there is one. */
export const pair = (prompt, answers, reference) =>
  h(
    "div",
    { className: "pair" },
    h("p", { className: "prompt", dir: "auto" }, prompt),
    h("div", { className: "said" }, answers),
    reference && h("details", {}, h("summary", {}, "Reference answer"), h("p", { dir: "auto" }, reference)),
  );

/** One answer: `kind` is base or tuned, `under` what stands in small below the text. */
export const said = (kind, title, text, ...under) =>
  h("div", { className: kind }, h("h3", {}, title), h("p", { dir: "auto" }, text), ...under);
