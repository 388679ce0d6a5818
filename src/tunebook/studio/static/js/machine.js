// The machine on the home view: memory and disk as they are now, and what they mean for a run when asked.
import { $, api, bytes, h, plural } from "/static/js/core.js";

const NEXT = 15_000;

function meter(label, free, total) {
  const used = total - free;
  return h(
    "div",
    {},
    h("span", {}, label),
    h("b", {}, `${bytes(free)} free of ${bytes(total)}`),
    h("meter", {
      min: 0,
      max: total,
      low: total * 0.75,
      high: total * 0.92,
      optimum: 0,
      value: used,
      "aria-label": `${label} in use`,
    }),
  );
}

async function look() {
  if (document.hidden) return;
  const now = await api("machine");
  $("cores").textContent = plural(now.cores, "core");
  $("machine").replaceChildren(
    meter("Memory", now.memory_free_bytes, now.memory_bytes),
    meter("Disk", now.disk_free_bytes, now.disk_bytes),
  );
}

$("doctor-box").addEventListener("toggle", async () => {
  if (!$("doctor-box").open || $("doctor").dataset.known) return;
  try {
    const found = await api("machine/doctor");
    $("doctor").dataset.known = "yes";
    $("doctor").replaceChildren(
      ...found.means.map((text) => h("p", {}, text)),
      h(
        "p",
        {},
        `${found.device_name} · ${found.precisions.join(", ")} · torch ${found.versions.torch} · Python ${found.python}`,
      ),
    );
  } catch (error) {
    $("doctor").replaceChildren(error.message);
  }
});
look().catch(() => {});
setInterval(() => look().catch(() => {}), NEXT);
