// A conversation with runs beside their base. Each run has a socket of its own, whose process holds the models.
import { api, h, whole } from "/static/js/core.js";
import { pair, quiet, said } from "/static/js/parts.js";

const MOST = 3; // each holds a model in memory

/** One run (or one of its checkpoints) and, for the first of them, its base: columns that answer the same questions. */
class Voice {
  #socket;
  #ready = false;
  #waiting = null;

  constructor(name, withBase, news) {
    Object.assign(this, { name, withBase, news, step: "", busy: false });
  }

  get titles() {
    const own = this.step ? `${this.name}, step ${whole(Number(this.step))}` : this.name;
    return this.withBase ? ["Base", own] : [own];
  }

  ask(text) {
    this.busy = true;
    this.#waiting = text;
    if (!this.#socket) this.#open();
    else if (this.#ready) this.#send();
  }

  /** Break the answers off; while the models are still being loaded, give them up. */
  stop() {
    if (this.#ready) this.#socket.send(JSON.stringify({ stop: true }));
    else if (this.busy) {
      this.close();
      this.news(this, { gone: "Stopped before the models were loaded." });
    }
  }

  forget() {
    if (this.#ready) this.#socket.send(JSON.stringify({ new: true }));
    else this.close(); // with a question that still waits for the models
  }

  close() {
    const socket = this.#socket;
    this.#socket = null;
    this.#ready = this.busy = false;
    socket?.close();
  }

  #send() {
    this.#socket.send(JSON.stringify({ ask: this.#waiting }));
    this.#waiting = null;
  }

  #open() {
    const query = new URLSearchParams({ base: String(this.withBase), ...(this.step && { step: this.step }) });
    const socket = (this.#socket = new WebSocket(`ws://${location.host}/api/chat/${this.name}?${query}`));
    socket.onmessage = (message) => {
      if (socket !== this.#socket) return;
      const said = JSON.parse(message.data);
      if (said.ready) {
        this.#ready = true;
        if (this.#waiting != null) this.#send();
      }
      if (said.idle || said.gone) this.busy = false;
      this.news(this, said);
    };
    socket.onclose = () => {
      if (socket !== this.#socket) return;
      const was = this.busy;
      this.close();
      if (was) this.news(this, { gone: "The conversation was cut off. Ask again to begin a new one." });
    };
  }
}

export class Talk {
  #voices = [];
  #turns = [];
  #parts;

  constructor(parts) {
    this.#parts = parts;
    parts.form.addEventListener("submit", (event) => {
      event.preventDefault();
      this.#busy() ? this.#stop() : this.#ask();
    });
    parts.question.addEventListener("keydown", (event) => {
      if (event.key === "Enter" && !event.shiftKey && !event.isComposing) {
        event.preventDefault();
        if (!this.#busy()) this.#ask();
      }
    });
    addEventListener("pagehide", () => this.#voices.forEach((voice) => voice.close()));
  }

  /** Talk with these runs; a talk with the same ones goes on. */
  with(names) {
    const talking = names.slice(0, MOST);
    if (talking.join() === this.#voices.map((voice) => voice.name).join()) return;
    this.#voices.forEach((voice) => voice.close());
    const first = talking.find((name) => !name.includes("@")); // a version has no base beside it
    this.#voices = talking.map((name) => new Voice(name, name === first, (from, news) => this.#heard(from, news)));
    this.#begin();
    this.#drawTools();
  }

  #busy() {
    return this.#voices.some((voice) => voice.busy);
  }

  #begin() {
    this.#turns = [];
    this.#parts.box.replaceChildren();
    this.#drawState();
  }

  async #drawTools() {
    const fresh = quiet("New conversation", () => {
      this.#voices.forEach((voice) => voice.forget());
      this.#begin();
    });
    const choices = await Promise.all(this.#voices.map((voice) => this.#checkpoints(voice)));
    this.#parts.tools.replaceChildren(...choices.filter(Boolean), fresh);
  }

  /** A choice of checkpoints for a run that has several. */
  async #checkpoints(voice) {
    if (voice.name.includes("@")) return null;
    const status = await api(`runs/${voice.name}`).catch(() => null);
    const good = status?.checkpoints.filter((point) => point.ok) ?? [];
    if (good.length < 2) return null;
    const choice = h(
      "select",
      { "aria-label": `Checkpoint of ${voice.name}` },
      h("option", { value: "" }, `${voice.name}: result`),
      good.map((point) => h("option", { value: String(point.step) }, `${voice.name}: step ${whole(point.step)}`)),
    );
    choice.addEventListener("change", () => {
      voice.close();
      voice.step = choice.value;
      this.#voices.forEach((other) => other.forget()); // a new conversation for all of them
      this.#begin();
    });
    return choice;
  }

  #ask() {
    const text = this.#parts.question.value.trim();
    if (!text || this.#busy()) return;
    this.#parts.question.value = "";
    const columns = new Map();
    const boxes = this.#voices.flatMap((voice) =>
      voice.titles.map((title, who) => {
        const state = h("small", { className: "muted" }, "…");
        const column = said(title === "Base" ? "base" : "tuned", title, "", state);
        columns.set(`${this.#voices.indexOf(voice)} ${who}`, { words: column.querySelector("p"), state, over: false });
        return column;
      }),
    );
    const turn = pair(text, boxes);
    this.#turns.push(columns);
    this.#parts.box.append(turn);
    turn.scrollIntoView({ block: "nearest" });
    this.#voices.forEach((voice) => voice.ask(text));
    this.#drawState();
  }

  #stop() {
    this.#voices.forEach((voice) => voice.stop());
  }

  #heard(voice, news) {
    const columns = this.#turns.at(-1),
      place = this.#voices.indexOf(voice);
    const own = [...(columns ?? [])].filter(([key]) => key.startsWith(`${place} `)).map(([, column]) => column);
    if (news.ready)
      own.forEach((column) => {
        column.state.textContent = "thinking";
      });
    const column = own[news.who];
    if (column && news.piece) {
      column.words.append(news.piece);
      column.state.textContent = "";
    }
    if (column && (news.done || news.error)) column.over = true;
    if (column && news.done)
      column.state.textContent = `${whole(news.tokens)} tokens, ${(news.tokens / Math.max(news.seconds, 0.01)).toFixed(1)} a second${news.broken ? ", broken off" : ""}`;
    if (column && news.error) column.state.replaceWith(h("p", { className: "fault" }, news.error));
    if (news.gone)
      own
        .filter((each) => !each.over)
        .forEach((each) => {
          each.over = true;
          each.state.replaceWith(h("p", { className: "fault", role: "alert" }, news.gone));
        });
    this.#drawState();
  }

  #drawState() {
    const busy = this.#busy();
    this.#parts.send.textContent = busy ? "Stop" : "Ask";
    this.#parts.box.setAttribute("aria-busy", String(busy));
    const first = !this.#turns.length;
    this.#parts.note.hidden = !first;
  }
}
