#!/usr/bin/env bash
# A server that is being replaced answers 503 with `Retry-After: 5` for a moment. The HTML standard lets EventSource give up for good at any answer
# that is not 200, and browsers do; we guessed that the libraries that people take for their reconnecting come back. Two of six give up as the
# standard says, four ask again, and none of them looks at Retry-After: each comes back at its own pace.
. "$(dirname "$0")/lib.sh"
with_npm eventsource@5.1.5 event-source-polyfill@1.0.31 @microsoft/fetch-event-source@2.0.1 reconnecting-eventsource@1.6.5 launchdarkly-eventsource@2.2.0 eventsource-client@1.2.0
cat >test.mjs <<'JS'
import http from "node:http";
const asked = new Map();
const server = http.createServer((request, response) => {
  const times = asked.get(request.url) ?? asked.set(request.url, []).get(request.url);
  times.push(Date.now());
  if (times.length === 1) return response.writeHead(503, { "Retry-After": "5", "Content-Type": "text/plain" }).end("later\n");
  response.writeHead(200, { "Content-Type": "text/event-stream" }).write("data: hola\n\n");
});
await new Promise((resolve) => server.listen(0, "127.0.0.1", resolve));
const base = `http://127.0.0.1:${server.address().port}`;

const { EventSource } = await import("eventsource");
const { EventSourcePolyfill } = await import("event-source-polyfill");
const LaunchDarkly = await import("launchdarkly-eventsource");
const { createEventSource } = await import("eventsource-client");
globalThis.EventSource = EventSource;
const Reconnecting = (await import("reconnecting-eventsource")).default;
globalThis.document = { hidden: false, addEventListener() {}, removeEventListener() {} };
globalThis.window = globalThis;
const { fetchEventSource } = await import("@microsoft/fetch-event-source");

const closedOrEvent = (open) => (url) =>
  new Promise((resolve) => {
    const source = open(url);
    source.onmessage = () => resolve("asked again");
    source.onerror = () => source.readyState === 2 && setTimeout(() => resolve(asked.get(new URL(url).pathname).length > 1 ? "asked again" : "gave up"), 8000);
  });
const libraries = {
  "eventsource 5.1.5": closedOrEvent((url) => new EventSource(url)),
  "event-source-polyfill 1.0.31": closedOrEvent((url) => new EventSourcePolyfill(url)),
  "@microsoft/fetch-event-source 2.0.1": (url) =>
    new Promise((resolve) => fetchEventSource(url, { openWhenHidden: true, onmessage: () => resolve("asked again") }).catch(() => resolve("gave up"))),
  "reconnecting-eventsource 1.6.5": closedOrEvent((url) => new Reconnecting(url)),
  "launchdarkly-eventsource 2.2.0": closedOrEvent((url) => new (LaunchDarkly.EventSource ?? LaunchDarkly.default.EventSource)(url)),
  "eventsource-client 1.2.0": (url) => new Promise((resolve) => createEventSource({ url, onMessage: () => resolve("asked again") })),
};
console.error = console.warn = () => {};
const results = await Promise.all(Object.entries(libraries).map(async ([name, run], index) => [name, `/${index}`, await Promise.race([run(`${base}/${index}`), new Promise((resolve) => setTimeout(() => resolve("gave up"), 12000))])]));
for (const [name, path, result] of results) {
  const [first, second] = asked.get(path);
  console.log(`${name}: ${result}${second && second - first < 4900 ? ", before the five seconds" : ""}`);
}
process.exit(0);
JS
expect 'eventsource 5.1.5: gave up
event-source-polyfill 1.0.31: gave up
@microsoft/fetch-event-source 2.0.1: asked again, before the five seconds
reconnecting-eventsource 1.6.5: asked again, before the five seconds
launchdarkly-eventsource 2.2.0: asked again, before the five seconds
eventsource-client 1.2.0: asked again, before the five seconds' node test.mjs
