// The unmodified socket.io-client, steered by JSON lines (lib/lines.mjs):
//   {"do":"connect","url":"http://…","path":"/socket.io/","transports":["polling","websocket"],"auth":{},"query":{},
//    "headers":{},"namespace":"/","options":{}}      options go to the client as they are
//   {"do":"emit","event":"e","args":[],"ack":true,"timeout":5000,"volatile":false}
//   {"do":"auth","auth":{}}       what the next connect sends        {"do":"connect_again"}
//   {"do":"disconnect"}           as the application does it         {"do":"drop"}   as a broken network does it
//   {"do":"status"}               {"on":"status","connected":…,"id":…,"transport":…}
// One process may hold several sockets: "as":"name" in a command, and in the lines of that socket; those of one url
// share a connection, as the client does it.
import { io } from "socket.io-client";
import { decode, encode, obey, say } from "../lib/lines.mjs";

// Quick, so that tests need not wait, and without chance.
const DELAYS = { reconnectionDelay: 50, reconnectionDelayMax: 200, randomizationFactor: 0 };

const clients = new Map();

class Client {
  constructor(name, command) {
    this.name = name;
    this.auth = command.auth ?? {};
    this.acks = 0;
    this.url = new URL(command.url);
    this.socket = io(this.url.origin + (command.namespace ?? "/"), {
      path: command.path ?? "/socket.io/",
      transports: command.transports ?? ["polling", "websocket"],
      query: command.query,
      extraHeaders: command.headers,
      auth: (send) => send(this.auth),
      ...DELAYS,
      ...command.options,
      autoConnect: false,
    });
    this.watchConnection();
    this.watchSocket();
    this.socket.connect();
  }

  say(line) {
    say(this.name ? { ...line, as: this.name } : line);
  }

  watchConnection() {
    const manager = this.socket.io;
    const watch = () => manager.engine.on("upgrade", ({ name }) => this.say({ on: "upgrade", transport: name }));
    manager.on("open", watch);
    if (manager.engine?.readyState === "open") watch();
    manager.on("reconnect_attempt", (attempt) => this.say({ on: "reconnect_attempt", attempt }));
    manager.on("reconnect_failed", () => this.say({ on: "reconnect_failed" }));
    manager.on("ping", () => this.say({ on: "ping" }));
  }

  watchSocket() {
    const { socket } = this;
    socket.on("connect", () => {
      this.say({ on: "connect", id: socket.id, recovered: Boolean(socket.recovered), transport: this.transport() });
    });
    socket.on("connect_error", (error) => {
      this.say({ on: "connect_error", message: error.message, data: error.data ?? null, again: socket.active });
    });
    socket.on("disconnect", (reason) => this.say({ on: "disconnect", reason, again: socket.active }));
    socket.onAny((event, ...args) => this.say({ on: "event", event, args: encode(args) }));
  }

  transport() {
    return this.socket.io.engine?.transport?.name ?? null;
  }

  emit({ event, args = [], ack = false, timeout = 5000, volatile = false }) {
    const way = volatile ? this.socket.volatile : this.socket;
    if (!ack) {
      way.emit(event, ...decode(args));
      return;
    }
    this.acks += 1;
    const n = this.acks;
    way.timeout(timeout).emit(event, ...decode(args), (error, ...answer) => {
      this.say(error ? { on: "ack", n, error: error.message } : { on: "ack", n, args: encode(answer) });
    });
  }

  // Resets the connections to the server below everything that the client knows of, until it has noticed: between two polls there is
  // none to reset.
  drop(engine = this.socket.io.engine) {
    const port = Number(this.url.port);
    for (const handle of process._getActiveHandles()) {
      if (handle.remotePort === port && handle.resetAndDestroy) handle.resetAndDestroy();
    }
    if (engine?.readyState === "open") setImmediate(() => this.drop(engine));
  }
}

function named(command) {
  const client = clients.get(command.as ?? "");
  if (!client) throw new Error("connect first");
  return client;
}

await obey({
  connect(command) {
    const name = command.as ?? "";
    clients.get(name)?.socket.disconnect();
    clients.set(name, new Client(name, command));
  },
  emit: (command) => named(command).emit(command),
  auth: (command) => (named(command).auth = command.auth),
  disconnect: (command) => named(command).socket.disconnect(),
  connect_again: (command) => named(command).socket.connect(),
  drop: (command) => named(command).drop(),
  status(command) {
    const client = named(command);
    const { connected, id = null } = client.socket;
    client.say({ on: "status", connected, id, transport: client.transport() });
  },
});
