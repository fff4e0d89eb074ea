// Numbers, times and reasons as people read them.

const REASONS = {
  Stable: "the average over the stable window asks for it",
  Panic: "a burst: the panic window asks for it, or did lately",
  RateUp: "the averages ask for more than one step may rise",
  RateDown: "the averages ask for less than one step may fall",
  Wake: "requests wait and no instance is ready",
  QueueGrowth: "requests wait for longer than a start takes",
  QueueHold: "the queue asked for it a moment ago",
  Demand: "there is demand, too little to show in the averages",
  IdleWait: "no demand, but not for the idle time",
  Idle: "no demand for the idle time",
  Activation: "a number above zero is at least the activation scale",
  Initial: "a new revision starts with this many",
  Inherited: "so many were there when wisp up started",
  ScaleDownDelay: "more was wanted within the scale-down delay",
  OutOfTouch: "nobody asks, but somebody who might is silent",
  AtMin: "the least that scaling.min or a schedule allows",
  AtMax: "the most that scaling.max allows",
  Lacking: "a Secret or ConfigMap is missing: no more than there are",
};

export const reason = (word) => REASONS[word] ?? word;

export const count = (value) => Number(value).toLocaleString("en");

export const clock = (unixMillis) => new Date(unixMillis).toLocaleTimeString("en-GB");

/** A span in one unit. */
export function span(millis) {
  if (millis < 1) return `${trim(millis)} ms`;
  if (millis < 1000) return `${trim(millis)} ms`;
  if (millis < 120_000) return `${trim(millis / 1000)} s`;
  if (millis < 7_200_000) return `${Math.floor(millis / 60_000)} min`;
  if (millis < 172_800_000) return `${Math.floor(millis / 3_600_000)} h`;
  return `${Math.floor(millis / 86_400_000)} d`;
}

const trim = (value) => (value < 10 ? String(Math.round(value * 10) / 10) : String(Math.round(value)));

/** How a function is, as a word and a class. */
export function state(fn) {
  if (fn.ready === "False") return { word: fn.reason, tone: "state bad" };
  if (fn.ready === "Unknown") return { word: fn.reason, tone: "state pending" };
  if (fn.replicas + fn.starting === 0) return { word: "at zero", tone: "state rest" };
  return { word: "ready", tone: "state good" };
}

/** Only web addresses become links. */
export const isWeb = (url) => /^https?:\/\//.test(url);
