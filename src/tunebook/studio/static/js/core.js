// What every view needs: elements from text alone, the API, the feed, and how figures are written.

/** An element. Children are elements or text; text never becomes markup. */
export function h(tag, props = {}, ...children) {
  const made = document.createElement(tag);
  for (const [name, value] of Object.entries(props)) {
    if (name.startsWith("on")) made.addEventListener(name.slice(2), value);
    else if (name in made && typeof value !== "string") made[name] = value;
    else if (value !== false && value != null) made.setAttribute(name === "className" ? "class" : name, value === true ? "" : value);
  }
  made.append(...children.flat().filter((child) => child != null && child !== false));
  return made;
}

/** Put `children` into `box`, unless it looks so already: what stays is not laid out and painted again. */
export function fill(box, ...children) {
  const made = h("div", {}, ...children);
  if (made.innerHTML !== box.innerHTML) box.replaceChildren(...made.childNodes);
}

export const $ = (id) => document.getElementById(id);

export class ApiError extends Error {
  constructor(error, status = 0) {
    super([error.what, error.kept, error.do, ...(error.faults ?? []).map((fault) => `${fault.where}: ${fault.message}`)].filter(Boolean).join("\n"));
    Object.assign(this, { error, status });
  }
}

/** Ask the API. Faults come back as an ApiError whose message is for people. */
export async function api(path, { method = "GET", body } = {}) {
  const change = method === "GET" ? {} : { headers: { "content-type": "application/json" }, body: JSON.stringify(body ?? {}) };
  let answer;
  try {
    answer = await fetch(`/api/${path}`, { method, ...change });
  } catch {
    throw new ApiError({ what: "The studio does not answer.", do: "Is it still running? `tunebook studio` starts it." });
  }
  const value = await answer.json().catch(() => ({}));
  if (!answer.ok) throw new ApiError(value.error ?? { what: `The studio answered ${answer.status}.` }, answer.status);
  return value;
}

export function toast(text) {
  const box = h("div", { className: "toast" }, text);
  $("toasts").append(box);
  setTimeout(() => box.remove(), 4000 + 40 * text.length);
}

/** Run `work`; a fault is shown, not thrown. Buttons are off meanwhile. */
export async function trying(work, button) {
  if (button) button.disabled = true;
  try { return await work(); } catch (error) { toast(error.message); } finally { if (button) button.disabled = false; }
}

/** Ask before something that cannot be taken back. */
export function confirmed(title, text, yes) {
  const box = h("dialog", {}, h("h2", {}, title), h("p", { className: "muted" }, text),
    h("form", { method: "dialog", className: "actions" }, h("button", { className: "plain", value: "no" }, "Cancel"), h("button", { className: "plain danger", value: "yes" }, yes)));
  document.body.append(box);
  box.showModal();
  return new Promise((resolve) => box.addEventListener("close", () => { box.remove(); resolve(box.returnValue === "yes"); }));
}

// --- the feed: one WebSocket for this tab, which comes back by itself and says what it has already

class Feed extends EventTarget {
  #socket; #wait = 250; #wants = {};

  /** `wants` holds functions where a value changes meanwhile (the last seq). */
  follow(wants) {
    this.#wants = { ...this.#wants, ...wants };
    if (!this.#socket) this.#open(); else if (this.#socket.readyState === 1) this.#say();
  }

  #say() {
    const runs = Object.fromEntries(Object.entries(this.#wants.runs ?? {}).map(([name, seq]) => [name, seq()]));
    this.#socket.send(JSON.stringify({ ...this.#wants, runs }));
  }

  #open() {
    let opened = false;
    this.#socket = new WebSocket(`ws://${location.host}/api/feed`);
    this.#socket.onopen = () => { opened = true; this.#wait = 250; lineState(""); this.#say(); };
    this.#socket.onmessage = (message) => this.dispatchEvent(new CustomEvent("news", { detail: JSON.parse(message.data) }));
    this.#socket.onclose = async () => {
      setTimeout(() => this.#open(), this.#wait);
      this.#wait = Math.min(5000, this.#wait * 1.7);
      const words = (!opened && (await refusal())) || "Waiting for the studio";
      if (this.#socket.readyState !== 1) lineState(words);
    };
  }
}

/** What a studio says that is there and knows this tab's key no more, since it was started anew; "" of any other. */
const refusal = () => api("machine").then(() => "", (error) => (error.status === 401 ? error.message : ""));

/** The same words again are not written again: they would be read aloud each time. */
export function tell(box, words) {
  if (box.textContent !== words) box.textContent = words;
}

function lineState(words) {
  $("line").hidden = !words;
  tell($("line"), words);
}

export const feed = new Feed();
export const onNews = (take) => feed.addEventListener("news", (event) => take(event.detail));

/** The names among `known` (a map by name) that this news of the run list says are gone. */
export function goneBy({ all, list, gone }, known) {
  if (!all) return gone;
  const there = new Set(list.map((run) => run.name));
  return [...known.keys()].filter((name) => !there.has(name));
}

/** `draw`, put off while nobody sees the tab: what came last is drawn once the tab is looked at again. */
export function whenSeen(draw) {
  let late = null;
  document.addEventListener("visibilitychange", () => {
    if (document.hidden || !late) return;
    const given = late;
    late = null;
    draw(...given);
  });
  return (...given) => {
    late = document.hidden ? given : null;
    if (!late) draw(...given);
  };
}

/** `draw`, put off while the pointer is pressed: what is under it stays until the click is done. */
export function unpressed(draw) {
  let late = null, pressed = false;
  addEventListener("pointerdown", (event) => { pressed = event.button === 0; }, true);
  for (const end of ["pointerup", "pointercancel", "contextmenu", "blur"]) addEventListener(end, () => {
    const given = late;
    pressed = false;
    late = null;
    if (given) setTimeout(() => draw(...given)); // the click comes first
  });
  return (...given) => {
    late = pressed ? given : null;
    if (!late) draw(...given);
  };
}

// --- what the browser keeps for this address; a window that keeps nothing goes on without

/** What was kept under a name, or null. */
export function recall(name) {
  try { return localStorage.getItem(name); } catch { return null; }
}

/** Keep a text; false where the browser keeps nothing. */
export function remember(name, text) {
  try { localStorage.setItem(name, text); return true; } catch { return false; }
}

// --- figures

const plain = new Intl.NumberFormat("en", { maximumFractionDigits: 0 });
export const whole = (value) => (value == null ? "–" : plain.format(value));

/** Four significant digits, or fewer; very small ones with an exponent. */
export function figure(value) {
  if (value == null) return "–";
  const size = Math.abs(value);
  if (size >= 10000) return plain.format(value);
  if (size && size < 0.001) return value.toExponential(1).replace(".0e", "e").replace("e-", "e−");
  return String(+value.toPrecision(4));
}

export function seconds(value) {
  if (value == null) return "–";
  if (value < 10) return `${value.toFixed(1)} s`;
  if (value < 90) return `${Math.round(value)} s`;
  if (value < 5400) return `${Math.round(value / 60)} min`;
  return value < 172800 ? `${(value / 3600).toFixed(1)} h` : `${Math.round(value / 86400)} days`;
}

export const bytes = (value) => (value == null ? "–" : value >= 1e9 ? `${(value / 1e9).toFixed(2)} GB` : `${Math.round(value / 1e6)} MB`);

export function ago(time) {
  if (!time) return "";
  const past = Date.now() / 1000 - time;
  return past < 5 ? "now" : past < 90 ? `${Math.round(past)} s ago` : past < 5400 ? `${Math.round(past / 60)} min ago` : past < 172800 ? `${Math.round(past / 3600)} h ago` : `${Math.round(past / 86400)} days ago`;
}

export const plural = (count, word) => `${whole(count)} ${word}${count === 1 ? "" : "s"}`;
