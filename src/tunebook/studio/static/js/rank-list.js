// <rank-list>: rows put in order by mouse, touch or keyboard. Tells of a new order with a `rank` event.
class RankList extends HTMLElement {
  #list;
  #held = null;
  #from = 0;
  #before = [];
  #order = [];

  connectedCallback() {
    this.#list = this.querySelector("ol");
    this.addEventListener("pointerdown", (event) => this.#grab(event));
    this.addEventListener("keydown", (event) => this.#key(event));
    this.addEventListener("focusout", (event) => {
      if (this.#held && event.target.closest("li") === this.#held && !this.hasPointerCapture?.(1)) this.#maybeDrop();
    });
  }

  get rows() {
    return [...this.#list.children];
  }
  get value() {
    return this.rows.map((row) => row.dataset.text);
  }

  /** Put the rows in this order, unless somebody is moving one. */
  set value(texts) {
    const now = this.value;
    if (this.#held || (texts.length === now.length && texts.every((text, place) => text === now[place]))) return;
    const rows = new Map(this.rows.map((row) => [row.dataset.text, row])),
      focused = this.contains(document.activeElement) ? document.activeElement : null;
    this.#list.append(...texts.map((text) => rows.get(text)).filter(Boolean));
    focused?.focus({ preventScroll: true }); // a row that moves loses it
  }

  // --- pointer: the list holds the pointer, since a row that moves in the document would lose it

  #grab(event) {
    const row = event.target.closest("li");
    if (!row || event.button || (event.pointerType === "touch" && !event.target.closest(".grip"))) return;
    event.preventDefault();
    if (this.#held) this.#drop();
    row.querySelector(".grip").focus({ preventScroll: true });
    this.#lift(row);
    const start = event.clientY + scrollY - row.offsetTop;
    this.setPointerCapture(event.pointerId);
    const move = (at) => {
      if (at.clientY < 90) scrollBy(0, -14);
      else if (at.clientY > innerHeight - 50) scrollBy(0, 14);
      const top = at.clientY + scrollY - start,
        middle = top + row.offsetHeight / 2;
      const after = this.rows.find((other) => other !== row && middle < other.offsetTop + other.offsetHeight / 2);
      if ((after ?? null) !== row.nextElementSibling) this.#place(row, after);
      row.style.transform = `translateY(${at.clientY + scrollY - start - row.offsetTop}px)`;
    };
    const end = (at) => {
      for (const [name, listener] of [
        ["pointermove", move],
        ["pointerup", end],
        ["pointercancel", end],
      ])
        this.removeEventListener(name, listener);
      row.style.transform = "";
      at.type === "pointerup" ? this.#drop() : this.#cancel();
    };
    for (const [name, listener] of [
      ["pointermove", move],
      ["pointerup", end],
      ["pointercancel", end],
    ])
      this.addEventListener(name, listener);
  }

  // --- keyboard

  #key(event) {
    const row = event.target.closest("li");
    if (!row || !event.target.classList.contains("grip")) return;
    const way = { ArrowUp: -1, ArrowDown: 1 }[event.key];
    if (event.key === " " || event.key === "Enter") {
      event.preventDefault();
      this.#held ? this.#drop() : this.#lift(row);
    } else if (event.key === "Escape" && this.#held) {
      event.preventDefault();
      this.#cancel();
    } else if (way) {
      event.preventDefault();
      const next = way < 0 ? row.previousElementSibling : row.nextElementSibling;
      if (!next) return;
      if (!this.#held) return void next.querySelector(".grip").focus();
      this.#place(row, way < 0 ? next : next.nextElementSibling);
      this.#grip(row).focus();
      this.#say(`Place ${this.rows.indexOf(row) + 1} of ${this.rows.length}`);
    }
  }

  // --- what both do

  #grip(row) {
    return row.querySelector(".grip");
  }

  #lift(row) {
    this.#held = row;
    this.#order = this.rows;
    row.classList.add("lifted");
    this.#grip(row).setAttribute("aria-pressed", "true");
    this.#say(`Lifted, place ${this.rows.indexOf(row) + 1} of ${this.rows.length}`);
  }

  #place(row, before) {
    const tops = new Map(this.rows.map((other) => [other, other.offsetTop]));
    const wasFocused = row.contains(document.activeElement),
      held = this.#held;
    this.#held = null; // moving a row takes its focus: that is no drop
    this.#list.insertBefore(row, before ?? null);
    this.#held = held;
    if (wasFocused) this.#grip(row).focus({ preventScroll: true });
    if (matchMedia("(prefers-reduced-motion: reduce)").matches) return;
    for (const other of this.rows) {
      const moved = tops.get(other) - other.offsetTop;
      if (moved && other !== row)
        other.animate([{ transform: `translateY(${moved}px)` }, { transform: "none" }], {
          duration: 140,
          easing: "ease-out",
        });
    }
  }

  #settle() {
    const row = this.#held;
    this.#held = null;
    row.classList.remove("lifted");
    this.#grip(row).setAttribute("aria-pressed", "false");
    return row;
  }

  #maybeDrop() {
    queueMicrotask(() => {
      if (this.#held && !this.#held.contains(document.activeElement)) this.#drop();
    });
  }

  #drop() {
    const before = this.#order,
      row = this.#settle();
    this.#say(`Dropped at place ${this.rows.indexOf(row) + 1}`);
    if (before.some((other, place) => other !== this.rows[place]))
      this.dispatchEvent(new CustomEvent("rank", { bubbles: true }));
  }

  #cancel() {
    const order = this.#order,
      row = this.#settle();
    this.#list.append(...order);
    this.#grip(row).focus();
    this.#say("Put back");
  }

  #say(text) {
    const said = this.parentElement.querySelector(".rank-say");
    if (said) said.textContent = text;
  }
}

customElements.define("rank-list", RankList);
