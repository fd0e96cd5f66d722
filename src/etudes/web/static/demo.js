"use strict";

// A demo's page is Gradio's. It is given the site's masthead here, and the colours that were chosen on the site.
const root = document.documentElement;
const system = matchMedia("(prefers-color-scheme: dark)");
const isDark = () => root.dataset.theme ? root.dataset.theme === "dark" : system.matches;

const begin = () => {
  // In a tree of its own, so that the site's style changes nothing of Gradio's.
  const host = document.createElement("div");
  host.id = "masthead";
  host.attachShadow({ mode: "open" }).innerHTML = document.getElementById("site").textContent;
  const first = document.createElement("nav");
  first.ariaLabel = "Skip";
  first.append(host.shadowRoot.querySelector(".skip"));
  document.body.prepend(first, host);
  const toggle = host.shadowRoot.querySelector(".theme");
  toggle.hidden = false;
  toggle.addEventListener("click", () => {
    root.dataset.theme = isDark() ? "light" : "dark";
    try { localStorage.setItem("theme", root.dataset.theme); } catch { /* then for this page alone */ }
  });
  const settle = () => {
    toggle.setAttribute("aria-pressed", String(isDark()));
    if (document.body.classList.contains("dark") !== isDark()) document.body.classList.toggle("dark");
    const main = document.querySelector("main:not([id])");
    if (main) Object.assign(main, { id: "content", tabIndex: -1 });
    for (const part of document.querySelectorAll("div[aria-label]:not([role])")) part.role = "group"; // or it has no name
  };
  // Gradio draws the page late, and sets its own class by the system's colours whenever these change.
  const watched = new MutationObserver(settle);
  watched.observe(document.body, { attributeFilter: ["class"], childList: true, subtree: true });
  watched.observe(root, { attributeFilter: ["data-theme"] });
  settle();
};
if (document.readyState === "loading") document.addEventListener("DOMContentLoaded", begin);
else begin();

// A server that was started anew knows nothing of this page: it is opened anew too.
let begun = null;
const look = async () => {
  try {
    const answer = await fetch("gradio_api/app_id", { cache: "no-store" });
    const now = answer.ok ? (await answer.json()).app_id : "none";
    begun ??= now;
    if (now !== begun) { location.reload(); return; }
  } catch { /* nobody answers; the next look may find a new one */ }
  setTimeout(look, 3000);
};
look();
