// The run view: one run, live. The status comes whole from the feed; the curves grow by its events.
import {
  $,
  ApiError,
  api,
  bytes,
  confirmed,
  feed,
  figure,
  fill,
  h,
  onNews,
  seconds,
  toast,
  trying,
  whenSeen,
  whole,
} from "/static/js/core.js";
import { Answers } from "/static/js/answers.js";
import { Curves } from "/static/js/curves.js";

const name = $("run").dataset.name;
const curves = new Curves(name, () => feed.follow({ runs: curves.follows }));
const answers = new Answers(name, $("answers"), $("answer-tools"));
let status = null;

// --- what the status says

const stat = (label, value, small = "") =>
  h("div", { className: "stat" }, h("span", {}, label), h("b", {}, value), small && h("small", {}, small));

function drawStats() {
  const { last, optimizer_step: step, optimizer_steps: steps } = status;
  const ended = status.state === "finished";
  const first = stat(
    "Optimizer step",
    whole(step),
    steps ? `of ${whole(steps)}, epoch ${status.epoch.toFixed(1)}` : "",
  );
  if (steps) first.append(h("progress", { max: steps, value: step, "aria-label": "Optimizer steps done" }));
  fill(
    $("stats"),
    first,
    stat("Training loss", figure(last.training_loss)),
    stat("Validation loss", figure(status.result_loss), ended ? "of the result" : ""),
    stat("Tokens / s", figure(last.throughput)),
    stat("Memory", bytes(last.memory)),
    status.state === "running" ? stat("Time left", seconds(status.eta_seconds)) : stat("Took", seconds(status.spent || null)),
  );
}

const MARKS = { done: "✓", failed: "✕", skipped: "–", waiting: "", running: "" };

function drawSteps() {
  fill(
    $("steps"),
    ...status.steps.map((step, place) => {
      const facts = Object.entries(step.evidence ?? {})
        .filter(([, value]) => value != null && typeof value !== "object")
        .slice(0, 4)
        .map(([key, value]) => `${key.replaceAll("_", " ")} ${typeof value === "number" ? figure(value) : value}`)
        .join(" · ");
      return h(
        "li",
        { className: step.state, title: step.does },
        h("span", { className: "mark", "aria-hidden": "true" }, MARKS[step.state] || String(place + 1)),
        h("span", { className: "name" }, step.title, h("span", { className: "hidden" }, ` (${step.state})`)),
        h("span", { className: "time" }, step.seconds == null ? "" : seconds(step.seconds)),
        (step.reason || facts) && h("span", { className: "evidence" }, step.reason || facts),
      );
    }),
  );
}

const ALWAYS = ["data", "forward", "loss", "backward", "optimizer", "validation", "checkpoint"];
const PARTS = [...ALWAYS, "communication"]; // the last only where workers share a run

function drawParts() {
  const total = PARTS.reduce((sum, part) => sum + (status.parts[part] ?? 0), 0);
  if (!total) return void fill($("parts"), h("p", { className: "muted" }, "Measured once training runs."));
  const share = (part) => (status.parts[part] ?? 0) / total;
  const bar = h(
    "div",
    { className: "bar", "aria-hidden": "true" },
    PARTS.map((part, place) => share(part) > 0 && h("i", { className: `part-${place}` })),
  );
  [...bar.children].forEach((piece, place) => {
    piece.style.flexGrow = PARTS.filter((part) => share(part) > 0).map(share)[place];
  });
  fill(
    $("parts"),
    bar,
    h(
      "ul",
      { className: "part-list" },
      PARTS.filter((part) => ALWAYS.includes(part) || share(part)).map((part, place) =>
        h(
          "li",
          {},
          h("i", { className: `part-${place}` }),
          part[0].toUpperCase() + part.slice(1),
          h("b", {}, `${(share(part) * 100).toFixed(share(part) < 0.0995 ? 1 : 0)} %`),
          h("span", { className: "seconds" }, seconds(status.parts[part] ?? 0)),
        ),
      ),
    ),
  );
}

function drawStopping() {
  const rules = status.stopping.map((rule) => {
    const bar = h("progress", {
      max: rule.of || 1,
      value: Math.min(rule.count, rule.of || 1),
      "aria-label": rule.rule,
    });
    if (rule.count >= 0.66 * rule.of) bar.className = "near";
    return h("div", { className: "rule" }, h("p", {}, rule.rule), bar, h("p", { className: "muted small" }, rule.text));
  });
  const words = status.optimizer_step
    ? "No rule ends this run early; a loss that is not a number always does."
    : "Rules are looked at after each evaluation.";
  fill($("stopping"), ...(rules.length ? rules : [h("p", { className: "muted" }, words)]));
}

function drawCheckpoints() {
  const rows = [...status.checkpoints]
    .reverse()
    .map((point) =>
      h(
        "li",
        {},
        h("b", {}, `Step ${whole(point.step)}`),
        point.best && h("span", { className: "tag best" }, "best"),
        h("span", { className: point.ok ? "tag" : "tag bad" }, point.ok ? "whole" : "damaged"),
      ),
    );
  fill(
    $("checkpoints"),
    rows.length
      ? h("ul", { className: "checks" }, rows)
      : h("p", { className: "muted" }, "Saved at each evaluation and on the way."),
  );
}

function drawNotice() {
  const { state, reason } = status;
  const kind = { failed: "bad", killed: "bad", stopped: "warn" }[state];
  const boxes = kind && reason ? [h("div", { className: `notice ${kind}`, role: "alert" }, reason)] : [];
  if (state === "finished")
    boxes.push(
      h(
        "div",
        { className: "notice good" },
        reason || "The run is finished.",
        " ",
        h("a", { href: `/runs/${name}/report` }, "Read the report"),
      ),
    );
  for (const text of [...new Set(status.warnings)].slice(-3)) boxes.push(h("div", { className: "notice warn" }, text));
  fill($("notice"), ...boxes);
}

function drawActions() {
  const button = (label, kind, act) =>
    h("button", { type: "button", className: kind, onclick: (event) => trying(act, event.target) }, label);
  const { state } = status;
  const made = [];
  if (state === "running") {
    made.push(button("Stop and save", "plain", () => end(false)));
    made.push(
      button(
        "Stop, discard",
        "plain danger",
        async () =>
          (await confirmed(
            "Stop without saving?",
            "The steps since the last checkpoint are lost. Checkpoints already there stay.",
            "Stop, discard",
          )) && end(true),
      ),
    );
  } else if (state !== "finished") {
    made.push(
      button(status.started ? "Resume" : "Start", "primary", async () => {
        await api(`runs/${name}/resume`, { method: "POST" });
        toast("It begins in a moment.");
      }),
    );
  }
  const evaluated = status.last.validation_loss != null;
  if (evaluated)
    made.push(
      h("a", { className: "button", href: `/runs/${name}/review` }, "Review"),
      h("a", { className: "button", href: `/compare?with=${name}` }, "Ask it"),
    );
  if (state === "finished") made.push(h("a", { className: "button primary", href: `/runs/${name}/report` }, "Report"));
  const key = `${state} ${status.started} ${evaluated}`;
  if ($("actions").dataset.key !== key) {
    $("actions").dataset.key = key;
    $("actions").replaceChildren(...made);
  }
}

async function end(discard) {
  const { asked } = await api(`runs/${name}/stop`, { method: "POST", body: { discard } });
  toast(asked ? "It ends after the optimizer step under way." : "No process is working on this run.");
}

function drawStatus(next) {
  status = next;
  $("state").className = `pill ${status.state}`;
  $("state").textContent = status.state;
  document.title = `${status.state === "running" && status.optimizer_steps ? `${Math.round((100 * status.optimizer_step) / status.optimizer_steps)} % · ` : ""}${name} · Tunebook`;
  drawBoxes();
}

const drawBoxes = whenSeen(() => {
  for (const draw of [drawStats, drawSteps, drawParts, drawStopping, drawCheckpoints, drawNotice, drawActions]) draw();
});

for (const [box, text, path, none] of [
  ["log-box", "log-text", "log", "Nothing was written."],
  ["plan-box", "plan-text", "plan", "There is no plan file."],
])
  $(box).addEventListener("toggle", () => $(box).open && trying(() => drawText(text, path, none)));

async function drawText(id, path, none) {
  const { text } = await api(`runs/${name}/${path}`);
  const box = $(id);
  const selection = getSelection();
  if (box.textContent === (text || none) || (!selection.isCollapsed && box.contains(selection.anchorNode))) return;
  const followed = box.scrollTop + box.clientHeight >= box.scrollHeight - 8;
  box.textContent = text || none;
  if (path === "log" && followed) box.scrollTop = box.scrollHeight;
}

onNews((news) => {
  if (!news.run) return;
  if (news.run !== name) return void curves.take(news.run, news.events ?? []);
  if (news.gone) {
    $("notice").replaceChildren(
      h(
        "div",
        { className: "notice warn" },
        "This run was removed or begun anew. Load the page again to see what is there.",
      ),
    );
    return;
  }
  for (const event of news.events) {
    if (event.kind === "samples") answers.add(event.step);
  }
  curves.take(name, news.events);
  if (news.status) {
    drawStatus(news.status);
    if ($("log-box").open) drawText("log-text", "log", "").catch(() => {});
  }
});

async function begin() {
  drawStatus(await api(`runs/${name}`));
  await curves.load();
  answers.steps((await api(`runs/${name}`)).samples); // after the curves: the feed goes on from their last event
  feed.follow({ runs: curves.follows });
}

begin().catch((error) => {
  if (!(error instanceof ApiError)) throw error;
  toast(error.message);
});
