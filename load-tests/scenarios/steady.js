// The same rate for a while, whether answers come or not (open loop).
import { COUNT, ask, percentiles, summarize, thresholds } from './target.js';

const RATE = Number(__ENV.RATE || 100);

export const options = {
  scenarios: {
    steady: {
      executor: 'constant-arrival-rate',
      rate: RATE,
      timeUnit: '1s',
      duration: __ENV.DURATION || '60s',
      preAllocatedVUs: Math.max(10, Math.ceil(RATE / 10)),
      maxVUs: Math.max(100, RATE * 10),
    },
  },
  summaryTrendStats: percentiles,
  thresholds: thresholds([]),
};

export default function () {
  ask(1 + (__ITER % COUNT), 'steady');
}

export function handleSummary(data) {
  return summarize('steady', data);
}
