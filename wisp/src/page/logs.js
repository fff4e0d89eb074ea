// The live tail of one function's logs.

import { byId, make } from "./dom.js";
import { clock } from "./words.js";

const TAIL = 200;
// More would make the page slow, and nobody scrolls that far: `wisp logs` has the rest.
const LINES_MAX = 500;
const RETRY_MS = 2000;

export class Logs {
  constructor() {
    this.box = byId("logs");
    this.ending = null;
    this.pending = [];
  }

  /** Follows the logs behind `path`; `null` stops. */
  follow(path) {
    this.ending?.abort();
    this.ending = null;
    this.pending = [];
    if (path === null) return;
    this.ending = new AbortController();
    this.run(path, this.ending.signal);
  }

  async run(path, signal) {
    while (!signal.aborted) {
      try {
        await this.read(path, signal);
      } catch {
        // Gone or ended; the badge on top says when nobody answers at all.
      }
      await new Promise((resolve) => setTimeout(resolve, RETRY_MS));
    }
  }

  async read(path, signal) {
    const response = await fetch(`${path}/logs?tail=${TAIL}&follow=true`, { signal });
    if (!response.ok) return;
    // Each connection begins with the tail.
    this.box.replaceChildren();
    this.pending = [];
    const reader = response.body.pipeThrough(new TextDecoderStream()).getReader();
    let rest = "";
    for (;;) {
      const { value, done } = await reader.read();
      if (done || signal.aborted) return;
      const lines = (rest + value).split("\n");
      rest = lines.pop();
      this.add(lines.filter(Boolean).map((line) => JSON.parse(line)));
    }
  }

  /** A guest may write much faster than a page is drawn. */
  add(lines) {
    if (this.pending.length === 0 && lines.length > 0) requestAnimationFrame(() => this.draw());
    this.pending = [...this.pending, ...lines].slice(-LINES_MAX);
  }

  draw() {
    const atEnd = this.box.scrollTop + this.box.clientHeight >= this.box.scrollHeight - 4;
    this.box.append(...this.pending.map(lineOf));
    this.pending = [];
    while (this.box.childElementCount > LINES_MAX) this.box.firstElementChild.remove();
    if (atEnd) this.box.scrollTop = this.box.scrollHeight;
  }
}

function lineOf({ unixMillis, instance, revision, stream, text }) {
  const who = make("span", "who", `${clock(unixMillis)} ${instance}`);
  who.title = revision;
  return make("div", stream === "stderr" ? "stderr" : "", who, text);
}
