// What `pregon conformance` must do, written with the official server, to check the suites and the drivers themselves:
//   node reference/server.mjs [--port PORT] [--recovery]
// Beside the behaviours of the suites: `subscribe` joins a room and acknowledges, `publish` (room, event, ...args) emits
// into one, and auth.refuse is a CONNECT_ERROR with data.
import { createServer } from "node:http";
import { parseArgs } from "node:util";
import { Server as Engine } from "engine.io";
import { Server } from "socket.io";

const { values } = parseArgs({ options: { port: { type: "string", default: "0" }, recovery: { type: "boolean" } } });
const timings = { pingInterval: 300, pingTimeout: 200, maxHttpBufferSize: 1e6, cors: { origin: "*" } };

const http = createServer((request, response) => response.writeHead(404).end());

const echo = new Engine(timings);
echo.on("connection", (socket) => socket.on("data", (data) => socket.send(data)));
echo.attach(http, { path: "/engine.io/", destroyUpgrade: false });

const io = new Server(http, {
  ...timings,
  destroyUpgrade: false,
  connectTimeout: 1000,
  connectionStateRecovery: values.recovery ? {} : undefined,
});

function serve(namespace) {
  namespace.use((socket, next) => {
    const refuse = socket.handshake.auth.refuse;
    next(refuse ? Object.assign(new Error(refuse), { data: { refuse } }) : undefined);
  });
  namespace.on("connection", (socket) => {
    socket.emit("auth", socket.handshake.auth);
    socket.on("message", (...args) => socket.emit("message-back", ...args));
    socket.on("message-with-ack", (...args) => args.pop()(...args));
    socket.on("subscribe", (room, ack) => {
      socket.join(room);
      ack({ ok: true });
    });
    socket.on("publish", (room, event, ...args) => namespace.to(room).emit(event, ...args));
  });
}

serve(io.of("/"));
serve(io.of("/custom"));
http.listen(Number(values.port), "127.0.0.1", () => {
  console.log(`listening on http://127.0.0.1:${http.address().port}`);
});
