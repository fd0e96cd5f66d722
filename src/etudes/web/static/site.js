"use strict";

// light or dark
const page = document.documentElement;
const toggle = document.querySelector(".theme");
const dark = () => page.dataset.theme ? page.dataset.theme === "dark" : matchMedia("(prefers-color-scheme: dark)").matches;
if (toggle) {
  toggle.hidden = false;
  toggle.setAttribute("aria-pressed", String(dark()));
  toggle.addEventListener("click", () => {
    page.dataset.theme = dark() ? "light" : "dark";
    toggle.setAttribute("aria-pressed", String(dark()));
    try { localStorage.setItem("theme", page.dataset.theme); } catch { /* then for this page alone */ }
  });
}

// the gallery and the table of datasets, filtered as one types
const filters = document.querySelector("[data-filters]");
if (filters) {
  const gallery = document.querySelector(".gallery");
  const cards = [...gallery.children].sort((a, b) => a.dataset.place - b.dataset.place);
  // as etudes/web/search.py does
  const words = (text) => (text.toLowerCase().normalize("NFD").replace(/\p{M}/gu, "").match(/[\p{L}\p{N}]+(?:-[\p{L}\p{N}]+)*/gu) ?? [])
    .map((word) => word.replaceAll("-", ""));
  const find = (asked) => {  // a map from the places of the studies found to their scores
    let scores = new Map(cards.map((_, place) => [place, 0]));
    for (const wanted of words(asked)) {
      const worth = new Map();
      for (const [word, [main, more]] of Object.entries(INDEX))
        if (word.startsWith(wanted)) {
          for (const place of more) if (!worth.has(place)) worth.set(place, 1);
          for (const place of main) worth.set(place, 2);
        }
      scores = new Map([...scores].filter(([place]) => worth.has(place)).map(([place, score]) => [place, score + worth.get(place)]));
    }
    return scores;
  };
  const show = () => {
    const asked = Object.fromEntries(new FormData(filters));
    const scores = find(asked.q);
    let found = 0;
    for (const card of cards) {
      const kept = scores.has(Number(card.dataset.place))
        && (!asked.family || card.dataset.family === asked.family)
        && (!asked.origin || card.dataset.origin === asked.origin)
        && (!asked.verdict || card.dataset.verdicts.split("|").includes(asked.verdict));
      card.hidden = !kept;
      found += kept;
    }
    const score = (card) => scores.get(Number(card.dataset.place)) ?? 0;
    gallery.append(...[...cards].sort((a, b) => score(b) - score(a)));
    document.querySelector("[data-found]").textContent = found;
    document.querySelector("[data-nothing]").hidden = found > 0;
    const query = new URLSearchParams(Object.entries(asked).filter(([, value]) => value)).toString();
    try { history.replaceState(null, "", query ? `?${query}` : location.pathname); } catch { /* a page opened as a file */ }
  };
  for (const [name, value] of new URLSearchParams(location.search))  // of a site of files, where no server reads it
    if (filters.elements[name]) filters.elements[name].value = value;
  filters.addEventListener("input", show);
  filters.addEventListener("submit", (event) => { event.preventDefault(); show(); });
  if (location.search) show();
}
const rows = document.querySelector("[data-rows]");
if (rows) {
  rows.hidden = false;
  rows.addEventListener("submit", (event) => event.preventDefault());
  rows.addEventListener("input", () => {
    const asked = rows.querySelector("input").value.toLowerCase().split(/\s+/);
    let found = 0;
    for (const row of document.querySelectorAll(".datasets tbody tr")) {
      row.hidden = !asked.every((word) => row.textContent.toLowerCase().includes(word));
      found += !row.hidden;
    }
    rows.querySelector("[data-found]").textContent = found;
  });
}

// commands to copy
for (const button of document.querySelectorAll(".copy")) {
  if (!navigator.clipboard) break;
  button.hidden = false;
  button.addEventListener("click", async () => {
    await navigator.clipboard.writeText(button.dataset.copy);
    button.textContent = "Copied";
    setTimeout(() => { button.textContent = "Copy"; }, 1500);
  });
}

// runs, as they are now; what was opened stays open, and a hidden page rests
const live = document.querySelector("[data-live]");
if (live) {
  const pulse = document.querySelector("[data-pulse]");
  if (pulse) pulse.hidden = false;
  const look = async () => {
    if (!document.hidden) {
      try {
        const answer = await fetch(live.dataset.live, { headers: { accept: "application/json" } });
        if (answer.ok) {
          const { html } = await answer.json();
          if (html !== live.dataset.shown) {
            const open = new Map([...live.querySelectorAll("details")].map((part) => [part.dataset.keep, part.open]));
            const focused = document.activeElement?.closest?.("[data-live] a")?.getAttribute("href");
            live.innerHTML = html;
            for (const part of live.querySelectorAll("details"))
              if (open.has(part.dataset.keep)) part.open = open.get(part.dataset.keep);
            if (focused) live.querySelector(`a[href="${CSS.escape(focused)}"]`)?.focus();
            live.dataset.shown = html;
          }
        }
      } catch { /* the server rests; the next look may find it */ }
    }
    setTimeout(look, 2000);
  };
  setTimeout(look, 2000);
}
