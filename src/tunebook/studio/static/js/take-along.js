// What a run's result can become: files that others load, a test over HTTP, a named version. The command line does it.
import { api, fill, h, plural, tell, trying, whole } from "/static/js/core.js";
import { card } from "/static/js/parts.js";

const FORMATS = {
  safetensors: ["Merged weights", "for Transformers, vLLM and others"],
  adapter: ["Adapter", "what was trained, for PEFT"],
  gguf: ["GGUF", "F16 and Q8_0, for llama.cpp and Ollama"],
};
const DOING = {
  export: "Exporting",
  "deploy-test": "Testing over HTTP",
  promote: "Promoting",
  other: "Something else works on this run",
};
const LOOK = 700; // milliseconds between looks while something is being done
const AWAY = 4000; // after a look that the studio did not answer

export class TakeAlong {
  #name;
  #report;
  #busy = false;
  #timer = 0;
  #words = h("small", {}); // under "Promote"
  #go = h("button", { type: "submit", className: "plain" }, "Promote");
  #form = this.#promotion();
  #line = this.#promote(); // built once: what is typed there stays
  #body = h("div", {}, this.#line);
  #state = h("div");
  #said = h("p", { className: "hidden", role: "status" }); // how it goes, without every line of it

  constructor(name, report) {
    this.#name = name;
    this.#report = report;
    const note = "each export is loaded again in a fresh process and compared";
    this.box = card("Take it along", note, this.#body, this.#state, this.#said);
    this.box.classList.add("take");
    this.#look();
  }

  /** See what there is, and again until nothing is being done. */
  async #look() {
    clearTimeout(this.#timer);
    const found = await api(`runs/${this.#name}/work`).catch(() => null);
    if (!found) return void this.#again(AWAY);
    const was = this.#busy;
    this.#busy = found.work?.state === "running";
    if (this.#line.hidden || was !== this.#busy) this.#draw(found);
    if (was && found.work?.what === "promote" && found.work.state === "done") this.#form.reset();
    this.#tell(found.work);
    if (this.#busy) this.#again(LOOK);
  }

  #again(wait) {
    clearTimeout(this.#timer);
    this.#timer = setTimeout(() => this.#look(), wait);
  }

  async #begin(body, button) {
    const begun = await trying(() => api(`runs/${this.#name}/work`, { method: "POST", body }), button);
    if (begun) this.#look();
  }

  #draw({ export: exported, deployment }) {
    const made = exported?.formats ?? {};
    const formats = Object.keys(FORMATS).filter(
      (kind) => kind !== "adapter" || this.#report.settings.method === "lora",
    );
    const list = formats.map((kind) => this.#format(kind, made[kind]));
    while (this.#line.previousSibling) this.#line.previousSibling.remove();
    this.#line.before(h("ul", { className: "formats" }, list), this.#test(Object.keys(made).length > 0, deployment));
    this.#allow(Boolean(made.safetensors));
  }

  /** Promotion, once there is something that a plan can start from and nothing else is being done. */
  #allow(can) {
    this.#line.hidden = false;
    this.#form.hidden = !can;
    this.#go.disabled = this.#busy || !can;
    this.#words.textContent = can
      ? "Give it a name that a new plan can start from."
      : "Needs the merged weights: export them first.";
    const place = can ? this.#form : this.#line;
    if (this.#go.parentNode !== place) place.append(this.#go);
  }

  #format(kind, entry) {
    const [title, use] = FORMATS[kind];
    const parity = entry?.parity ?? {};
    const files = Object.entries(parity.files ?? {}); // beside the exact one: rounded, and told how near they are
    const facts =
      entry &&
      [
        `${(entry.bytes / 1e6).toFixed(1)} MB`,
        loaded(parity.file, parity, "the same model when loaded again"),
        ...files.map(([name, one]) => loaded(name, one, "rounded")),
      ].join("; ");
    return h(
      "li",
      {},
      mark(entry ? parity.ok && files.every(([, one]) => one.ok) : null),
      h(
        "div",
        {},
        h("b", {}, title),
        h("small", {}, use),
        entry &&
          h("small", { className: "facts" }, facts, h("br"), h("code", {}, `${this.#report.folder}/${entry.folder}`)),
      ),
      this.#button(entry ? "Export again" : "Export", { what: "export", format: kind }),
    );
  }

  #test(can, deployment) {
    const passed = deployment?.verdict === "passed" || deployment?.verdict === "loaded";
    const told = deployment
      ? (deployment.sentence ??
        `${deployment.verdict}: ${whole(deployment.equal)} of ${plural(deployment.total, "answer")} as the tuned model gave`)
      : "A server is started on the exported files, asked as a client would, compared, measured and stopped.";
    return h(
      "div",
      { className: "line" },
      mark(deployment ? passed : null),
      h("div", {}, h("b", {}, "Deployment test"), h("small", {}, told)),
      this.#button(deployment ? "Test again" : "Test it", { what: "deploy-test" }, !can),
    );
  }

  #promotion() {
    const version = h("input", {
      type: "text",
      placeholder: "Name of the version",
      "aria-label": "Name of the version",
      maxlength: 64,
      autocomplete: "off",
      spellcheck: false,
    });
    const reason = h("input", {
      type: "text",
      placeholder: "Why (needed when a sign says no)",
      "aria-label": "Why",
      maxlength: 2000,
      dir: "auto",
    });
    const form = h("form", { className: "promote" }, version, reason);
    form.addEventListener("submit", (event) => {
      event.preventDefault();
      this.#begin({ what: "promote", version: version.value.trim(), reason: reason.value.trim() }, this.#go);
    });
    return form;
  }

  #promote() {
    return h(
      "div",
      { className: "line", hidden: true },
      mark(null),
      h("div", {}, h("b", {}, "Promote"), this.#words, this.#form),
    );
  }

  #button(label, body, off = false) {
    return h(
      "button",
      {
        type: "button",
        className: "plain",
        disabled: this.#busy || off,
        onclick: (event) => this.#begin(body, event.target),
      },
      label,
    );
  }

  #tell(work) {
    if (!work) return;
    const said = work.said.length > 0 && h("pre", {}, work.said.join("\n"));
    const title = { running: `${DOING[work.what]} …`, done: "Done.", failed: "That could not be done." }[work.state];
    const kind = { running: "", done: "good", failed: "bad" }[work.state];
    tell(this.#said, work.state === "running" ? title : [title, work.said.at(-1)].filter(Boolean).join(" "));
    fill(
      this.#state,
      h(
        "div",
        { className: `notice work ${kind}` },
        work.state === "running" && h("i", { className: "spin", "aria-hidden": "true" }),
        h("b", {}, title),
        said,
      ),
    );
  }
}

/** What was found of a file, or of a whole folder, that was loaded again. */
function loaded(file, { ok, answers, answers_equal: equal }, good) {
  const words = ok ? good : "not the same model when loaded again";
  return `${file ? `${file}: ` : ""}${words}${answers ? `, ${whole(equal)} of ${plural(answers, "answer")} equal` : ""}`;
}

const mark = (ok) =>
  h(
    "span",
    { className: `dot ${ok == null ? "" : ok ? "good" : "bad"}`, "aria-hidden": "true" },
    ok == null ? "" : ok ? "✓" : "✕",
  );
