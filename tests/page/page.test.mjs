// What a person sees on the status page while functions wake, work and rest. Started by run.sh.

import assert from "node:assert/strict";
import { spawn } from "node:child_process";
import { mkdirSync, openSync, readFileSync, writeFileSync } from "node:fs";
import http from "node:http";
import { createRequire } from "node:module";
import net from "node:net";
import path from "node:path";
import { after, before, test } from "node:test";

const { PLAYWRIGHT_FOLDER, CHROMIUM, WISP, FOLDER } = process.env;
const { chromium } = createRequire(`${PLAYWRIGHT_FOLDER}/`)("playwright-core");

// Generous: a busy machine compiles components and starts a browser meanwhile.
const DEADLINE_MS = 60_000;
// Chromium's own services call home unless told otherwise.
const QUIET = ["--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-background-networking",
  "--disable-component-update", "--disable-sync"];
// Long enough to see an instance, short enough to see it go.
const IDLE = "3s";

let up;
let browser;
let page;
let ports;
const complaints = [];
const strangers = [];

before(async () => {
  ports = { data: await freePort(), admin: await freePort() };
  mkdirSync(path.join(FOLDER, "functions"));
  manifest("hello", "samples/prebuilt/hello.wasm");
  manifest("talker", "tests/guests/prebuilt/guests.wasm", "  capabilities: {inheritStdio: true}\n");
  manifest("broken", "tests/guests/prebuilt/core.wasm");
  const addresses = ["--listen", `127.0.0.1:${ports.data}`, "--admin", `127.0.0.1:${ports.admin}`];
  const log = path.join(FOLDER, "log");
  const written = openSync(log, "w");
  up = spawn(WISP, ["up", path.join(FOLDER, "functions"), "--state", path.join(FOLDER, "state"), ...addresses],
    { stdio: ["ignore", written, written] });
  await until("two functions are ready", async () => {
    if (up.exitCode !== null) assert.fail(`wisp up ended:\n${readFileSync(log, "utf8")}`);
    const overview = await get("127.0.0.1", ports.admin, "/api/overview").catch(() => null);
    const ready = overview && JSON.parse(overview.body).functions.filter((fn) => fn.ready === "True");
    return ready?.length === 2;
  });
  browser = await chromium.launch({ executablePath: CHROMIUM, args: QUIET });
  page = await browser.newPage({ viewport: { width: 1280, height: 1000 } });
  page.on("console", (message) => message.type() === "error" && complaints.push(message.text()));
  page.on("pageerror", (error) => complaints.push(error.message));
  page.on("request", (request) => {
    if (new URL(request.url()).host !== `127.0.0.1:${ports.admin}`) strangers.push(request.url());
  });
  await page.goto(`http://127.0.0.1:${ports.admin}/#default/hello`);
});

after(async () => {
  await browser?.close();
  if (up && up.exitCode === null) {
    up.kill("SIGTERM");
    await new Promise((resolve) => up.once("exit", resolve));
  }
});

test("all functions are listed, at zero, and a broken one says why", async () => {
  await sees("#connection", "live");
  await sees("#count-all", "3");
  await sees(`${row("hello")} .state`, "at zero");
  await sees(`${row("broken")} .state`, "NotAComponent");
  assert.match(await page.locator(`${row("broken")} .state`).getAttribute("title"), /\w+ \w+/);
  const href = await page.locator(`${row("hello")} a`).getAttribute("href");
  assert.equal(href, `http://hello.default.localhost:${ports.data}`);
});

test("a request wakes a function, and the row, the figures and the histogram tell", async () => {
  // Asked until it is seen: on a busy machine it may be idle again before the page is drawn.
  let asked = 0;
  await until("a replica that is ready", async () => {
    assert.equal((await request("hello", "/")).status, 200);
    asked += 1;
    return (await text(`${row("hello")} td:nth-child(4)`)) === "1" && (await text(`${row("hello")} .state`)) === "ready";
  });
  await sees("#total-requests", String(asked));
  await until("a bar of the histogram", () => page.locator("#starts rect").evaluateAll((bars) =>
    bars.some((bar) => Number(bar.getAttribute("height")) > 0)));
});

test("the timeline is drawn with the decision that woke the function", async () => {
  await until("a drawn line", async () => (await page.locator('[data-series="replicas"]').getAttribute("d"))?.includes("H"));
  const mark = page.locator('.mark[data-reason="Wake"]').first();
  await mark.waitFor({ state: "attached", timeout: DEADLINE_MS });
  assert.match(await mark.locator("title").textContent(), /0 → 1\nrequests wait and no instance is ready/);
  await until("the tip of the mark", async () => {
    await mark.hover({ force: true });
    return (await page.locator(".tip").textContent()).includes("requests wait");
  });
  await until("the decision in the list", async () => (await page.locator("#decisions").textContent()).includes("0 → 1"));
});

test("the arrow keys step through the decisions", async () => {
  await page.locator("#timeline").focus();
  await page.keyboard.press("ArrowLeft");
  await page.keyboard.press("ArrowLeft");
  assert.match(await page.locator("#timeline-say").textContent(), /→/);
  await page.keyboard.press("Escape");
  assert.equal(await page.locator(".tip").isVisible(), false);
});

test("instances of the chosen function are shown, and go with it to zero", async () => {
  await until("an instance", async () => {
    await request("hello", "/");
    return (await page.locator("#instances").textContent()).includes("ready");
  });
  await sees(`${row("hello")} td:nth-child(4)`, "0");
  await until("none", async () => (await page.locator("#instances").textContent()).startsWith("At zero"));
  await until("the last decision", async () => (await page.locator("#decisions").textContent()).includes("1 → 0"));
});

test("another function is chosen with the keyboard, and its log is followed", async () => {
  await page.locator("#filter").fill("talk");
  await sees("#rows-note", "1 of 3 functions");
  await page.locator(`${row("talker")} input`).press("Space");
  await sees("#detail-title", "talker");
  assert.equal((await request("talker", "/log-flood?mib=1&to=stdout")).status, 200);
  await until("log lines", async () => (await page.locator("#logs > div").count()) > 10);
  assert.ok((await page.locator("#logs > div").count()) <= 500, "the list is bounded");
  await page.locator("#filter").fill("");
});

test("it fits a phone", async () => {
  await page.setViewportSize({ width: 390, height: 800 });
  const overflow = await page.evaluate(() => document.documentElement.scrollWidth - document.documentElement.clientWidth);
  assert.equal(overflow, 0);
  assert.ok(await page.locator(`${row("hello")} a`).isVisible());
});

test("nothing was complained of and nothing came from elsewhere", () => {
  assert.deepEqual(complaints, []);
  assert.deepEqual(strangers, []);
});

function manifest(name, component, more = "") {
  const text = `apiVersion: wisp.dev/v1alpha1
kind: WasmFunction
metadata: {name: ${name}}
spec:
  component: {path: ${path.resolve(component)}}
  scaling: {idle: ${IDLE}, max: 1}
${more}`;
  writeFileSync(path.join(FOLDER, "functions", `${name}.yaml`), text);
}

const row = (name) => `tr[data-function="default/${name}"]`;

const request = (name, target) => get("127.0.0.1", ports.data, target, `${name}.default.localhost`);

const text = async (selector) => ((await page.locator(selector).textContent()) ?? "").trim();

const sees = (selector, wanted) => until(`${selector} says ${wanted}`, async () => (await text(selector)) === wanted);

/** Waits for a condition, with a deadline. */
async function until(what, holds) {
  const deadline = Date.now() + DEADLINE_MS;
  while (!(await holds())) {
    assert.ok(Date.now() < deadline, `waited in vain: ${what}`);
    await new Promise((resolve) => setTimeout(resolve, 50));
  }
}

function get(host, port, target, name = host) {
  return new Promise((resolve, reject) => {
    const headers = { host: `${name}:${port}`, connection: "close" };
    const sent = http.get({ host, port, path: target, headers }, (answer) => {
      let body = "";
      answer.setEncoding("utf8").on("data", (chunk) => (body += chunk)).on("error", reject);
      answer.on("end", () => resolve({ status: answer.statusCode, body }));
    });
    sent.on("error", reject);
  });
}

function freePort() {
  return new Promise((resolve) => {
    const server = net.createServer().listen(0, "127.0.0.1", () => {
      const { port } = server.address();
      server.close(() => resolve(port));
    });
  });
}
