// Records what the official emitters and adapters of Socket.IO write, as the vectors of crates/wire/tests/socketio/emitters.json.
//
//   npm install && REDIS=redis://127.0.0.1:6379 PGDSN=postgres://localhost/scratch node capture.mjs > vectors.json
//
// Needs an empty Redis and a scratch database of its own.

import { createRequire } from "module";
import pg from "pg";
import { createClient } from "redis";

const require = createRequire(import.meta.url);
const { Emitter: RedisEmitter } = require("@socket.io/redis-emitter");
const { Emitter: PostgresEmitter } = require("@socket.io/postgres-emitter");
const { createAdapter, createShardedAdapter } = require("@socket.io/redis-adapter");
const { createAdapter: createPostgresAdapter } = require("@socket.io/postgres-adapter");
const { Server } = require("socket.io");

const row = {
  id: 7, text: "ñandú 🦤", total: 10.5, none: null, yes: true,
  list: [1, -1, 300, 70000, 5000000000, -5000000000],
};
const says = {
  everyone: (io) => io.emit("hello", { a: 1 }),
  room: (io) => io.to("room1").emit("message:new", row),
  rooms_except: (io) => io.to(["a", "b"]).to("c").except("muted").except(["x", "y"]).emit("news", "one", 2, [3]),
  no_arguments: (io) => io.to("room1").emit("tick"),
  admin: (io) => io.of("/admin").to("room1").emit("hello", "you"),
  admin_everyone: (io) => io.of("admin").emit("hello", "all"),
  volatile: (io) => io.volatile.compress(false).to("room1").emit("typing", "ana"),
  binary: (io) =>
    io.to("room1").emit("file", { name: "a.bin", bytes: Buffer.from([1, 2, 3, 255]) }, new Uint8Array([9])),
  number_room: (io) => io.to(42).emit("hello"),
  odd_values: (io) =>
    io.emit("odd", 0.1, 1e21, -0.5, NaN, Infinity, undefined, "", [], {}, 9007199254740991, -9007199254740991, [[[]]]),
  dates: (io) => io.emit("when", new Date(1700000000000), new Date(1700000000123), new Date(-86400000)),
  long_text: (io) => io.emit("long", "x".repeat(40), "y".repeat(300)),
  large: (io) => io.to("room1").emit("large", "z".repeat(8000)),
  join: (io) => io.in("room1").except("muted").socketsJoin(["room2", "room3"]),
  leave: (io) => io.socketsLeave("room1"),
  disconnect: (io) => io.in("sid1").disconnectSockets(true),
  admin_disconnect: (io) => io.of("/admin").disconnectSockets(),
  server_side: (io) => io.serverSideEmit("ping", 1),
};

let seen = [];
const pause = (ms) => new Promise((resolve) => setTimeout(resolve, ms));

async function record(name, io, wanted = () => true) {
  seen = [];
  says[name](io);
  for (const end = Date.now() + 3000; Date.now() < end; await pause(5)) {
    const found = seen.find(wanted);
    if (found) return found;
  }
  throw new Error(`nothing came of ${name}`);
}

async function recordAll(names, io, wanted) {
  const found = {};
  for (const name of names) found[name] = await record(name, io, wanted);
  return found;
}

async function redis(out) {
  const publisher = createClient({ url: process.env.REDIS });
  const [all, subscriber] = [publisher.duplicate(), publisher.duplicate()];
  for (const client of [publisher, all, subscriber]) await client.connect();
  const note = (message, channel) => seen.push({ channel: channel.toString(), message: message.toString("hex") });
  await all.pSubscribe("*", note, true);

  const names = Object.keys(says).filter((name) => name !== "large");
  out.redis = await recordAll(names, new RedisEmitter(publisher));
  const json = { key: "app", parser: { encode: JSON.stringify, decode: JSON.parse } };
  out.redis_json = await recordAll(["room", "rooms_except", "join"], new RedisEmitter(publisher, json));

  const server = new Server({ adapter: createAdapter(publisher, subscriber) });
  server.of("/");
  await pause(200);
  says.wants_acknowledgements = (io) => io.timeout(1000).emit("ask", 1, () => {});
  const alike = ["room", "rooms_except", "binary", "join", "server_side", "wants_acknowledgements"];
  out.adapter = await recordAll(alike, server);

  // Sharded messages come through no pattern: they are taken where the adapter publishes them.
  const sPublish = async (channel, message) => note(Buffer.from(message), channel);
  const client = { sSubscribe() {}, sUnsubscribe() {}, sendCommand: async () => 1, sPublish };
  const sharded = new Server({ adapter: createShardedAdapter(client, client) });
  const most = ["everyone", "room", "rooms_except", "binary", "join", "leave", "disconnect", "server_side"];
  out.sharded = await recordAll(most, sharded);
}

async function postgres(out) {
  const pool = new pg.Pool({ connectionString: process.env.PGDSN });
  await pool.query(
    "CREATE TABLE IF NOT EXISTS socket_io_attachments " +
      "(id bigserial UNIQUE, created_at timestamptz DEFAULT NOW(), payload bytea)",
  );
  const listener = new pg.Client({ connectionString: process.env.PGDSN });
  await listener.connect();
  listener.on("notification", ({ channel, payload }) => seen.push({ channel, message: payload }));
  await listener.query('LISTEN "socket.io#/"');
  await listener.query('LISTEN "socket.io#/admin"');

  const names = Object.keys(says).filter((name) => !["long_text", "wants_acknowledgements"].includes(name));
  out.postgres = await recordAll(names, new PostgresEmitter(pool));
  for (const vector of Object.values(out.postgres)) {
    const { attachmentId } = JSON.parse(vector.message);
    if (!attachmentId) continue;
    const sql = "SELECT encode(payload, 'hex') AS hex FROM socket_io_attachments WHERE id = $1";
    vector.stored = (await pool.query(sql, [attachmentId])).rows[0].hex;
  }

  const server = new Server({ adapter: createPostgresAdapter(pool) });
  says.heartbeat = (io) => io.of("/");
  const kind = (...kinds) => (vector) => kinds.includes(JSON.parse(vector.message).type);
  const heartbeat = await record("heartbeat", server, kind(1, 2));
  const rest = await recordAll(["room", "rooms_except", "join"], server, kind(3, 4));
  out.postgres_adapter = { heartbeat, ...rest };
}

const out = {};
await redis(out);
await postgres(out);
console.log(JSON.stringify(out, null, 1));
process.exit(0);
