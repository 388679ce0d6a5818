// Prose on a page: what was read of it, under it.
import { api, h } from "/static/js/core.js";

const readers = new Map();

/** Read a question's prose once it rests, and say under it what was read. */
export function understand(question) {
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
