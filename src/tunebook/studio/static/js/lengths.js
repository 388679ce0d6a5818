// How long rows are, as a histogram over powers of two, with the limit drawn where it falls.
import { whole } from "/static/js/core.js";

const NS = "http://www.w3.org/2000/svg";
const WIDE = 520,
  HIGH = 150,
  ABOVE = 34,
  BELOW = 26;

function shape(tag, props, text) {
  const made = document.createElementNS(NS, tag);
  for (const [name, value] of Object.entries(props)) made.setAttribute(name, value);
  if (text != null) made.textContent = text;
  return made;
}

/** `histogram`: [{up_to: a power of two, rows}], `limit` in tokens. Bars above the limit have the second colour. */
export function lengths({ histogram, limit }) {
  const rows = new Map(histogram.map((bin) => [Math.log2(bin.up_to), bin.rows]));
  const first = Math.min(...rows.keys()),
    last = Math.max(...rows.keys(), first + 3),
    most = Math.max(...rows.values(), 1);
  const step = WIDE / (last - first + 1),
    floor = ABOVE + HIGH;
  const said = histogram.map((bin) => `${bin.rows} rows up to ${bin.up_to} tokens`).join(", ");
  const drawn = shape("svg", {
    viewBox: `0 0 ${WIDE} ${floor + BELOW}`,
    class: "lengths",
    role: "img",
    "aria-label": `${said}; the limit is ${limit}`,
  });
  for (let power = first; power <= last; power++) {
    const count = rows.get(power) ?? 0,
      x = (power - first) * step,
      middle = x + step / 2;
    const tall = count ? Math.max(3, (HIGH - 8) * (count / most)) : 0;
    if (count)
      drawn.append(
        shape("rect", {
          x: x + step * 0.08,
          y: floor - tall,
          width: step * 0.84,
          height: tall,
          rx: 4,
          class: 2 ** (power - 1) >= limit ? "over" : "",
        }),
        shape("text", { x: middle, y: floor - tall - 6 }, whole(count)),
      );
    drawn.append(shape("text", { x: middle, y: floor + 18 }, `≤ ${whole(2 ** power)}`));
  }
  drawn.append(shape("line", { x1: 0, x2: WIDE, y1: floor, y2: floor }));
  const at = (Math.log2(limit) - first + 1) * step;
  if (at > 0 && at < WIDE) {
    const end = at > WIDE / 2;
    drawn.append(
      shape("line", { class: "limit", x1: at, x2: at, y1: 16, y2: floor }),
      shape(
        "text",
        { class: end ? "limit before" : "limit", x: at + (end ? -6 : 6), y: 13 },
        `limit ${whole(limit)}`,
      ),
    );
  }
  return drawn;
}
