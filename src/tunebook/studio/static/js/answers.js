// Answers of base and tuned side by side, at any evaluation. What a model wrote is text and nothing else.
import { api, h, trying, whole } from "/static/js/core.js";
import { pair, said, showMore } from "/static/js/parts.js";

const SHOWN = 6;

export class Answers {
  #steps = [];
  #chosen = null;
  #kept = new Map();
  #shown = SHOWN;
  #asked = 0;
  #choice = h("select", {
    "aria-label": "Evaluation",
    onchange: () => {
      this.#chosen = Number(this.#choice.value);
      this.#fill();
    },
  });

  constructor(run, box, tools) {
    this.run = run;
    this.box = box;
    this.tools = tools;
  }

  /** The step whose answers are shown: the chosen one, else the last. */
  get #step() {
    return this.#chosen ?? this.#steps.at(-1);
  }

  steps(all) {
    this.#steps = all.filter((step) => step > 0);
    this.#draw();
  }

  /** There are new answers at `step`. What is shown stays as it is unless they belong to it. */
  add(step) {
    const before = this.#step;
    this.#kept.delete(step);
    if (step > 0 && !this.#steps.includes(step)) this.#steps.push(step);
    this.#draw(this.#step !== before || step === before || step === 0);
  }

  async #at(step) {
    if (!this.#kept.has(step)) this.#kept.set(step, (await api(`runs/${this.run}/samples/${step}`)).answers);
    return this.#kept.get(step);
  }

  #draw(anew = true) {
    if (!this.#steps.length) {
      this.box.replaceChildren(
        h(
          "p",
          { className: "muted" },
          "At each evaluation the held-out prompts are answered by the base and by the model as it is then.",
        ),
      );
      return;
    }
    const offered = new Set([...this.#choice.options].map((option) => Number(option.value)));
    for (const at of this.#steps)
      if (!offered.has(at)) this.#choice.append(h("option", { value: String(at) }, `After step ${whole(at)}`));
    this.#choice.value = String(this.#step);
    if (!this.tools.contains(this.#choice)) this.tools.replaceChildren(this.#choice);
    if (anew) this.#fill();
  }

  #fill() {
    return trying(async () => {
      const mine = ++this.#asked;
      const [base, tuned] = await Promise.all([this.#at(0).catch(() => []), this.#at(this.#step)]);
      if (mine === this.#asked) this.#show(base, tuned);
    });
  }

  #show(base, tuned) {
    const before = new Map(base.map((answer) => [answer.id, answer]));
    const pairs = tuned.slice(0, this.#shown).map((answer) => both(before.get(answer.id), answer));
    const more = showMore(tuned.length - this.#shown, () => {
      this.#shown += 20;
      this.#fill();
    });
    this.box.replaceChildren(...pairs, ...more);
  }
}

/** The last thing that was asked, out of the rendered prompt's markers. */
function asked(prompt) {
  const bare = prompt
    .replace(/<\|[^|]*\|>/g, "\n")
    .split("\n")
    .map((line) => line.trim())
    .filter((line) => line && !/^(system|user|assistant)$/.test(line));
  return bare.join("\n") || prompt;
}

const both = (base, tuned) =>
  pair(asked(tuned.prompt), [column("base", "Base", base), column("tuned", "Tuned", tuned)], tuned.reference);

function column(kind, title, answer) {
  const cut = answer && !answer.ended ? " · cut at the limit" : "";
  return said(kind, title + cut, answer ? answer.answer || "(nothing)" : "not asked");
}
