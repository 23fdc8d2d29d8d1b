#!/usr/bin/env bash
# A block of a Server-Sent Events stream that has an `id:` and no `data:` moves the last event id and is not an event: the HTML
# standard says that it is not dispatched, and browsers do not. We guessed that libraries follow. Three of five call the
# application all the same, with empty data, so that a JSON parser fails at each keep-alive of a server that uses such blocks.
. "$(dirname "$0")/lib.sh"
with_npm eventsource@4.1.1 eventsource-parser@3.0.6 @microsoft/fetch-event-source@2.0.1
with_pip httpx==0.28.1 httpx-sse==0.4.3 aiosseclient==0.1.8

cat >server.py <<'PY'
import http.server
BODY = b'id: 1\nevent: insert\ndata: {"a":1}\n\nid: 2\n\nid: 3\nevent: insert\ndata: {"a":2}\n\n'
class Handler(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        self.send_response(200)
        self.send_header("Content-Type", "text/event-stream")
        self.end_headers()
        self.wfile.write(BODY)
    def log_message(self, *_):
        pass
server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
print(server.server_port, flush=True)
server.serve_forever()
PY
venv/bin/python server.py >port & server=$!
until [ -s port ]; do read -r -t 0.1 _ <> <(:) || true; done
export URL="http://127.0.0.1:$(cat port)/"

cat >eventsource.mjs <<'JS'
import { EventSource } from "eventsource";
const seen = [];
const source = new EventSource(process.env.URL);
source.onmessage = (event) => seen.push(JSON.stringify(event.data));
source.addEventListener("insert", (event) => seen.push(JSON.stringify(event.data)));
source.onerror = () => { source.close(); console.log("eventsource 4.1.1:", seen.join(" ")); };
JS
cat >parser.mjs <<'JS'
import { createParser } from "eventsource-parser";
const seen = [];
const parser = createParser({ onEvent: (event) => seen.push(JSON.stringify(event.data)) });
parser.feed(await (await fetch(process.env.URL)).text());
console.log("eventsource-parser 3.0.6:", seen.join(" "));
JS
cat >fetch.mjs <<'JS'
globalThis.document = { hidden: false, addEventListener() {}, removeEventListener() {} };
globalThis.window = globalThis;
const { fetchEventSource } = await import("@microsoft/fetch-event-source");
const seen = [];
await fetchEventSource(process.env.URL, { openWhenHidden: true, onmessage: (event) => { seen.push(JSON.stringify(event.data)); } });
console.log("@microsoft/fetch-event-source 2.0.1:", seen.join(" "));
process.exit(0);
JS
cat >httpx_.py <<'PY'
import os, json, httpx, httpx_sse
with httpx.Client() as client, httpx_sse.connect_sse(client, "GET", os.environ["URL"]) as source:
    print("httpx-sse 0.4.3:", *(json.dumps(event.data) for event in source.iter_sse()))
PY
cat >aio.py <<'PY'
import asyncio, os, json
from aiosseclient import aiosseclient
async def main():
    seen = []
    async for event in aiosseclient(os.environ["URL"]):
        seen.append(json.dumps(event.data))
        if event.id == "3":
            break
    print("aiosseclient 0.1.8:", *seen)
asyncio.run(main())
PY
two='"{\"a\":1}" "{\"a\":2}"'
three='"{\"a\":1}" "" "{\"a\":2}"'
expect "eventsource 4.1.1: $two" node eventsource.mjs
expect "eventsource-parser 3.0.6: $two" node parser.mjs
expect "@microsoft/fetch-event-source 2.0.1: $three" node fetch.mjs
expect "httpx-sse 0.4.3: $three" python httpx_.py
expect "aiosseclient 0.1.8: $three" python aio.py
