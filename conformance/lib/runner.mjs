// Runs the cases of a suite one after the other: a line per case, the sum at the end, exit code 0 or 1.
import { setTimeout as sleep } from "node:timers/promises";

// The longest case waits two seconds by itself.
const CASE_MS = 8000;
const cases = [];

// `stricter` says why the reference server does otherwise, when it does.
export const test = (name, body, { stricter } = {}) => cases.push({ name, body, stricter });
export { sleep };

// The address of the server under test, without a slash at its end; words after it choose cases by name. With
// --reference the cases that are stricter than the reference server are named and left out.
const lenient = process.argv.includes("--reference");
const [address, ...words] = process.argv.slice(2).filter((word) => word !== "--reference");
if (!address) {
  console.error("usage: suite.mjs http://127.0.0.1:PORT [--reference] [word ...]");
  process.exit(2);
}
export const base = address.replace(/\/$/, "");

// What the server must have been told, in milliseconds and bytes.
export const PING_INTERVAL = 300;
export const PING_TIMEOUT = 200;
export const MAX_PAYLOAD = 1_000_000;
export const CONNECT_TIMEOUT = 1000;

const open = new Set();

// Whatever is given here is closed when its case ends, well or not.
export function closing(thing) {
  open.add(thing);
  return thing;
}

async function attempt(body) {
  const limit = new AbortController();
  const late = sleep(CASE_MS, undefined, { signal: limit.signal }).then(
    () => Promise.reject(new Error(`no end after ${CASE_MS} ms`)),
    () => {},
  );
  try {
    await Promise.race([body(), late]);
  } finally {
    limit.abort();
    for (const thing of open) thing.close();
    open.clear();
  }
}

export async function run() {
  const named = cases.filter(({ name }) => words.every((word) => name.includes(word)));
  const chosen = named.filter(({ stricter }) => !(lenient && stricter));
  for (const { name, stricter } of named.filter((one) => !chosen.includes(one))) {
    console.log(`apart   ${name} (reference: ${stricter})`);
  }
  let failed = 0;
  for (const { name, body } of chosen) {
    try {
      await attempt(body);
      console.log(`ok      ${name}`);
    } catch (error) {
      failed += 1;
      console.log(`FAILED  ${name}\n        ${String(error.message ?? error).replaceAll("\n", "\n        ")}`);
    }
  }
  console.log(`${chosen.length - failed} passed, ${failed} failed`);
  process.exit(failed || !chosen.length ? 1 : 0);
}

// Tries until the condition holds; its last value is given back.
export async function eventually(look, holds, ms = 2000) {
  const end = Date.now() + ms;
  for (;;) {
    const value = await look();
    if (holds(value)) return value;
    if (Date.now() > end) throw new Error(`not within ${ms} ms; last seen: ${JSON.stringify(value)}`);
    await sleep(10);
  }
}
