// Many functions, each asked now and then: most are at zero, some wake, some are warm still (open loop).
import { COUNT, ask, percentiles, summarize, thresholds } from './target.js';

const RATE = Number(__ENV.RATE || 20);

export const options = {
  scenarios: {
    many: {
      executor: 'constant-arrival-rate',
      rate: RATE,
      timeUnit: '1s',
      duration: __ENV.DURATION || '60s',
      preAllocatedVUs: 50,
      maxVUs: Math.max(100, RATE * 10),
    },
  },
  summaryTrendStats: percentiles,
  thresholds: thresholds([]),
};

export default function () {
  // A few are asked often, most rarely, as it is with functions: the square of a uniform number.
  ask(1 + Math.floor(COUNT * Math.random() ** 2), 'many');
}

export function handleSummary(data) {
  return summarize('many', data);
}
