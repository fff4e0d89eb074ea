// The drawn timeline of one function: replicas with the decisions, demand, requests per second; one axis of time.

import { byId, draw, list, make, put, say } from "./dom.js";
import { SPAN_MS } from "./history.js";
import { clock, count, reason } from "./words.js";

const BANDS = [
  { field: "replicas", name: "Replicas (dotted: wanted)", height: 78 },
  { field: "demand", name: "Demand: in flight and waiting", height: 52 },
  { field: "rate", name: "Requests per second", height: 52, look: "requests" },
];
const GAP = 24;
const AXIS = 18;
// The space for a mark at the very top, and for half of one at the right edge.
const MARGIN = 7;
// Below this width, only every other minute has room for its label.
const NARROW_PX = 480;
// How near the pointer has to be to a decision to mean it.
const NEAR_PX = 9;

export class Timeline {
  constructor() {
    this.box = byId("timeline");
    this.svg = draw("svg", { "aria-hidden": "true" });
    this.axis = draw("g", {});
    this.bands = BANDS.map((band) => makeBand(band));
    this.cursor = draw("line", { class: "cursor" });
    this.wanted = draw("path", { class: "stroke wanted", "data-series": "wanted" });
    this.marks = draw("g", {});
    this.svg.append(this.axis, ...this.bands.map((band) => band.group), this.wanted, this.cursor, this.marks);
    this.tip = make("div", "tip");
    this.tip.hidden = true;
    this.box.append(this.svg, this.tip);
    this.history = null;
    this.decisions = [];
    this.chosen = null;
    this.pointer = null;
    new ResizeObserver(() => this.draw()).observe(this.box);
    this.box.addEventListener("pointermove", (event) => this.point(event));
    this.box.addEventListener("pointerleave", () => this.leave());
    this.box.addEventListener("blur", () => this.leave());
    this.box.addEventListener("keydown", (event) => this.step(event));
  }

  show(history) {
    if (this.history !== history) this.leave();
    this.history = history;
    this.draw();
  }

  draw() {
    const width = this.box.clientWidth;
    if (!this.history || width === 0) return;
    this.now = Date.now();
    this.begin = this.now - SPAN_MS;
    this.width = width;
    const all = this.history.allDecisions();
    this.decisions = all.filter((decision) => decision.unixMillis >= this.begin);
    let top = 16;
    this.bands.forEach((band, index) => {
      const { height } = BANDS[index];
      this.drawBand(band, BANDS[index], top);
      top += height + GAP;
    });
    this.bottom = top - GAP;
    const total = this.bottom + AXIS;
    put(this.svg, "viewBox", `0 0 ${width} ${total}`);
    put(this.svg, "height", total);
    this.drawAxis();
    this.drawWanted();
    this.drawMarks();
    this.drawTip();
  }

  x(time) {
    return Math.max(0, ((time - this.begin) / SPAN_MS) * (this.width - MARGIN));
  }

  drawBand(band, { field, name, height }, top) {
    const { points } = this.history;
    let highest = Math.max(1, ...points.map((point) => point[field]));
    if (field === "replicas") highest = Math.max(highest, ...this.decisions.map((decision) => decision.replicas));
    band.y = (value) => top + height - (value / highest) * (height - MARGIN);
    const base = top + height;
    let line = "";
    for (const point of points) {
      const [x, y] = [this.x(point.at).toFixed(1), band.y(point[field]).toFixed(1)];
      line += line ? `H${x}V${y}` : `M${x} ${y}`;
    }
    const end = this.x(this.now).toFixed(1);
    put(band.line, "d", line ? `${line}H${end}` : "");
    put(band.area, "d", line ? `${line}H${end}V${base}H${this.x(points[0].at).toFixed(1)}Z` : "");
    put(band.base, "d", `M0 ${base}H${this.width}`);
    put(band.label, "y", top - 5);
    say(band.name, `${name}  `);
    say(band.value, number(points.at(-1)?.[field] ?? 0));
    put(band.highest, "x", this.width);
    put(band.highest, "y", top - 5);
    say(band.highest, `highest ${number(highest)}`);
  }

  /** What was wanted also says how things were before the page was opened. */
  drawWanted() {
    const points = this.history.wanted();
    const before = points.findLast((point) => point.at < this.begin);
    const shown = points.filter((point) => point.at >= this.begin);
    const y = (point) => this.bands[0].y(point.replicas).toFixed(1);
    let line = before ? `M0 ${y(before)}` : "";
    for (const point of shown) {
      const x = this.x(point.at).toFixed(1);
      line += line ? `H${x}V${y(point)}` : `M${x} ${y(point)}`;
    }
    put(this.wanted, "d", line ? `${line}H${this.x(this.now).toFixed(1)}` : "");
  }

  drawAxis() {
    const step = this.width < NARROW_PX ? 2 : 1;
    const last = SPAN_MS / 60_000;
    const minutes = Array.from({ length: last + 1 }, (_, index) => index).filter((minute) => minute % step === 0);
    list(this.axis, minutes, () => draw("g", {}, draw("line", { class: "grid" }), draw("text", {})), (group, minute) => {
      const x = this.x(this.now - minute * 60_000);
      const [line, text] = group.children;
      for (const [name, value] of Object.entries({ x1: x, x2: x, y1: 16, y2: this.bottom })) put(line, name, value);
      put(text, "x", x);
      put(text, "y", this.bottom + AXIS - 3);
      put(text, "text-anchor", minute === 0 ? "end" : x < 20 ? "start" : "middle");
      say(text, minute === 0 ? "now" : `−${minute} min`);
    });
  }

  drawMarks() {
    const create = () => draw("circle", { r: 4.5 }, draw("title", {}));
    list(this.marks, this.decisions, create, (mark, decision) => {
      put(mark, "cx", this.x(decision.unixMillis).toFixed(1));
      put(mark, "cy", this.bands[0].y(decision.replicas).toFixed(1));
      const way = Math.sign(decision.replicas - decision.from);
      const kind = ["down", "same", "up"][way + 1];
      put(mark, "class", `mark ${kind}${sameDecision(decision, this.chosen) ? " chosen" : ""}`);
      put(mark, "data-reason", decision.reason);
      say(mark.firstElementChild, words(decision));
    });
  }

  point(event) {
    const left = this.box.getBoundingClientRect().left;
    this.pointer = event.clientX - left;
    const distance = (decision) => Math.abs(this.x(decision.unixMillis) - this.pointer);
    const near = this.decisions.filter((decision) => distance(decision) <= NEAR_PX);
    this.chosen = near.sort((a, b) => distance(a) - distance(b))[0] ?? null;
    this.drawMarks();
    this.drawTip();
  }

  leave() {
    this.pointer = null;
    this.chosen = null;
    if (this.history && this.width) this.drawMarks();
    this.drawTip();
  }

  step(event) {
    const way = { ArrowLeft: -1, ArrowRight: 1 }[event.key];
    if (event.key === "Escape") this.leave();
    if (!way || this.decisions.length === 0) return;
    event.preventDefault();
    const place = this.decisions.findIndex((decision) => sameDecision(decision, this.chosen));
    const next = place < 0 ? this.decisions.length - 1 : place + way;
    this.chosen = this.decisions[Math.max(0, Math.min(this.decisions.length - 1, next))];
    this.pointer = this.x(this.chosen.unixMillis);
    say(byId("timeline-say"), words(this.chosen));
    this.drawMarks();
    this.drawTip();
  }

  drawTip() {
    const shown = this.pointer !== null && this.history !== null && this.width > 0;
    this.tip.hidden = !shown;
    put(this.cursor, "class", shown ? "cursor shown" : "cursor");
    if (!shown) return;
    const time = this.chosen?.unixMillis ?? this.begin + (this.pointer / (this.width - MARGIN)) * SPAN_MS;
    const x = this.x(time);
    for (const [name, value] of Object.entries({ x1: x, x2: x, y1: 8, y2: this.bottom })) put(this.cursor, name, value);
    say(this.tip, this.chosen ? words(this.chosen) : valuesAt(this.history, time));
    const room = this.width - this.tip.offsetWidth;
    this.tip.style.left = `${Math.max(0, x + 14 > room ? x - this.tip.offsetWidth - 14 : x + 14)}px`;
  }
}

function makeBand({ field, look = field }) {
  const name = draw("tspan", {});
  const value = draw("tspan", { class: "value" });
  const band = {
    name, value,
    label: draw("text", { x: 0 }, name, value),
    highest: draw("text", { "text-anchor": "end" }),
    base: draw("path", { class: "grid" }),
    area: draw("path", { class: `area ${look}` }),
    line: draw("path", { class: `stroke ${look}`, "data-series": field }),
  };
  band.group = draw("g", {}, band.base, band.area, band.line, band.label, band.highest);
  return band;
}

function words(decision) {
  const demand = (decision.inputs?.waiting ?? 0) + (decision.inputs?.inFlight ?? 0);
  const change = `${count(decision.from)} → ${count(decision.replicas)}`;
  return `${clock(decision.unixMillis)}  ${change}\n${reason(decision.reason)}\ndemand ${count(demand)}, ${decision.revision}`;
}

function valuesAt(history, time) {
  const point = history.at(time);
  if (!point) return `${clock(time)}\nbefore this page was opened`;
  return `${clock(time)}\nreplicas ${count(point.replicas)}, demand ${count(point.demand)}\n${number(point.rate)} requests per second`;
}

const number = (value) => (value < 10 && !Number.isInteger(value) ? value.toFixed(1) : count(Math.round(value)));

const sameDecision = (a, b) => b !== null && a.unixMillis === b.unixMillis && a.revision === b.revision && a.reason === b.reason;
