// A notification of the browser's when a run ends, from any open view of the studio, once asked for on the home view.
import { $, feed, figure, goneBy, onNews, recall, remember, toast } from "/static/js/core.js";

const states = new Map();
const allowed = () => globalThis.Notification?.permission === "granted";
const on = () => allowed() && recall("notify") === "on";

function tell(run) {
  const loss = run.result_loss;
  const body = run.reason || (loss == null ? "" : `Validation loss ${figure(loss)}.`);
  const note = new Notification(`${run.name} is ${run.state}`, {
    body,
    tag: `tunebook-${run.name}`,
    icon: "/static/icon.svg",
  });
  note.onclick = () => {
    note.close();
    focus();
    location.href = `/runs/${run.name}`;
  };
}

onNews((news) => {
  if (!news.list) return;
  for (const name of goneBy(news, states)) states.delete(name);
  for (const run of news.list) {
    const ended = states.get(run.name) === "running" && run.state !== "running";
    states.set(run.name, run.state);
    if (ended && on() && !document.hasFocus()) tell(run);
  }
});
if (on()) feed.follow({ list: true });

// --- the button on the home view

function draw() {
  $("notify").setAttribute("aria-pressed", String(on()));
  $("notify").textContent = on() ? "Notifications are on" : "Notify me when a run ends";
}

async function turn() {
  const next = !on();
  if (next && !allowed() && (await Notification.requestPermission()) !== "granted") {
    toast("The browser does not allow notifications from this page. Its settings for this address change that.");
    return;
  }
  if (!remember("notify", next ? "on" : "off")) toast("This window keeps no settings, so notifications stay off.");
  draw();
}

if ($("notify") && "Notification" in globalThis) {
  $("notify").hidden = false;
  $("notify").addEventListener("click", turn);
  draw();
}
