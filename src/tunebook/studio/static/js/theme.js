// Before anything is painted: light or dark, as chosen here or by the system.
(() => {
  const system = matchMedia("(prefers-color-scheme: dark)");
  const saved = () => { try { return localStorage.getItem("theme"); } catch { return null; } };
  const apply = () => { document.documentElement.dataset.theme = saved() ?? (system.matches ? "dark" : "light"); };
  const tell = () => dispatchEvent(new Event("theme"));
  apply();
  system.addEventListener("change", () => { apply(); tell(); });
  addEventListener("storage", () => { apply(); tell(); });
  addEventListener("DOMContentLoaded", () => document.getElementById("theme").addEventListener("click", () => {
    const next = document.documentElement.dataset.theme === "dark" ? "light" : "dark";
    try { localStorage.setItem("theme", next); } catch { /* private window: for this page alone */ }
    document.documentElement.dataset.theme = next;
    tell();
  }));
})();
