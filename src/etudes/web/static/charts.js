// The charts of a study's page: drawn already, and alive from when somebody points at one or moves to it by key.
"use strict";
{
const script = document.querySelector("script[data-vega]");

let loaded;
const vega = () => loaded ??= import(new URL(script.dataset.vega, location.href)).then(() => globalThis.vegaEmbed);

// without styles and code in the page, which its policy forbids
const options = {
  actions: false, ast: true, defaultStyle: false, renderer: "svg", tooltip: { disableDefaultStyle: true },
};

const isolates = (spec) => JSON.stringify(spec).includes('"bind":"legend"');

// an entry of the legend is chosen by key as by the pointer
function keys(frame) {
  for (const entry of frame.querySelectorAll(".role-legend-label text")) {
    for (let part = entry; part !== frame; part = part.parentElement) part.removeAttribute("aria-hidden");
    entry.setAttribute("tabindex", "0");
    entry.setAttribute("role", "button");
    entry.setAttribute("aria-label", `show ${entry.textContent} alone`);
    entry.addEventListener("keydown", (event) => {
      if (event.key !== "Enter" && event.key !== " ") return;
      event.preventDefault();
      entry.dispatchEvent(new MouseEvent("click", { bubbles: true, shiftKey: event.shiftKey }));
    });
  }
}

function tools(frame, view, spec) {
  const row = document.createElement("p");
  row.className = "tools";
  if (JSON.stringify(spec).includes('"style":"seed"')) {
    const label = document.createElement("label");
    const box = document.createElement("input");
    box.type = "checkbox";
    box.checked = true;
    box.addEventListener("change", () => view.signal("seeds", box.checked).run());
    label.append(box, " single seeds");
    row.append(label);
  }
  if (isolates(spec)) row.append("An entry of the legend shows it alone; a click beside, all.");
  if (row.childNodes.length) frame.after(row);
}

async function wake(frame) {
  if (frame.dataset.woken) return;
  frame.dataset.woken = "yes";
  try {
    const [embed, answer] = await Promise.all([vega(), fetch(frame.dataset.chart)]);
    if (!answer.ok) return;  // then the drawing stays
    const spec = await answer.json();
    for (const [name, { fields, rows }] of Object.entries(spec.datasets))
      spec.datasets[name] = rows.map((row) => Object.fromEntries(row.map((value, i) => [fields[i], value])));
    const room = document.createElement("div");
    const { view } = await embed(room, spec, options);
    frame.replaceChildren(room);
    frame.setAttribute("role", "group");
    if (isolates(spec)) keys(frame);
    tools(frame, view, spec);
  } catch { /* as a page that is opened as a file: then the drawing stays */ }
}

for (const frame of document.querySelectorAll("[data-chart]"))
  for (const event of ["pointerenter", "focus"]) frame.addEventListener(event, () => wake(frame), { once: true });
}
