// What the page remembers of each function. Only changes are kept, so that a function at rest costs nothing.

export const SPAN_MS = 5 * 60 * 1000;

/** Changes of a few values over time: `{at, replicas, demand, rate}`, the oldest first. */
export class History {
  constructor() {
    this.points = [];
    this.requests = null;
    this.decisions = new Map();
  }

  /** Takes in what the overview says of the function at a time. */
  record(fn, at, previousAt) {
    const demand = fn.inFlight + fn.waiting;
    const fresh = this.requests === null ? 0 : Math.max(0, fn.requestsTotal - this.requests);
    const rate = previousAt && at > previousAt ? (fresh * 1000) / (at - previousAt) : 0;
    this.requests = fn.requestsTotal;
    const last = this.points.at(-1);
    if (!last || last.replicas !== fn.replicas || last.demand !== demand || last.rate !== rate) {
      this.points.push({ at, replicas: fn.replicas, demand, rate });
    }
    this.forget(at - SPAN_MS);
  }

  /** Drops what ended before `begin`. */
  forget(begin) {
    let gone = 0;
    while (gone + 1 < this.points.length && this.points[gone + 1].at <= begin) gone += 1;
    if (gone > 0) this.points.splice(0, gone);
  }

  /** Takes in the last decisions of some revisions; those of others stay. */
  learn(byRevision) {
    for (const [revision, decisions] of Object.entries(byRevision)) {
      this.decisions.set(revision, decisions.map((decision) => ({ ...decision, revision })));
    }
  }

  /** All decisions, the oldest first. */
  allDecisions() {
    return [...this.decisions.values()].flat().sort((a, b) => a.unixMillis - b.unixMillis);
  }

  /** How many instances were wanted, from the first decision that is known: `{at, replicas}`, the oldest first. */
  wanted() {
    const revisions = new Map();
    return this.allDecisions().map(({ revision, replicas, unixMillis }) => {
      revisions.set(revision, replicas);
      return { at: unixMillis, replicas: [...revisions.values()].reduce((all, value) => all + value, 0) };
    });
  }

  /** The values at a time; `null` before the first. */
  at(time) {
    let found = null;
    for (const point of this.points) {
      if (point.at > time) break;
      found = point;
    }
    return found;
  }
}
