// How long starts took, as a histogram by where the instance came from.

import { byId, draw, list, make, put, say } from "./dom.js";
import { count, span } from "./words.js";

const KINDS = [
  { kind: "prepared", name: "Warm, code prepared" },
  { kind: "warm", name: "Warm, code loaded" },
  { kind: "fresh", name: "New process" },
];
const WIDTH = 300;
const HEIGHT = 120;
const AXIS = 18;
// Every third bound has a label; more would not fit.
const LABEL_EVERY = 3;

export class Starts {
  constructor() {
    this.bars = draw("g", {});
    this.labels = draw("g", {});
    const base = draw("path", { class: "grid", d: `M0 ${HEIGHT}H${WIDTH}` });
    this.svg = draw("svg", { viewBox: `0 0 ${WIDTH} ${HEIGHT + AXIS}`, role: "img" }, base, this.bars, this.labels);
    this.legend = make("ul", "legend");
    byId("starts").append(this.svg, this.legend);
  }

  update(coldStarts) {
    const kinds = KINDS.filter(({ kind }) => coldStarts?.[kind]);
    if (kinds.length === 0) return;
    const bounds = coldStarts[kinds[0].kind].boundsMicros;
    const stacks = kinds.map(({ kind }) => withOverflow(coldStarts[kind]));
    const highest = Math.max(1, ...bounds.map((_, index) => sum(stacks, index)), sum(stacks, bounds.length));
    const step = WIDTH / (bounds.length + 1);
    const bars = [];
    for (let index = 0; index <= bounds.length; index += 1) {
      let below = 0;
      kinds.forEach(({ kind, name }, place) => {
        const value = stacks[place][index];
        bars.push({ kind, name, value, below, x: index * step, range: range(bounds, index) });
        below += value;
      });
    }
    this.drawBars(bars, { step, highest });
    this.drawLabels(bounds, step);
    this.drawLegend(kinds, coldStarts);
  }

  drawBars(bars, { step, highest }) {
    const scale = (HEIGHT - 6) / highest;
    list(this.bars, bars, () => draw("rect", {}, draw("title", {})), (rect, bar) => {
      const height = bar.value * scale;
      put(rect, "class", bar.kind);
      put(rect, "x", bar.x + 1.5);
      put(rect, "y", HEIGHT - bar.below * scale - height);
      put(rect, "width", step - 3);
      put(rect, "height", height);
      say(rect.firstElementChild, `${count(bar.value)} in ${bar.range}: ${bar.name.toLowerCase()}`);
    });
  }

  drawLabels(bounds, step) {
    const shown = bounds.map((micros, index) => ({ micros, index })).filter(({ index }) => index % LABEL_EVERY === 1);
    list(this.labels, shown, () => draw("text", { y: HEIGHT + AXIS - 4, "text-anchor": "middle" }), (text, { micros, index }) => {
      put(text, "x", (index + 1) * step);
      say(text, span(micros / 1000));
    });
  }

  drawLegend(kinds, coldStarts) {
    const create = () => make("li", "", make("span", "swatch"), make("span"), make("span"));
    list(this.legend, kinds, create, (item, { kind, name }) => {
      const counts = coldStarts[kind];
      const [swatch, label, text] = item.children;
      put(swatch, "class", `swatch ${kind}`);
      say(label, name);
      say(text, counts.count === 0 ? "none" : `${count(counts.count)}, half ≤ ${median(counts)}`);
    });
    const total = kinds.reduce((all, { kind }) => all + coldStarts[kind].count, 0);
    put(this.svg, "aria-label", `${count(total)} starts by how long they took`);
  }
}

const sum = (stacks, index) => stacks.reduce((all, stack) => all + stack[index], 0);

/** The counts with one more: what was longer than the last bound. */
function withOverflow({ counts, count: total }) {
  return [...counts, Math.max(0, total - counts.reduce((all, value) => all + value, 0))];
}

function range(bounds, index) {
  if (index === 0) return `up to ${span(bounds[0] / 1000)}`;
  if (index === bounds.length) return `more than ${span(bounds[index - 1] / 1000)}`;
  return `${span(bounds[index - 1] / 1000)} to ${span(bounds[index] / 1000)}`;
}

/** The bound of the bucket that holds the median. */
function median({ boundsMicros, counts, count: total }) {
  let seen = 0;
  for (let index = 0; index < counts.length; index += 1) {
    seen += counts[index];
    if (seen * 2 >= total) return span(boundsMicros[index] / 1000);
  }
  return `more than ${span(boundsMicros.at(-1) / 1000)}`;
}
