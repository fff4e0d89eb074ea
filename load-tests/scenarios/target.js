// What all scenarios share: whom to ask, how to ask, what to count, and what is written at the end.
import http from 'k6/http';
import { check } from 'k6';
import { Counter, Trend } from 'k6/metrics';

const URL = (__ENV.URL || 'http://127.0.0.1:8080').replace(/\/$/, '');
const HOST = __ENV.HOST || 'hello.default.localhost';
const PATH = __ENV.REQUEST_PATH || '/';
// Functions that {n} in the host stands for: 1 to COUNT.
export const COUNT = Number(__ENV.COUNT || 1);

// Milliseconds, by what Server-Timing says: a request that waited for a start is cold.
const cold = new Trend('cold', true);
const warm = new Trend('warm', true);
const started = new Trend('cold_start', true);
const queued = new Trend('queue', true);
const failures = new Counter('failures');

// Failures that each of the users of a run tells of.
const TOLD_MAX = 3;
let told = 0;

// One request to function `n`, counted under `phase`.
export function ask(n, phase) {
  const host = HOST.replace('{n}', n);
  // Without `name` each of thousands of hosts would be a series of its own.
  const tags = { phase, name: HOST };
  const answer = http.get(URL + PATH, { headers: { Host: host }, tags, timeout: '60s' });
  const good = check(answer, { 'status is 200': (r) => r.status === 200 }, tags);
  if (!good) {
    failures.add(1, tags);
    told += 1;
    if (told <= TOLD_MAX) console.error(`${host}: ${answer.status || answer.error} ${answer.body || ''}`.trim());
    return answer;
  }
  const start = timing(answer, 'start');
  queued.add(timing(answer, 'queue') || 0, tags);
  if (start > 0) {
    cold.add(answer.timings.duration + answer.timings.blocked + answer.timings.connecting, tags);
    started.add(start, tags);
  } else {
    warm.add(answer.timings.duration, tags);
  }
  return answer;
}

export function wasCold(answer) {
  return timing(answer, 'start') > 0;
}

function timing(answer, metric) {
  const header = answer.headers['Server-Timing'] || '';
  const entry = header.split(',').map((part) => part.trim()).find((part) => part.startsWith(`${metric};dur=`));
  return entry === undefined ? undefined : Number(entry.split('=')[1]);
}

// Bars as the user gave them, in milliseconds; a run that misses one ends with a code that is not 0. No failure is
// allowed unless FAILURES says how many.
export function thresholds(phases) {
  const limits = { failures: [`count<=${Number(__ENV.FAILURES || 0)}`] };
  const bar = (metric, percentile, value) => {
    if (value) (limits[metric] = limits[metric] || []).push(`p(${percentile})<=${Number(value)}`);
  };
  bar('cold', 50, __ENV.COLD_P50);
  bar('cold', 99, __ENV.COLD_P99);
  bar('warm', 50, __ENV.WARM_P50);
  bar('warm', 99, __ENV.WARM_P99);
  bar('http_req_duration', 99, __ENV.P99);
  // A series is kept for a phase only when something asks for it; this asks for nothing.
  for (const phase of phases) {
    for (const metric of ['cold', 'warm']) limits[`${metric}{phase:${phase}}`] = ['p(50)>=0'];
  }
  return limits;
}

export const percentiles = ['count', 'min', 'p(50)', 'p(90)', 'p(99)', 'max'];

// The table of a run: on the terminal, as JSON, and above the plots of the report.
export function summarize(name, data) {
  const rows = [];
  for (const [metric, value] of Object.entries(data.metrics)) {
    const wanted = /^(cold|warm|cold_start|queue)(\{|$)/.test(metric);
    if (wanted && value.values.count > 0) {
      rows.push([metric].concat(percentiles.map((p) => value.values[p])));
    }
  }
  rows.sort((a, b) => (a[0] < b[0] ? -1 : 1));
  const failed = data.metrics.failures ? data.metrics.failures.values.count : 0;
  const total = data.metrics.http_reqs ? data.metrics.http_reqs.values.count : 0;
  const missed = [];
  for (const [metric, value] of Object.entries(data.metrics)) {
    for (const [threshold, result] of Object.entries(value.thresholds || {})) {
      if (!result.ok) missed.push(`${metric}: ${threshold}`);
    }
  }
  const summary = { scenario: name, url: URL, host: HOST, requests: total, failures: failed, missed, percentiles, rows };
  const text = table(summary);
  return { stdout: text, [__ENV.SUMMARY || 'summary.json']: `${JSON.stringify(summary, null, 2)}\n` };
}

function table(summary) {
  const width = 28;
  const cell = (value) => (Number.isInteger(value) ? `${value}` : value.toFixed(2)).padStart(10);
  const head = 'milliseconds'.padEnd(width) + summary.percentiles.map((p) => p.padStart(10)).join('');
  const lines = summary.rows.map((row) => row[0].padEnd(width) + row.slice(1).map(cell).join(''));
  const verdict = summary.missed.length ? [`missed: ${summary.missed.join(', ')}`] : ['all bars reached'];
  const requests = `${summary.requests} requests, ${summary.failures} failed`;
  return [`\n${summary.scenario}: ${requests}`, head, ...lines, ...verdict, ''].join('\n');
}
