"use strict";

const data = JSON.parse(document.getElementById("data").textContent);
const field = (id) => document.getElementById(id);
const [channels, height, width] = data.shape;
const pictures = data.pictures.map((text) => Uint8Array.from(atob(text), (letter) => letter.charCodeAt(0)));

// share * one + (1 - share) * other, both uint8 [c, h, w]: as the networks saw it.
function mix(one, other, share) {
  return Float64Array.from(one, (value, i) => share * value + (1 - share) * other[i]);
}

// What a network, 0 plain or 1 mixup, said of the mixture of pictures i and j at the n-th share of i: [classes].
function answer(network, i, j, n) {
  if (i > j) return answer(network, j, i, data.shares - 1 - n);
  let pair = 0;
  for (let a = 0; a < i; a++) pair += pictures.length - 1 - a;
  return data.odds[pair + j - i - 1][network][n];
}

function paint(name, pixels, words) {
  const canvas = field(`picture-${name}`), picture = new ImageData(width, height), size = width * height;
  for (let i = 0; i < size; i++) {
    for (let c = 0; c < 3; c++) picture.data[4 * i + c] = pixels[(channels === 1 ? 0 : c) * size + i];
    picture.data[4 * i + 3] = 255;
  }
  canvas.getContext("2d").putImageData(picture, 0, 0);
  canvas.setAttribute("aria-label", words);
  field(`words-${name}`).textContent = words;
}

function bars(place, odds) {
  const best = odds.map((value, i) => [value, i]).sort((a, b) => b[0] - a[0]).slice(0, 3);
  place.innerHTML = best.map(([value, i]) =>
    `<span>${escaped(data.labels[i])}</span><span class="bar"><i style="width:${100 * value}%"></i></span><span class="n">${(100 * value).toFixed(1)} %</span>`).join("");
}

function draw(event) {
  const first = field("first"), second = field("second");
  if (first.value === second.value) {  // the other one makes room
    const other = event?.target === second ? first : second;
    other.value = (Number(other.value) + 1) % pictures.length;
  }
  const i = Number(first.value), j = Number(second.value), n = Math.round(field("share").value * (data.shares - 1));
  const share = n / (data.shares - 1), names = [i, j].map((at) => data.labels[data.kinds[at]]);
  document.querySelector("output[for=share]").textContent = share.toFixed(2);
  paint("first", pictures[i], names[0]);
  paint("mixture", mix(pictures[i], pictures[j], share), `${share.toFixed(2)} of it and ${(1 - share).toFixed(2)} of the other`);
  paint("second", pictures[j], names[1]);
  bars(field("plain"), answer(0, i, j, n));
  bars(field("mixed"), answer(1, i, j, n));
  const steps = [...Array(data.shares).keys()], x = steps.map((step) => step / (data.shares - 1));
  const curves = [0, 1].flatMap((network) => [i, j].map((at, which) => ({
    kind: `${network ? "now" : "before"}${which ? " broken" : ""}`, words: `${network ? "mixup" : "plain"}: ${names[which]}`,
    x, y: steps.map((step) => answer(network, i, j, step)[data.kinds[at]]),
  })));
  chart(field("curves"), curves, { until: 1, most: 1, xAxis: "share of the first picture", yAxis: "probability" });
}

for (const id of ["first", "second", "share"]) field(id).addEventListener("input", draw);
addEventListener("resize", draw);
draw();
