#!/usr/bin/env bash
# A server of Centrifuge's protocol ends a client for good with a close code from 3500 on; we guessed that the code decides, as the ranges of
# its documentation say. With centrifuge 5.8.0 the range is looked at only where the close has a reason: the same code with an empty reason
# brings the client back, again and again. A refused token would be asked for by every client until it gives up its page.
. "$(dirname "$0")/lib.sh"
with_npm centrifuge@5.8.0 ws@8.23.0
cat >close.mjs <<'JS'
import { Centrifuge } from "centrifuge";
import WebSocket, { WebSocketServer } from "ws";
async function connectsTo(reason) {
  const server = new WebSocketServer({ port: 0 });
  let connections = 0;
  const ended = new Promise((resolve) => {
    server.on("connection", (socket) => {
      connections += 1;
      if (connections === 3) resolve("comes back");
      socket.on("message", () => socket.close(3500, reason));
    });
    const client = new Centrifuge(`ws://127.0.0.1:${server.address().port}`, { websocket: WebSocket, minReconnectDelay: 5, maxReconnectDelay: 20 });
    client.on("disconnected", ({ code, reason }) => resolve(`is disconnected: ${code} ${reason}`));
    client.connect();
  });
  return await ended;
}
console.log("3500 with a reason:", await connectsTo("invalid token"));
console.log("3500 without a reason:", await connectsTo(""));
process.exit(0);
JS
expect '3500 with a reason: is disconnected: 3500 invalid token
3500 without a reason: comes back' node close.mjs
