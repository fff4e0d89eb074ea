// From zero, one at a time: each function is asked once; with one function, it is asked again when it has gone to zero.
import { sleep } from 'k6';
import { Counter } from 'k6/metrics';
import { COUNT, ask, percentiles, summarize, thresholds, wasCold } from './target.js';

const STARTS = Number(__ENV.STARTS || 100);
// Seconds after which a function of one's own is at zero: its `scaling.idle`, and time to get there.
const REST = Number(__ENV.REST || 33);
// Seconds between two functions: so that what was taken from a pool of warm instances is there again.
const PAUSE = Number(__ENV.PAUSE || 0);
const notFromZero = new Counter('not_from_zero');

export const options = {
  scenarios: { starts: { executor: 'shared-iterations', vus: 1, iterations: STARTS, maxDuration: '2h' } },
  // A client that is there already says nothing of a new one.
  noConnectionReuse: true,
  summaryTrendStats: percentiles,
  thresholds: Object.assign(thresholds([]), { not_from_zero: ['count==0'] }),
};

export default function () {
  const answer = ask(1 + (__ITER % COUNT), 'from-zero');
  if (answer.status === 200 && !wasCold(answer)) notFromZero.add(1);
  sleep(PAUSE);
  if (COUNT < STARTS && (__ITER + 1) % COUNT === 0) sleep(REST);
}

export function handleSummary(data) {
  return summarize('from-zero', data);
}
