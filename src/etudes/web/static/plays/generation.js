"use strict";

const ROUNDING = 1e-6;  // by which a sum of probabilities may miss the nucleus, as in the package

// The odds [v] that the settings leave of logits [v]: divided by the temperature (0: the largest alone), the top k (those
// equal to the k-th stay), then the smallest set of probability p. Of equals the later ones stay.
function settle(logits, { temperature = 1, k = logits.length, p = 1 }) {
  const largest = Math.max(...logits);
  if (temperature === 0) {
    const best = logits.indexOf(largest);
    return logits.map((_, i) => Number(i === best));
  }
  const scaled = logits.map((value) => (value - largest) / temperature);
  const least = [...scaled].sort((a, b) => b - a)[Math.min(k, scaled.length) - 1];
  let odds = normal(scaled.map((value) => value < least ? 0 : Math.exp(value)));
  if (p < 1) {
    const rising = odds.map((_, i) => i).sort((a, b) => odds[a] - odds[b] || a - b), kept = odds.slice();
    let sum = 0;
    for (const i of rising.slice(0, -1)) {
      sum += odds[i];
      if (sum <= (1 - p) * (1 + ROUNDING)) kept[i] = 0;
    }
    odds = normal(kept);
  }
  return odds;
}

function normal(weights) {
  const sum = weights.reduce((a, b) => a + b);
  return weights.map((weight) => weight / sum);
}

// The place whose sum of odds is the first above u of [0, 1).
function pick(odds, u) {
  let sum = 0;
  for (let i = 0; i < odds.length; i++) if ((sum += odds[i]) > u && odds[i] > 0) return i;
  return odds.findLastIndex((value) => value > 0);
}

const data = JSON.parse(document.getElementById("data").textContent);
const field = (id) => document.getElementById(id);
const plain = (text) => ({ " ": "space", "\n": "end of line", "": "nothing" })[text] ?? text;
let drawn = new Map(), last = null;

const read = (id) => Number(field(id).value);
const settings = () => ({ temperature: read("temperature"), k: read("k"), p: read("p") });

function show() {
  const at = read("at"), logits = data.logits[at - 1], given = settle(logits, {}), odds = settle(logits, settings());
  const text = field("text"), rest = data.text.slice(at + 1);
  text.replaceChildren(data.text.slice(0, at));
  for (const [name, words] of [["mark", last === null ? "?" : data.names[last]], ["span", data.text[at] + rest]]) {
    const part = document.createElement(name);
    part.textContent = words;
    text.append(part);
  }
  for (const output of document.querySelectorAll("output")) output.textContent = field(output.htmlFor.value).value;
  const total = [...drawn.values()].reduce((a, b) => a + b, 0), possible = odds.filter((value) => value > 0).length;
  field("finding").textContent = `${possible} of ${odds.length} can be drawn.`
    + (last === null ? "" : ` Drawn last: “${plain(data.names[last])}”; the text itself has “${plain(data.text[at])}”.`);
  const order = given.map((_, i) => i).sort((a, b) => given[b] - given[a]).slice(0, 15);
  for (const i of drawn.keys()) if (!order.includes(i)) order.push(i);
  const percent = (value) => value === 0 ? "–" : `${(100 * value).toFixed(1)} %`;
  field("rows").replaceChildren(...order.map((i) => {
    const row = document.createElement("tr"), name = document.createElement("th");
    name.scope = "row";
    name.textContent = plain(data.names[i]);
    row.innerHTML = `<td><span class="bar"><i style="width:${100 * odds[i]}%"></i><b style="left:${100 * given[i]}%"></b></span></td>`
      + `<td class="n">${percent(given[i])}</td><td class="n">${percent(odds[i])}</td>`
      + `<td class="n">${drawn.has(i) ? `${drawn.get(i)} of ${total}` : ""}</td>`;
    row.prepend(name);
    return row;
  }));
}

function draw(count) {
  const odds = settle(data.logits[read("at") - 1], settings());
  for (let i = 0; i < count; i++) drawn.set(last = pick(odds, Math.random()), (drawn.get(last) ?? 0) + 1);
  show();
}

function forget() {
  drawn = new Map();
  last = null;
  show();
}

for (const id of ["at", "temperature", "k", "p"]) field(id).addEventListener("input", forget);
field("draw").addEventListener("click", () => draw(1));
field("many").addEventListener("click", () => draw(100));
field("clear").addEventListener("click", forget);
forget();
