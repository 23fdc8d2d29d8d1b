// Socket.IO on Node: every client is in the room "bench", and what POST /api/publish brings is emitted to it as an
// event of the publish's own name.
import { createServer } from "node:http";
import { Server } from "socket.io";
import { body } from "./body.js";

const server = createServer(async (request, response) => {
  const { event = "message", data } = await body(request);
  io.to("bench").emit(event, data);
  response.end("{}");
});
server.keepAliveTimeout = 0; // Publishers are idle while others have their turn.
// A server that is saturated for long must not cut clients whose answers it has not read.
const io = new Server(server, { cors: { origin: "*" }, pingTimeout: 300_000 });
io.on("connection", (socket) => socket.join("bench"));
server.listen(0, "127.0.0.1", 8192, () => console.log(`listening on http://127.0.0.1:${server.address().port}`));
