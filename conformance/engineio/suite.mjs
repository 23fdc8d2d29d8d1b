// Engine.IO 4 against a server whose path /engine.io/ echoes every message: node engineio/suite.mjs http://127.0.0.1:PORT
import assert from "node:assert/strict";
import { request } from "node:http";
import { Polling, SEPARATOR, Socket, address, http } from "../lib/engine.mjs";
import { MAX_PAYLOAD, PING_INTERVAL, PING_TIMEOUT, base, closing, eventually, run, sleep, test } from "../lib/runner.mjs";

const PATH = "/engine.io/";
const POLLING = { EIO: "4", transport: "polling" };
const WEBSOCKET = { EIO: "4", transport: "websocket" };
const BYTES = Buffer.from([0, 1, 2, 30, 127, 128, 254, 255]);

const polling = () => Polling.open(PATH);
const socket = (options) => Socket.open(PATH, options);

function checkHandshake(handshake, upgrades) {
  assert.deepEqual(Object.keys(handshake).sort(), ["maxPayload", "pingInterval", "pingTimeout", "sid", "upgrades"]);
  assert.equal(typeof handshake.sid, "string");
  assert.ok(handshake.sid.length >= 16, "a session id that can be guessed");
  assert.deepEqual(handshake.upgrades, upgrades);
  assert.equal(handshake.pingInterval, PING_INTERVAL);
  assert.equal(handshake.pingTimeout, PING_TIMEOUT);
  assert.equal(handshake.maxPayload, MAX_PAYLOAD);
}

// The session ends within the time that an unanswered ping may take, and not long before it.
function checkTimeout(started) {
  const took = performance.now() - started;
  assert.ok(took > PING_INTERVAL + PING_TIMEOUT - 60, `ended after ${took} ms`);
  assert.ok(took < PING_INTERVAL + PING_TIMEOUT + 1000, `ended only after ${took} ms`);
}

test("handshake: polling", async () => {
  const { status, headers, body } = await http(PATH, POLLING);
  assert.equal(status, 200);
  assert.match(headers.get("content-type"), /^text\/plain/);
  assert.equal(body[0], "0");
  checkHandshake(JSON.parse(body.slice(1)), ["websocket"]);
});

test("handshake: websocket", async () => checkHandshake((await socket()).handshake, []));

test("handshake: every session has an id of its own", async () => {
  const ids = [await polling(), await polling(), await socket(), await socket()].map(({ sid }) => sid);
  assert.equal(new Set(ids).size, ids.length);
});

const REFUSED = [
  ["no EIO", { transport: "polling" }, "GET", 5],
  ["EIO=3", { EIO: "3", transport: "polling" }, "GET", 5],
  ["EIO=abc", { EIO: "abc", transport: "polling" }, "GET", 5],
  ["no transport", { EIO: "4" }, "GET", 0],
  ["transport=abc", { EIO: "4", transport: "abc" }, "GET", 0],
  ["transport=websocket without an upgrade", WEBSOCKET, "GET", 3],
  ["an unknown session", { ...POLLING, sid: "abcdefghijklmnopqrst" }, "GET", 1],
  ["an unknown session, POST", { ...POLLING, sid: "abcdefghijklmnopqrst" }, "POST", 1],
  ["POST", POLLING, "POST", 2],
  ["PUT", POLLING, "PUT", 2],
  ["DELETE", POLLING, "DELETE", 2],
];

for (const [name, parameters, method, code] of REFUSED) {
  test(`refused over HTTP with 400 and code ${code}: ${name}`, async () => {
    const { status, headers, body } = await http(PATH, parameters, { method });
    assert.equal(status, 400, body);
    assert.match(headers.get("content-type"), /^application\/json/);
    const answer = JSON.parse(body);
    assert.equal(answer.code, code, body);
    assert.equal(typeof answer.message, "string");
  });
}

const REFUSED_SOCKETS = [
  ["no EIO", { transport: "websocket" }],
  ["EIO=abc", { EIO: "abc", transport: "websocket" }],
  ["no transport", { EIO: "4" }],
  ["transport=abc", { EIO: "4", transport: "abc" }],
  ["an unknown session", { ...WEBSOCKET, sid: "abcdefghijklmnopqrst" }],
];

for (const [name, parameters] of REFUSED_SOCKETS) {
  test(`refused over websocket: ${name}`, async () => {
    const refused = new Socket(PATH, parameters);
    refused.raw.on("error", () => {});
    // Refused with a status or closed after the upgrade, as it likes; only a packet would be wrong.
    await refused.closes();
  });
}

test("polling: a message", async () => {
  const session = await polling();
  await session.send("4hola");
  assert.equal((await session.poll()).body, "4hola");
});

test("polling: a message comes to a poll that waits already", async () => {
  const session = await polling();
  const poll = session.poll();
  await session.send("4¿qué tal? ✓");
  const { status, headers, body } = await poll;
  assert.deepEqual([status, body], [200, "4¿qué tal? ✓"]);
  assert.match(headers.get("content-type"), /^text\/plain/);
});

test("polling: several messages in one body", async () => {
  const session = await polling();
  await session.send("4uno", "4dos", "4", "4tres");
  const { body } = await session.poll();
  assert.deepEqual(body.split(SEPARATOR), ["4uno", "4dos", "4", "4tres"]);
});

test("polling: a binary message is b and base64", async () => {
  const session = await polling();
  await session.send(`b${BYTES.toString("base64")}`);
  assert.equal((await session.poll()).body, `b${BYTES.toString("base64")}`);
});

test("polling: text and binary in one body keep their order", async () => {
  const session = await polling();
  const packets = ["4uno", "bAQIDBA==", "4dos", "bBQ=="];
  await session.send(...packets);
  assert.deepEqual((await session.poll()).body.split(SEPARATOR), packets);
});

test("polling: a packet that is none ends the session", async () => {
  const session = await polling();
  const { status } = await session.post("abc");
  assert.ok([200, 400].includes(status), `status ${status}`);
  await session.refused();
});

test("polling: a second poll ends the session, the first gets 1", async () => {
  const session = await polling();
  const first = session.poll();
  await sleep(5); // So that they arrive in this order.
  const second = await session.poll();
  assert.equal(second.status, 400);
  const { status, body } = await first;
  assert.deepEqual([status, body], [200, "1"]);
  await session.refused();
});

test("polling: a second POST before the first has ended ends the session", async () => {
  const session = await polling();
  const half = request(address(PATH, session.parameters), { method: "POST", headers: { "content-length": 10 } });
  half.on("error", () => {});
  closing({ close: () => half.destroy() });
  await new Promise((resolve) => half.write("4abc", resolve));
  await sleep(20); // So that they arrive in this order.
  assert.equal((await session.post("4def")).status, 400);
  await session.refused();
});

test("polling: a poll that is given up ends the session", async () => {
  const session = await polling();
  const poll = request(address(PATH, session.parameters));
  poll.on("error", () => {});
  await new Promise((resolve) => poll.end(resolve)); // The server gets it, and then its end.
  poll.destroy();
  // The pongs keep the heartbeat content: only the poll that was given up can end the session, however slow the machine is.
  await eventually(() => session.post("3"), ({ status }) => status === 400);
});

test("polling: close by the client, the waiting poll gets 6", async () => {
  const session = await polling();
  const poll = session.poll();
  await sleep(5); // So that they arrive in this order.
  await session.send("1");
  const { status, body } = await poll;
  assert.deepEqual([status, body], [200, "6"]);
  await session.refused();
});

test("polling: 413 for more than maxPayload", async () => {
  const session = await polling();
  assert.equal((await session.post(`4${"a".repeat(MAX_PAYLOAD)}`)).status, 413);
});

test("polling: a body of exactly maxPayload is taken", async () => {
  const session = await polling();
  const packet = `4${"a".repeat(MAX_PAYLOAD - 1)}`;
  await session.send(packet);
  assert.equal((await session.next()).length, packet.length);
});

test("polling: application/octet-stream is refused", async () => {
  const session = await polling();
  assert.equal((await session.post(BYTES, { "content-type": "application/octet-stream" })).status, 400);
});

test("polling: another transport or protocol on the session is refused", async () => {
  const session = await polling();
  assert.equal((await http(PATH, { ...session.parameters, transport: "websocket" })).status, 400);
  assert.equal((await http(PATH, { ...session.parameters, EIO: "3" })).status, 400);
  await session.send("4vive");
  assert.equal((await session.poll()).body, "4vive");
});

test("CORS: preflight", async () => {
  const headers = {
    origin: "https://app.example",
    "access-control-request-method": "POST",
    "access-control-request-headers": "content-type",
  };
  const answer = await http(PATH, POLLING, { method: "OPTIONS", headers });
  assert.ok([200, 204].includes(answer.status), `status ${answer.status}`);
  assert.ok(["*", "https://app.example"].includes(answer.headers.get("access-control-allow-origin")));
  assert.match(answer.headers.get("access-control-allow-methods"), /POST/);
  assert.match(answer.headers.get("access-control-allow-headers"), /content-type|\*/i);
});

test("CORS: the requests themselves", async () => {
  const headers = { origin: "https://app.example" };
  const allowed = ({ headers }) => headers.get("access-control-allow-origin");
  const open = await http(PATH, POLLING, { headers });
  assert.ok(["*", "https://app.example"].includes(allowed(open)));
  const { sid } = JSON.parse(open.body.slice(1));
  const post = await http(PATH, { ...POLLING, sid }, { method: "POST", body: "4hola", headers });
  assert.ok(["*", "https://app.example"].includes(allowed(post)));
  const poll = await http(PATH, { ...POLLING, sid }, { headers });
  assert.ok(["*", "https://app.example"].includes(allowed(poll)));
  assert.equal(poll.body, "4hola");
});

test("heartbeat: polling, answered pings keep the session", async () => {
  const session = await polling();
  for (let round = 0; round < 3; round += 1) {
    const { status, body } = await session.poll();
    assert.deepEqual([status, body], [200, "2"]);
    await session.send("3");
  }
});

test("heartbeat: polling, an unanswered ping ends the session", async () => {
  const session = await polling();
  const started = performance.now();
  assert.equal((await session.poll()).body, "2");
  // The next poll waits for the end: an empty answer, a close or, when it came late, the refusal.
  const { status, body } = await session.poll();
  assert.ok(status === 400 || body === "1" || body === "6" || body === "", `${status} ${body}`);
  checkTimeout(started);
  await session.refused();
});

test("heartbeat: websocket, answered pings keep the session", async () => {
  const session = await socket({ pongs: false });
  let before = performance.now();
  for (let round = 0; round < 3; round += 1) {
    assert.equal(await session.next(), "2");
    const took = performance.now() - before;
    assert.ok(took > PING_INTERVAL - 60, `a ping after ${took} ms`);
    before = performance.now();
    session.send("3");
  }
});

test("heartbeat: websocket, an unanswered ping ends the session", async () => {
  const session = await socket({ pongs: false });
  const started = performance.now();
  assert.equal(await session.next(), "2");
  await session.closes();
  checkTimeout(started);
});

test("websocket: text messages, one frame each", async () => {
  const session = await socket();
  session.send("4hola", "4", "4¿qué tal? ✓");
  assert.deepEqual([await session.next(), await session.next(), await session.next()], ["4hola", "4", "4¿qué tal? ✓"]);
});

test("websocket: binary messages are frames without a type", async () => {
  const session = await socket();
  session.send(BYTES, "4texto", Buffer.alloc(70_000, 7));
  assert.deepEqual(await session.next(), BYTES);
  assert.equal(await session.next(), "4texto");
  assert.deepEqual(await session.next(), Buffer.alloc(70_000, 7));
});

test("websocket: a packet that is none ends the session", async () => {
  const session = await socket();
  session.send("abc");
  await session.closes();
});

test("websocket: close by the client", async () => {
  const session = await socket();
  session.send("1");
  await session.closes();
}, { stricter: "reads over it, so that only the missing pong ends the session" });

test("websocket: more than maxPayload ends the session", async () => {
  const session = await socket();
  session.send(`4${"a".repeat(MAX_PAYLOAD + 1)}`);
  await session.ends();
});

test("websocket: polling on the session is refused", async () => {
  const session = await socket();
  assert.equal((await http(PATH, { ...POLLING, sid: session.sid })).status, 400);
  assert.equal((await http(PATH, { ...POLLING, sid: session.sid }, { method: "POST", body: "4x" })).status, 400);
  session.send("4vive");
  assert.equal(await session.next(), "4vive");
});

const probe = (session) => new Socket(PATH, { ...WEBSOCKET, sid: session.sid });

// Brings a polling session over to a WebSocket.
async function upgraded(session) {
  const over = probe(session);
  await over.opened;
  over.send("2probe");
  assert.equal(await over.next(), "3probe");
  over.send("5");
  return over;
}

test("upgrade: probe, the waiting poll gets 6, messages by the new transport", async () => {
  const session = await polling();
  const poll = session.poll();
  const over = probe(session);
  await over.opened;
  over.send("2probe");
  assert.equal(await over.next(), "3probe");
  const { status, body } = await poll;
  assert.deepEqual([status, body], [200, "6"]);
  over.send("5", "4hola", BYTES);
  assert.equal(await over.next(), "4hola");
  assert.deepEqual(await over.next(), BYTES);
});

test("upgrade: a poll that comes during the probe gets 6 too", async () => {
  const session = await polling();
  const over = probe(session);
  await over.opened;
  over.send("2probe");
  assert.equal(await over.next(), "3probe");
  const { status, body } = await session.poll();
  assert.deepEqual([status, body], [200, "6"]);
  over.send("5", "4hola");
  assert.equal(await over.next(), "4hola");
});

test("upgrade: what waited for a poll comes by the new transport", async () => {
  const session = await polling();
  await session.send("4uno", "4dos");
  const over = probe(session);
  await over.opened;
  over.send("2probe");
  assert.equal(await over.next(), "3probe");
  over.send("5");
  assert.deepEqual([await over.next(), await over.next()], ["4uno", "4dos"]);
});

test("upgrade: a POST during the probe is still taken", async () => {
  const session = await polling();
  const over = probe(session);
  await over.opened;
  over.send("2probe");
  assert.equal(await over.next(), "3probe");
  await session.send("4entre");
  over.send("5");
  assert.equal(await over.next(), "4entre");
});

test("upgrade: the session is refused by polling afterwards", async () => {
  const session = await polling();
  const over = await upgraded(session);
  over.send("4hola");
  assert.equal(await over.next(), "4hola");
  await session.refused();
  assert.equal((await session.post("4x")).status, 400);
  over.send("4vive");
  assert.equal(await over.next(), "4vive");
});

test("upgrade: a second websocket on the session is closed, the first lives", async () => {
  const session = await polling();
  const over = await upgraded(session);
  over.send("4hola");
  assert.equal(await over.next(), "4hola");
  const second = probe(session);
  second.raw.on("error", () => {});
  await second.closes();
  over.send("4vive");
  assert.equal(await over.next(), "4vive");
});

test("upgrade: a session that began as websocket refuses another", async () => {
  const first = await socket();
  const second = probe(first);
  second.raw.on("error", () => {});
  await second.closes();
  first.send("4vive");
  assert.equal(await first.next(), "4vive");
}, { stricter: "holds it for ten seconds as if it were an upgrade" });

test("upgrade: a probe that is none is closed, polling goes on", async () => {
  const session = await polling();
  const over = probe(session);
  await over.opened;
  over.send("4hola");
  await over.closes();
  await session.send("4vive");
  assert.equal((await session.poll()).body, "4vive");
});

test("upgrade: a probe that goes away leaves polling as it was", async () => {
  const session = await polling();
  const over = probe(session);
  await over.opened;
  over.send("2probe");
  assert.equal(await over.next(), "3probe");
  over.close();
  await over.ended;
  await session.send("4vive");
  const echoed = await eventually(() => session.poll(), ({ body }) => body !== "6");
  assert.equal(echoed.body, "4vive");
});

test("upgrade: heartbeats go on by the new transport", async () => {
  const over = await upgraded(await polling());
  await eventually(() => over.pings, (pings) => pings >= 3);
});

await run();
