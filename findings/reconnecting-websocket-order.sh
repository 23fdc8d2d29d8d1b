#!/usr/bin/env bash
# Two libraries keep a browser's WebSocket open across breaks. We guessed that `onopen` comes first on the new connection, because
# applications authenticate and subscribe there. Whatever was sent while the connection was away goes out before it, and so before
# the token. Both come back after every close code, and tell a refused upgrade (401) as a clean end, code 1000.
. "$(dirname "$0")/lib.sh"
with_npm reconnecting-websocket@4.4.0 partysocket@1.3.0 ws@8.23.0
cat >order.mjs <<'JS'
import { createServer } from "node:http";
import WebSocket, { WebSocketServer } from "ws";
const [library, version] = process.argv.slice(2);
const Reconnecting = (await import(library)).default;
const seen = [];
const server = createServer();
const sockets = new WebSocketServer({ noServer: true });
let connection = 0;
server.on("upgrade", (request, socket, head) => {
  connection += 1;
  const number = connection;
  if (number === 3) return socket.end("HTTP/1.1 401 Unauthorized\r\nConnection: close\r\n\r\n");
  sockets.handleUpgrade(request, socket, head, (peer) => {
    peer.on("message", (message) => {
      seen.push(`${number}:${message}`);
      if (String(message) === "token") peer.close(number === 1 ? 4001 : 1008, "refused");
    });
  });
});
server.listen(0, "127.0.0.1", () => {
  const client = new Reconnecting(`ws://127.0.0.1:${server.address().port}/`, [], {
    WebSocket, minReconnectionDelay: 20, maxReconnectionDelay: 40,
  });
  client.onopen = () => client.send("token");
  client.onclose = ({ code }) => {
    seen.push(`close ${code}`);
    if (connection === 1) client.send("subscribe");
    if (connection === 3) { console.log(`${library} ${version}: ${seen.join(", ")}`); process.exit(0); }
  };
});
JS
expect "reconnecting-websocket 4.4.0: 1:token, close 4001, 2:subscribe, 2:token, close 1008, close 1000" node order.mjs reconnecting-websocket 4.4.0
expect "partysocket/ws 1.3.0: 1:token, close 4001, 2:subscribe, 2:token, close 1008, close 1000" node order.mjs partysocket/ws 1.3.0
