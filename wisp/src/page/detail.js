// All about the function that somebody chose.

import { byId, dress, list, make, put, say } from "./dom.js";
import { Logs } from "./logs.js";
import { Timeline } from "./timeline.js";
import { clock, count, isWeb, reason, span, state } from "./words.js";

const LISTED_MAX = 100;
// Decisions come in bursts; one request asks for all of a burst.
const GATHER_MS = 150;

export class Detail {
  constructor() {
    this.timeline = new Timeline();
    this.logs = new Logs();
    this.key = null;
    this.history = null;
    this.gathering = null;
  }

  /** Shows another function; `null` shows none. */
  choose(key, history) {
    this.key = key;
    this.history = history;
    byId("detail").hidden = key === null;
    for (const id of ["instances", "decisions", "events", "logs", "detail-facts"]) byId(id).replaceChildren();
    this.logs.follow(key === null ? null : path(key));
    if (key === null) return;
    this.timeline.show(history);
    this.refresh();
    this.askDecisions();
  }

  /** The page is not looked at. */
  rest() {
    this.logs.follow(null);
  }

  /** Somebody looks again. */
  resume() {
    if (this.key !== null) this.choose(this.key, this.history);
  }

  /** What the overview says of it. */
  update(fn) {
    const { word, tone } = state(fn);
    say(byId("detail-title"), fn.name);
    const link = byId("detail-url");
    say(link, fn.url);
    if (isWeb(fn.url)) put(link, "href", fn.url);
    else link.removeAttribute("href");
    say(byId("detail-state"), word);
    dress(byId("detail-state"), `badge ${tone}`);
    say(byId("detail-message"), fn.ready === "True" ? "" : fn.message);
    this.timeline.show(this.history);
  }

  /** Asks for instances and events. */
  async refresh() {
    const detail = await this.ask("");
    if (!detail) return;
    this.drawFacts(detail);
    drawInstances(detail.instances);
    drawEvents(detail.events);
  }

  /** Somebody decided something about it. */
  decided() {
    this.gathering ??= setTimeout(() => {
      this.gathering = null;
      this.askDecisions();
    }, GATHER_MS);
  }

  async askDecisions() {
    const decisions = await this.ask("/decisions");
    if (!decisions) return;
    this.history.learn(decisions);
    this.timeline.show(this.history);
    drawDecisions(this.history.allDecisions());
  }

  /** The answer, unless another function has been chosen meanwhile. */
  async ask(what) {
    const { key } = this;
    if (key === null) return null;
    try {
      const response = await fetch(path(key) + what, { cache: "no-store" });
      return response.ok && this.key === key ? await response.json() : null;
    } catch {
      return null;
    }
  }

  drawFacts({ function: fn, origin, spec, revisions }) {
    // Without a readable manifest there is no spec.
    const scaling = spec?.scaling ?? {};
    const traffic = fn.traffic.map((target) => `${target.revision} ${target.percent} %${target.tag ? ` (${target.tag})` : ""}`);
    const facts = [
      ["Namespace", fn.namespace],
      ["Revision", fn.latestRevision || "none yet"],
      ["Traffic", traffic.join(", ") || "none"],
      ["Revisions", count(revisions.length)],
      ["Scaling", `${scaling.min ?? 0} to ${scaling.max ?? "?"}, idle after ${scaling.idle ?? "?"}`],
      ["Requests", `${count(fn.requestsTotal)}, ${count(fn.failedTotal)} failed`],
      ["From", origin],
    ];
    list(byId("detail-facts"), facts, () => make("div", "", make("dt"), make("dd")), (element, [name, value]) => {
      say(element.children[0], name);
      say(element.children[1], value);
    });
  }
}

const path = (key) => `/api/functions/${key.split("/").map(encodeURIComponent).join("/")}`;

function drawInstances(instances) {
  drawRows("instances", ["", "word", "", "number", "number"], "At zero: the next request starts one.", instances.map((instance) => [
    instance.pid ? `${instance.name} (${instance.pid})` : instance.name,
    instance.state,
    instance.revision,
    count(instance.inFlight),
    span(instance.ageMillis),
  ]));
}

function drawDecisions(decisions) {
  drawRows("decisions", ["time", "word", ""], "Nothing has been decided yet.", decisions.toReversed().map((decision) => [
    clock(decision.unixMillis),
    `${count(decision.from)} → ${count(decision.replicas)}`,
    reason(decision.reason),
  ]));
}

function drawEvents(events) {
  drawRows("events", ["time", "word", ""], "Nothing has happened yet.", events.toReversed().map((event) => [
    clock(event.unixMillis),
    event.reason,
    event.message,
  ]));
}

function drawRows(id, classes, none, rows) {
  const body = byId(id);
  const empty = rows.length === 0;
  if (empty !== (body.dataset.empty === "yes")) body.replaceChildren();
  body.dataset.empty = empty ? "yes" : "no";
  if (empty) {
    const cell = make("td", "none", none);
    cell.colSpan = classes.length;
    if (body.childElementCount === 0) body.append(make("tr", "", cell));
    return;
  }
  const create = () => make("tr", "", ...classes.map((className) => make("td", className)));
  list(body, rows.slice(0, LISTED_MAX), create, (row, texts) => {
    texts.forEach((text, index) => say(row.children[index], text));
  });
}
