// The built client in a real Chromium: following, reloads, broken networks, streams of another origin, workers.

import { readFileSync } from "node:fs";
import { join } from "node:path";
import { expect, test, vi } from "vitest";
import { serve, Tab, type Site } from "../support/chromium";
import { Gateway, SECRET } from "../support/gateway";
import { Relay } from "../support/relay";
import { token } from "../support/token";

const CONFIG = `
[server]
origins = ["*"]

[auth]
secret = "${SECRET}"

[[channel]]
name = "news"

[[channel]]
name = "room_{id}"
subscribe = "channel.id in claims.rooms"
publish = "true"
`;
const patiently = { timeout: 15_000, interval: 50 };
const TOKEN = token({ sub: 1, rooms: ["a"] });

/** A page that follows \`news\` and \`room_a\` and shows what it hears. */
const page = (url: string, present: string) => `<!doctype html><script type="module">
  import { createClient } from "/client/index.js";
  const client = globalThis.client = createClient({ url: ${JSON.stringify(url)}, token: ${JSON.stringify(present)}, backoff: { min: 50, max: 200 } });
  globalThis.heard = [];
  globalThis.gaps = [];
  client.on("error", (error) => (globalThis.failed = error.code));
  for (const name of ["news", "room_a"]) {
    client.channel(name).on("*", (data, { replayed }) => heard.push([data, !!replayed]));
    client.channel(name).on("gap", (gap) => gaps.push(gap));
  }
</script>`;

const worker = (url: string) => `
  import { createClient } from "/client/index.js";
  const news = createClient({ url: ${JSON.stringify(url)}, token: ${JSON.stringify(TOKEN)} }).channel("news");
  news.on("n", (data) => postMessage(data));
  news.ready().then(() => postMessage("ready"));
`;

const dist = join(import.meta.dirname, "../../packages/client/dist");

function site(url: string, present = TOKEN): Site {
  return (path) => {
    if (path === "/") return { type: "text/html", text: page(url, present) };
    if (path === "/worker.js") return { type: "text/javascript", text: worker(url) };
    const [, file] = path.match(/^\/client\/(\w+\.js)$/) ?? [];
    return file ? { type: "text/javascript", text: readFileSync(join(dist, file), "utf8") } : undefined;
  };
}

async function opened(present?: string) {
  const gateway = await Gateway.start(CONFIG);
  const relay = await Relay.to(gateway.port);
  const [tab, address] = [await Tab.open(), await serve(site(relay.url, present))];
  const followed = () => tab.value(`Promise.all(["news", "room_a"].map((name) => client.channel(name).ready()))`);
  const hears = (expected: unknown[]) => vi.waitFor(async () => expect(await tab.value("heard")).toEqual(expected), patiently);
  const shows = () => vi.waitFor(async () => expect(await tab.value("typeof client")).toBe("object"), patiently);
  return { gateway, relay, tab, address, followed, hears, shows };
}

test("a page follows, survives cuts, and a reload brings what it missed", async () => {
  const { gateway, relay, tab, address, followed, hears, shows } = await opened();
  await tab.goto(address);
  await shows();
  await followed();
  await gateway.publish("news", "n", 1);
  await tab.value(`client.channel("room_a").publish("n", 2)`);
  await hears([
    [1, false],
    [2, false],
  ]);
  relay.down = true;
  relay.cut();
  await gateway.publish("room_a", "n", 3);
  relay.down = false;
  await hears([
    [1, false],
    [2, false],
    [3, true],
  ]);
  // The page that goes away says its position to the storage of its tab.
  await tab.goto("about:blank");
  await vi.waitFor(async () => expect(await tab.value("typeof client")).toBe("undefined"), patiently);
  await gateway.publish("news", "n", 4);
  await tab.goto(address);
  await shows();
  await hears([[4, true]]);
  expect(await tab.value("gaps")).toEqual([]);
  expect(tab.errors).toEqual([]);
});

test("where no WebSocket comes through, a stream of another origin does", async () => {
  const { gateway, relay, tab, address, followed, hears, shows } = await opened();
  relay.blocksWebSockets = true;
  await tab.goto(address);
  await shows();
  await followed();
  await gateway.publish("room_a", "n", 1);
  await hears([[1, false]]);
  relay.cut();
  await gateway.publish("news", "n", 2);
  await vi.waitFor(async () => expect((await tab.value("heard")).map(([data]: [number]) => data)).toEqual([1, 2]), patiently);
  expect(tab.errors).toEqual([]);
});

test("a bad token is seen as one", async () => {
  const { tab, address, shows, relay } = await opened("bad.token.here");
  await tab.goto(address);
  await shows();
  await vi.waitFor(async () => expect(await tab.value("client.status")).toBe("denied"), patiently);
  expect([await tab.value("failed"), relay.webSockets]).toEqual([3500, 1]);
});

test("a worker follows as a page does", async () => {
  const { gateway, tab, address, shows } = await opened();
  await tab.goto(address);
  await shows();
  await tab.value(
    `globalThis.words = []; new Worker("/worker.js", { type: "module" }).onmessage = ({ data }) => words.push(data); 0`,
  );
  await vi.waitFor(async () => expect(await tab.value("words")).toEqual(["ready"]), patiently);
  await gateway.publish("news", "n", 7);
  await vi.waitFor(async () => expect(await tab.value("words")).toEqual(["ready", 7]), patiently);
});
