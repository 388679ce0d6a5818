// Columns of a file whose form is not known: they are named by hand.
import { h } from "/static/js/core.js";
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

/** A card to name columns in: `mapping` is ours -> yours so far, and `take` is given what was named. */
export function mapper(mapping, take) {
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
  const named = () =>
    [...rows.children]
      .map((row) => [row.querySelector("select").value, row.querySelector("input").value.trim()])
      .filter(([ours, yours]) => ours && yours);
  const look = () => take(Object.fromEntries(named()));
  const again = h("button", { type: "button", className: "primary", onclick: look }, "Look again");
  const more = quiet("One more", () => add());
  return card("Columns", "our name = yours", rows, h("div", { className: "actions" }, again, more));
}
