// Many requests at once at a function at zero.
import { ask, percentiles, summarize, thresholds } from './target.js';

const REQUESTS = Number(__ENV.REQUESTS || 200);

export const options = {
  scenarios: { burst: { executor: 'per-vu-iterations', vus: REQUESTS, iterations: 1, maxDuration: '2m' } },
  summaryTrendStats: percentiles,
  thresholds: thresholds([]),
};

export default function () {
  ask(1, 'burst');
}

export function handleSummary(data) {
  return summarize('burst', data);
}
