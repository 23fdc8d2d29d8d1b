#!/usr/bin/env bash
# A line of Server-Sent Events ends at CR, LF or CRLF and nowhere else; JSON may hold U+2028 and U+0085 as they are. We guessed that
# SSE libraries of Python split at these three only. aiosseclient 0.1.8 splits as Python splits text, so the data of such a row ends
# in the middle of a string; three others keep it.
. "$(dirname "$0")/lib.sh"
with_pip aiosseclient==0.1.8 httpx==0.28.1 httpx-sse==0.4.3 sseclient-py==1.9.0 requests==2.32.5

cat >server.py <<'PY'
import http.server
class Handler(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        self.send_response(200)
        self.send_header("Content-Type", "text/event-stream")
        self.end_headers()
        self.wfile.write('data: {"a":"x\u2028y"}\n\ndata: {"a":"x\u0085y"}\n\n'.encode())
    def log_message(self, *_):
        pass
server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
print(server.server_port, flush=True)
server.serve_forever()
PY
venv/bin/python server.py >port & server=$!
until [ -s port ]; do read -r -t 0.1 _ <> <(:) || true; done
export URL="http://127.0.0.1:$(cat port)/"

cat >clients.py <<'PY'
import asyncio, os, json, sys
import httpx, httpx_sse, requests, sseclient
from aiosseclient import aiosseclient
url = os.environ["URL"]
async def aio():
    seen = []
    async for event in aiosseclient(url):
        seen.append(event.data)
        if len(seen) == 2:
            break
    return seen
def with_httpx():
    with httpx.Client() as client, httpx_sse.connect_sse(client, "GET", url) as source:
        return [event.data for event in source.iter_sse()]
def with_requests():
    return [event.data for event in sseclient.SSEClient(requests.get(url, stream=True)).events()]
print("aiosseclient 0.1.8:", *map(json.dumps, asyncio.run(aio())))
print("httpx-sse 0.4.3:", *map(json.dumps, with_httpx()))
print("sseclient-py 1.9.0:", *map(json.dumps, with_requests()))
PY
whole='"{\"a\":\"x\u2028y\"}" "{\"a\":\"x\u0085y\"}"'
expect "aiosseclient 0.1.8: \"{\\\"a\\\":\\\"x\" \"{\\\"a\\\":\\\"x\"
httpx-sse 0.4.3: $whole
sseclient-py 1.9.0: $whole" python clients.py 2>/dev/null
