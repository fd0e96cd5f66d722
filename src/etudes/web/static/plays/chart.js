"use strict";

// Curves [{kind, words, x, y}] as an SVG of the size that `place` has, with a legend of those that have words.
function chart(place, curves, { until = 0, most = 0, xAxis = "", yAxis = "", log = false }) {
  const width = Math.max(280, Math.round(place.clientWidth)), height = Math.min(300, Math.round(0.62 * width));
  const left = 56, right = 14, top = 10, bottom = 40, up = (y) => log ? Math.log10(Math.max(y, 1e-12)) : y;
  const ys = curves.flatMap((curve) => curve.y).filter((y) => !log || y > 0).map(up);
  const last = Math.max(until, ...curves.flatMap((curve) => curve.x)) || 1;
  const low = log ? Math.min(...ys) : Math.min(0, ...ys), high = Math.max(low + 1e-9, most, ...ys);
  const across = (x) => left + (width - left - right) * x / last;
  const down = (y) => top + (height - top - bottom) * (1 - (up(y) - low) / (high - low));
  const text = (x, y, words, more = "") => `<text x="${x.toFixed(1)}" y="${y.toFixed(1)}" ${more}>${words}</text>`;
  const parts = [];
  for (const value of log ? powers(low, high) : rounds(low, high, 5))
    parts.push(`<line class="grid" x1="${left}" x2="${width - right}" y1="${down(value)}" y2="${down(value)}"/>`,
      text(left - 7, down(value) + 4, short(value), 'text-anchor="end"'));
  for (const value of rounds(0, last, width < 420 ? 4 : 6))
    parts.push(text(across(value), height - bottom + 17, short(value), `text-anchor="${across(value) > width - 30 ? "end" : "middle"}"`));
  parts.push(text((left + width - right) / 2, height - 5, xAxis, 'text-anchor="middle"'),
    `<text transform="translate(12 ${height / 2 - 10}) rotate(-90)" text-anchor="middle">${yAxis}</text>`);
  for (const { kind, x, y } of curves) {
    const points = x.map((value, i) => [value, y[i]]).filter(([, value]) => !log || value > 0);
    parts.push(`<polyline class="${kind}" points="${points.map(([a, b]) => `${across(a).toFixed(1)},${down(b).toFixed(1)}`).join(" ")}"/>`);
  }
  const legend = curves.filter((curve) => curve.words)
    .map(({ kind, words }) => `<span><svg width="26" height="8" aria-hidden="true"><line class="${kind}" x1="0" x2="26" y1="4" y2="4"/></svg> ${escaped(words)}</span>`);
  place.innerHTML = `<p class="key">${legend.join(" ")}</p><svg width="${width}" height="${height}" role="img" aria-label="${place.dataset.says}">${parts.join("")}</svg>`;
}

const escaped = (text) => text.replace(/[&<>"]/g, (letter) => `&#${letter.charCodeAt(0)};`);
const short = (value) => Math.abs(value) >= 1000 ? value.toLocaleString("en") : String(Number(value.toPrecision(3)));

// The round numbers from low to high, about so many.
function rounds(low, high, count) {
  const rough = (high - low) / count, power = 10 ** Math.floor(Math.log10(rough));
  const step = power * [1, 2, 5, 10].find((times) => power * times >= 0.999 * rough), found = [];
  for (let i = Math.ceil(low / step - 1e-6); i <= Math.floor(high / step + 1e-6); i++) found.push(i * step);
  return found;
}

// Those of 1, 2 and 5 times a power of ten between 10^low and 10^high; fives and twos where there is room.
function powers(low, high) {
  const found = [];
  for (let power = Math.floor(low); power <= Math.ceil(high); power++)
    for (const times of high - low < 1.6 ? [1, 2, 5] : [1]) {
      const value = Number(`${times}e${power}`);
      if (Math.log10(value) >= low && Math.log10(value) <= high) found.push(value);
    }
  return found;
}
