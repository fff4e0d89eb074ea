// The status page: asks for the overview each second, hears of decisions as they happen, and gives both to the parts.
//
// history.js remembers; functions.js lists; starts.js, timeline.js and detail.js draw; logs.js follows.

import { byId, dress, say } from "./dom.js";
import { Detail } from "./detail.js";
import { Functions, key, moving } from "./functions.js";
import { History } from "./history.js";
import { Starts } from "./starts.js";
import { count } from "./words.js";

const POLL_MS = 1000;
// An overview of many thousand functions takes its time: the page is idle for most of it.
const POLL_SHARE = 4;

const histories = new Map();
const starts = new Starts();
const detail = new Detail();
const functions = new Functions(choose);
let known = new Map();
let lastAt = null;
let events = null;
let timer = null;

async function poll() {
  clearTimeout(timer);
  const began = performance.now();
  const overview = await ask();
  connection(overview ? "live" : "no answer", overview ? "good" : "bad");
  if (document.hidden) return;
  clearTimeout(timer);
  timer = setTimeout(poll, Math.max(POLL_MS, (performance.now() - began) * POLL_SHARE));
  if (overview) update(overview);
}

/** The overview; `null` when nobody answers. */
async function ask() {
  try {
    const response = await fetch("/api/overview", { cache: "no-store" });
    return response.ok ? await response.json() : null;
  } catch {
    return null;
  }
}

function update(overview) {
  const now = Date.now();
  known = new Map(overview.functions.map((fn) => [key(fn), fn]));
  for (const [name, fn] of known) historyOf(name).record(fn, now, lastAt);
  for (const name of histories.keys()) if (!known.has(name)) histories.delete(name);
  lastAt = now;
  totals(overview);
  functions.update(overview.functions, histories);
  starts.update(overview.coldStarts);
  if (!known.has(detail.key)) {
    const wanted = decodeURIComponent(location.hash.slice(1));
    choose(known.has(wanted) ? wanted : (known.keys().next().value ?? null));
  }
  if (detail.key === null) return;
  detail.update(known.get(detail.key));
  detail.refresh();
}

function historyOf(name) {
  if (!histories.has(name)) histories.set(name, new History());
  return histories.get(name);
}

function totals(overview) {
  const sum = (field) => overview.functions.reduce((all, fn) => all + fn[field], 0);
  say(byId("listen"), overview.listen);
  say(byId("version"), `version ${overview.version}`);
  say(byId("total-functions"), count(overview.functions.length));
  say(byId("total-replicas"), count(sum("replicas")));
  say(byId("total-moving"), moving({ starting: sum("starting"), draining: sum("draining") }, ", ", " starting", " draining"));
  say(byId("total-in-flight"), count(sum("inFlight")));
  say(byId("total-waiting"), count(sum("waiting")));
  say(byId("total-requests"), count(sum("requestsTotal")));
  const failed = sum("failedTotal");
  say(byId("total-failed"), failed > 0 ? `${count(failed)} failed` : "");
  say(byId("warm"), count(overview.warm));
}

function connection(text, tone) {
  say(byId("connection"), text);
  dress(byId("connection"), `badge ${tone}`);
}

function choose(name) {
  if (name === detail.key) return;
  if (name !== null) history.replaceState(null, "", `#${name}`);
  functions.mark(name);
  detail.choose(name, name === null ? null : historyOf(name));
  if (name !== null && known.has(name)) detail.update(known.get(name));
}

/** The function of `<namespace>/<function>-00001`. */
const functionOf = (revision) => revision.replace(/-\d{5,}$/, "");

function listen() {
  events = new EventSource("/api/events");
  events.addEventListener("message", ({ data }) => {
    const happened = JSON.parse(data);
    if (happened.kind === "decision" && functionOf(happened.revision) === detail.key) detail.decided();
  });
}

function rest() {
  clearTimeout(timer);
  events?.close();
  detail.rest();
}

function begin() {
  listen();
  poll();
}

// A browser has six connections for one address: a page that nobody looks at holds none.
document.addEventListener("visibilitychange", () => {
  if (document.hidden) return rest();
  detail.resume();
  return begin();
});
addEventListener("hashchange", () => {
  const wanted = decodeURIComponent(location.hash.slice(1));
  if (known.has(wanted)) choose(wanted);
});
begin();
