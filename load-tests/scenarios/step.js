// A rate that jumps up and down again: low, high, low (open loop).
import exec from 'k6/execution';
import { ask, percentiles, summarize, thresholds } from './target.js';

const LOW = Number(__ENV.LOW || 10);
const HIGH = Number(__ENV.RATE || 200);
const SECONDS = Number(__ENV.PHASE || 30);
const PHASES = ['low', 'high', 'low-again'];

const phase = (name, rate, index) => ({
  executor: 'constant-arrival-rate',
  rate,
  timeUnit: '1s',
  duration: `${SECONDS}s`,
  startTime: `${SECONDS * index}s`,
  preAllocatedVUs: Math.max(10, Math.ceil(rate / 10)),
  maxVUs: Math.max(100, rate * 10),
});

export const options = {
  scenarios: { low: phase('low', LOW, 0), high: phase('high', HIGH, 1), 'low-again': phase('low-again', LOW, 2) },
  summaryTrendStats: percentiles,
  thresholds: thresholds(PHASES),
};

export default function () {
  ask(1, exec.scenario.name);
}

export function handleSummary(data) {
  return summarize('step', data);
}
