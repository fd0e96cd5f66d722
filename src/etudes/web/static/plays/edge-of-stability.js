"use strict";

// Full-batch gradient descent on the network of the page: two hidden layers of tanh, squared error, all in doubles.
class Network {
  constructor({ inputs, labels, classes, width, weights }) {
    this.x = inputs.map((row) => Float64Array.from(row));
    this.y = labels;
    this.sizes = [this.x[0].length, width, width, classes];
    this.weights = Float64Array.from(weights);
  }

  // The loss at `weights`, the sum over outputs of (output - one-hot)^2 halved and averaged; its gradient into `gradient`.
  loss(weights, gradient) {
    const { x, y, sizes } = this, n = x.length;
    gradient.fill(0);
    let sum = 0;
    for (let row = 0; row < n; row++) {
      const layers = [x[row]];
      for (let l = 0, at = 0; l < 3; l++) {
        const a = layers[l], ins = sizes[l], outs = sizes[l + 1], h = new Float64Array(outs), bias = at + ins * outs;
        for (let o = 0; o < outs; o++) {
          let s = weights[bias + o];
          for (let i = 0, w = at + o * ins; i < ins; i++) s += weights[w + i] * a[i];
          h[o] = l < 2 ? Math.tanh(s) : s;
        }
        layers.push(h);
        at = bias + outs;
      }
      let back = layers[3].map((out, o) => out - (o === y[row]));
      for (const d of back) sum += d * d;
      for (let l = 2, end = weights.length; l >= 0; l--) {
        const a = layers[l], ins = sizes[l], outs = sizes[l + 1], bias = end - outs, at = bias - ins * outs;
        const below = new Float64Array(ins);
        for (let o = 0; o < outs; o++) {
          const d = back[o] / n;
          gradient[bias + o] += d;
          for (let i = 0, w = at + o * ins; i < ins; i++) {
            gradient[w + i] += d * a[i];
            below[i] += back[o] * weights[w + i];
          }
        }
        back = l > 0 ? below.map((b, i) => b * (1 - a[i] * a[i])) : below;
        end = at;
      }
    }
    return sum / (2 * n);
  }

  // The largest eigenvalue of the loss's Hessian at `weights`, by power iteration from `direction`, which is changed:
  // handed in again some steps later it needs few iterations. A product with the Hessian is a difference of gradients.
  sharpness(weights, direction, iterations = 200) {
    const size = weights.length, step = 1e-4;
    const plus = new Float64Array(size), minus = new Float64Array(size), moved = new Float64Array(size);
    let value = 0;
    for (let k = 0; k < iterations; k++) {
      const norm = Math.hypot(...direction);
      for (let i = 0; i < size; i++) moved[i] = weights[i] + step * (direction[i] /= norm);
      this.loss(moved, plus);
      for (let i = 0; i < size; i++) moved[i] = weights[i] - step * direction[i];
      this.loss(moved, minus);
      const before = value;
      value = 0;
      for (let i = 0; i < size; i++) {
        const product = (plus[i] - minus[i]) / (2 * step);
        value += product * direction[i];
        moved[i] = product;
      }
      direction.set(moved);
      if (Math.abs(value - before) < 1e-4 * Math.abs(value)) break;
    }
    return value;
  }
}

// A training, a step at a time: its measurements, {step, loss, sharpness}, and whether it is over.
class Training {
  constructor(network, eta, steps, every) {
    Object.assign(this, { network, eta, steps, every, at: 0, log: [], over: false });
    this.weights = network.weights.slice();
    this.gradient = new Float64Array(this.weights.length);
    this.direction = Float64Array.from(this.weights, (_, i) => Math.cos(1 + i));  // any that is not orthogonal will do
  }

  step() {
    const loss = this.network.loss(this.weights, this.gradient);
    if (!(loss < 1e6)) { this.over = true; return; }
    if (this.at % this.every === 0)
      this.log.push({ step: this.at, loss, sharpness: this.network.sharpness(this.weights, this.direction) });
    for (let i = 0; i < this.weights.length; i++) this.weights[i] -= this.eta * this.gradient[i];
    this.over = ++this.at >= this.steps;
  }

  get finding() {
    const limit = 2 / this.eta, values = this.log.map((line) => line.sharpness);
    if (!this.over) return `Training: step ${this.at} of ${this.steps}.`;
    if (this.at < this.steps) return "The loss grew beyond all bounds: this step size is too large from the start.";
    const last = values.slice(-Math.max(1, Math.floor(values.length / 3)));
    const mean = last.reduce((a, b) => a + b) / last.length;
    const where = `its mean over the last third is ${(mean / limit).toFixed(2)} times 2\u00a0/\u00a0step\u00a0size.`;
    return Math.max(...values) < limit
      ? `Below the edge: the sharpness has not reached the threshold; ${where}`
      : `At the edge: the sharpness rose to the threshold; ${where}`;
  }
}

const data = JSON.parse(document.getElementById("data").textContent);
const network = new Network(data);
const slider = document.getElementById("eta");
const shown = document.querySelector("output[for=eta]");
const said = document.getElementById("finding");
let now = null, before = null;

function draw() {
  const curves = (name) => [before && ["before", "the step size before", before], ["now", "now", now]].filter(Boolean)
    .map(([kind, words, training]) => ({
      kind, words: `${words}: ${training.eta}`, x: training.log.map((line) => line.step), y: training.log.map((line) => line[name]),
    }));
  const limits = [before && ["before", before], ["now", now]].filter(Boolean).map(([kind, training]) => ({
    kind: `${kind} broken`, words: kind === "now" ? `2 / step size: ${(2 / training.eta).toPrecision(3)}` : "",
    x: [0, data.steps], y: [2 / training.eta, 2 / training.eta],
  }));
  chart(document.getElementById("sharpness"), [...curves("sharpness"), ...limits], { until: data.steps, xAxis: "step", yAxis: "sharpness" });
  chart(document.getElementById("loss"), curves("loss"), { until: data.steps, xAxis: "step", yAxis: "training loss", log: true });
}

function train() {
  if (now?.over) before = now;
  const training = now = new Training(network, Number(slider.value), data.steps, data.every);
  shown.textContent = `${slider.value}; 2 / ${slider.value} = ${(2 / training.eta).toPrecision(3)}`;
  const work = () => {
    if (now !== training) return;  // the slider has moved on
    const begun = performance.now();
    while (!training.over && performance.now() - begun < 24) training.step();
    draw();
    said.textContent = training.finding;
    if (!training.over) requestAnimationFrame(work);
  };
  work();
}

slider.addEventListener("input", train);
addEventListener("resize", draw);
train();
