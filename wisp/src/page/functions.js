// The list of functions. Only the rows in sight exist, so that thousands cost no more than ten.

import { byId, dress, draw, make, put, say } from "./dom.js";
import { SPAN_MS } from "./history.js";
import { count, isWeb, state } from "./words.js";

// As in page.css.
const ROW_HEIGHT = 44;
const OVERSCAN = 4;
const SPARK = { width: 140, height: 26 };

export class Functions {
  /** `choose` is called with the key of the function that somebody chose. */
  constructor(choose) {
    this.choose = choose;
    this.shown = [];
    this.rows = [];
    this.chosen = null;
    this.above = spacer();
    this.below = spacer();
    this.body = byId("rows");
    this.body.append(this.above, this.below);
    this.scroll = byId("rows-scroll");
    this.scroll.addEventListener("scroll", () => this.draw(), { passive: true });
    byId("filter").addEventListener("input", () => this.sift());
    byId("states").addEventListener("change", () => this.sift());
    this.all = [];
    this.histories = new Map();
  }

  update(functions, histories) {
    this.all = functions;
    this.histories = histories;
    this.sift();
  }

  mark(key) {
    this.chosen = key;
    this.draw();
  }

  sift() {
    const words = byId("filter").value.trim().toLowerCase().split(/\s+/).filter(Boolean);
    const wanted = document.querySelector("#states input:checked").value;
    const named = this.all.filter((fn) => words.every((word) => `${fn.namespace}/${fn.name}`.toLowerCase().includes(word)));
    const active = named.filter(isActive);
    const problem = named.filter((fn) => fn.ready !== "True");
    say(byId("count-all"), count(named.length));
    say(byId("count-active"), count(active.length));
    say(byId("count-problem"), count(problem.length));
    this.shown = { all: named, active, problem }[wanted];
    say(byId("rows-note"), this.note());
    this.draw();
  }

  note() {
    if (this.all.length === 0) return "No functions. Put a manifest into the folder that wisp up was given, or make one with wisp new.";
    if (this.shown.length === 0) return "No function fits.";
    return this.shown.length < this.all.length ? `${count(this.shown.length)} of ${count(this.all.length)} functions` : "";
  }

  draw() {
    const first = Math.max(0, Math.floor(this.scroll.scrollTop / ROW_HEIGHT) - OVERSCAN);
    const fits = Math.ceil(this.scroll.clientHeight / ROW_HEIGHT) + 2 * OVERSCAN;
    const from = Math.max(0, Math.min(first, this.shown.length - fits));
    const visible = this.shown.slice(from, from + fits);
    while (this.rows.length > visible.length) this.rows.pop().element.remove();
    while (this.rows.length < visible.length) {
      const row = this.makeRow();
      this.below.before(row.element);
      this.rows.push(row);
    }
    visible.forEach((fn, index) => this.fill(this.rows[index], fn, from + index));
    setHeight(this.above, from);
    setHeight(this.below, this.shown.length - from - visible.length);
    put(byId("functions"), "aria-rowcount", this.shown.length + 1);
  }

  makeRow() {
    const pick = make("input");
    pick.type = "radio";
    pick.name = "function";
    const link = make("a");
    link.target = "_blank";
    link.rel = "noreferrer";
    const cells = {
      namespace: make("span", "namespace"), state: make("span", "state"), replicas: make("span"), moving: make("span", "moving"),
      inFlight: make("td", "number c-minor"), waiting: make("td", "number c-minor"), requests: make("td", "number c-minor"),
    };
    const path = draw("path", { class: "stroke replicas" });
    const area = draw("path", { class: "area replicas" });
    const spark = draw("svg", { viewBox: `0 0 ${SPARK.width} ${SPARK.height}`, height: SPARK.height, preserveAspectRatio: "none", "aria-hidden": "true" }, area, path);
    const element = make("tr", "", make("td", "", pick), make("td", "", link, cells.namespace), make("td", "", cells.state),
      make("td", "number", cells.moving, " ", cells.replicas), cells.inFlight, cells.waiting, cells.requests, make("td", "c-spark", spark));
    const row = { element, pick, link, ...cells, path, area, key: null };
    pick.addEventListener("change", () => this.choose(row.key));
    element.addEventListener("click", (event) => {
      if (event.target !== link && event.target !== pick) this.choose(row.key);
    });
    return row;
  }

  fill(row, fn, index) {
    row.key = key(fn);
    const chosen = row.key === this.chosen;
    put(row.element, "aria-rowindex", index + 2);
    put(row.element, "data-function", row.key);
    dress(row.element, chosen ? "chosen" : "");
    if (row.pick.checked !== chosen) row.pick.checked = chosen;
    put(row.pick, "aria-label", `Show ${fn.name} in ${fn.namespace}`);
    say(row.link, fn.name);
    if (isWeb(fn.url)) put(row.link, "href", fn.url);
    else row.link.removeAttribute("href");
    say(row.namespace, fn.namespace);
    const { word, tone } = state(fn);
    say(row.state, word);
    dress(row.state, tone);
    put(row.state, "title", fn.message);
    say(row.replicas, count(fn.replicas));
    say(row.moving, moving(fn, " "));
    put(row.moving, "title", moving(fn, ", ", " starting", " draining"));
    say(row.inFlight, count(fn.inFlight));
    say(row.waiting, count(fn.waiting));
    say(row.requests, count(fn.requestsTotal));
    put(row.requests, "title", `${count(fn.failedTotal)} failed`);
    this.drawSpark(row);
  }

  drawSpark(row) {
    const points = this.histories.get(row.key)?.points ?? [];
    const highest = Math.max(1, ...points.map((point) => point.replicas));
    const now = Date.now();
    const x = (at) => Math.max(0, (1 - (now - at) / SPAN_MS) * SPARK.width).toFixed(1);
    const y = (value) => (SPARK.height - 1 - (value / highest) * (SPARK.height - 4)).toFixed(1);
    let line = "";
    for (const point of points) line += line ? `H${x(point.at)}V${y(point.replicas)}` : `M${x(point.at)} ${y(point.replicas)}`;
    if (line) line += `H${SPARK.width}`;
    put(row.path, "d", line);
    put(row.area, "d", line ? `${line}V${SPARK.height}H${x(points[0].at)}Z` : "");
  }
}

export const key = (fn) => `${fn.namespace}/${fn.name}`;

const isActive = (fn) => fn.replicas + fn.starting + fn.draining + fn.waiting + fn.inFlight > 0;

/** Instances on their way: `+1 −2`. */
export function moving(fn, between, starting = "", draining = "") {
  const parts = [];
  if (fn.starting > 0) parts.push(`+${count(fn.starting)}${starting}`);
  if (fn.draining > 0) parts.push(`−${count(fn.draining)}${draining}`);
  return parts.join(between);
}

function spacer() {
  const cell = make("td");
  cell.colSpan = 8;
  const row = make("tr", "spacer", cell);
  row.setAttribute("aria-hidden", "true");
  row.hidden = true;
  return row;
}

function setHeight(row, rows) {
  row.hidden = rows === 0;
  row.firstElementChild.style.height = `${rows * ROW_HEIGHT}px`;
}
