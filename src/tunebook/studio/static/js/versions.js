// Versions on the home view: named results of runs, the current one of each name first, with what was found of it.
import { $, ago, api, h } from "/static/js/core.js";
import { MARKS, pill } from "/static/js/parts.js";

function item(version) {
  const signs = (version.indicators ?? []).map((sign) =>
    h(
      "span",
      { className: `sign-${sign.verdict}`, title: sign.why },
      h("span", { "aria-hidden": "true" }, MARKS[sign.verdict]),
      h("span", { className: "hidden" }, `${sign.id.replaceAll("_", " ")}: ${sign.verdict}. `),
    ),
  );
  return h(
    "li",
    {},
    h(
      "span",
      {},
      h("a", { href: `/runs/${version.run}` }, version.version),
      version.current && pill("done", "current"),
    ),
    h("span", { className: "signs-small" }, signs),
    h("small", {}, [version.headline, ago(version.created)].filter(Boolean).join(" · ")),
  );
}

async function load() {
  const { versions } = await api("versions");
  $("versions-card").hidden = !versions.length;
  versions.sort((a, b) => Number(b.current) - Number(a.current) || (b.created ?? 0) - (a.created ?? 0));
  $("versions").replaceChildren(...versions.map(item));
}

addEventListener("focus", () => load().catch(() => {}));
load().catch(() => {});
