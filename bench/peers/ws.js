// Node's `ws` as a hub: what POST /api/publish or a message of a socket brings goes to every socket.
import { createServer } from "node:http";
import { WebSocketServer } from "ws";

const sockets = new Set();
const server = createServer((request, response) => {
  const parts = [];
  request.on("data", (part) => parts.push(part));
  request.on("end", () => {
    const payload = JSON.stringify(JSON.parse(Buffer.concat(parts)).data);
    for (const socket of sockets) socket.send(payload);
    response.end("{}");
  });
});
server.keepAliveTimeout = 0; // Publishers are idle while others have their turn.
const hub = new WebSocketServer({ server, perMessageDeflate: false });
hub.on("connection", (socket) => {
  sockets.add(socket);
  socket.on("message", (text) => {
    const payload = JSON.stringify(JSON.parse(text).data);
    for (const each of sockets) each.send(payload);
  });
  socket.on("close", () => sockets.delete(socket));
});
server.listen(0, "127.0.0.1", 8192, () => console.log(`listening on http://127.0.0.1:${server.address().port}`));
