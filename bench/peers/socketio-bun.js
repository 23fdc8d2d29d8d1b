// Socket.IO on bun with its own engine: as socketio.js.
import { Server as Engine } from "@socket.io/bun-engine";
import { Server } from "socket.io";

const io = new Server();
// A server that is saturated for long must not cut clients whose answers it has not read.
const engine = new Engine({ path: "/socket.io/", cors: { origin: "*" }, pingTimeout: 300_000 });
io.bind(engine);
io.on("connection", (socket) => socket.join("bench"));

const server = Bun.serve({
  ...engine.handler(),
  hostname: "127.0.0.1",
  port: 0,
  async fetch(request, server) {
    if (new URL(request.url).pathname === "/socket.io/") return engine.handleRequest(request, server);
    const { event = "message", data } = await request.json();
    io.to("bench").emit(event, data);
    return new Response("{}");
  },
});
console.log(`listening on http://127.0.0.1:${server.port}`);
