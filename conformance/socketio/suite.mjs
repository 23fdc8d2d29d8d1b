// Socket.IO 5 against a server with the namespaces / and /custom that emits `auth` on connect, answers `message` with
// `message-back` and acknowledges `message-with-ack`: node socketio/suite.mjs http://127.0.0.1:PORT
import assert from "node:assert/strict";
import { Polling, Socket } from "../lib/engine.mjs";
import { CONNECT_TIMEOUT, eventually, run, sleep, test } from "../lib/runner.mjs";

const PATH = "/socket.io/";
const FIRST = Buffer.from([1, 2, 3]);
const SECOND = Buffer.from([4, 5, 6, 0, 255]);
const hole = (num) => ({ _placeholder: true, num });

const engine = () => Socket.open(PATH);

// A packet's header and its JSON. The JSON begins at the first bracket, brace or quote; no namespace here has one.
function parse(message) {
  assert.equal(typeof message, "string");
  const [, head, json] = message.match(/^4([^[{"]*)(.*)$/s) ?? assert.fail(`not a packet: ${message}`);
  return { head, data: json === "" ? undefined : JSON.parse(json) };
}

// The next packet must have this header; its data is returned.
async function expect(session, head) {
  const message = await session.next();
  assert.equal(parse(message).head, head, message);
  return parse(message).data;
}

// The next packet is binary with this header: its data with the attachments in their places.
async function expectBinary(session, head, attachments, take = (frame) => frame) {
  const data = await expect(session, head);
  const frames = [];
  for (let number = 0; number < attachments; number += 1) frames.push(take(await session.next()));
  const fill = (value) => {
    if (value?._placeholder) return frames[value.num];
    if (Array.isArray(value)) return value.map(fill);
    if (value && typeof value === "object") return Object.fromEntries(Object.entries(value).map(([k, v]) => [k, fill(v)]));
    return value;
  };
  return fill(data);
}

// Connects a namespace and returns the id of the socket and what `auth` said.
async function join(session, namespace = "", payload = "") {
  session.send(`40${namespace}${payload}`);
  const reply = await expect(session, `0${namespace}`);
  assert.deepEqual(Object.keys(reply), ["sid"]);
  const [event, auth] = await expect(session, `2${namespace}`);
  assert.equal(event, "auth");
  return { sid: reply.sid, auth };
}

async function joined() {
  const session = await engine();
  await join(session);
  return session;
}

// Leaves the namespace / and lets a ping come in between, so that the server has done it.
async function leave(session) {
  const before = session.pings;
  session.send("41");
  await eventually(() => session.pings, (pings) => pings > before);
}

// The namespace / answers, so the connection lives.
async function alive(session) {
  session.send('42["message","vive"]');
  assert.deepEqual(await expect(session, "2"), ["message-back", "vive"]);
}

for (const namespace of ["", "/custom,"]) {
  const name = namespace ? "/custom" : "/";
  test(`connect: ${name} without a payload`, async () => {
    const session = await engine();
    const { sid, auth } = await join(session, namespace);
    assert.equal(typeof sid, "string");
    assert.ok(sid.length >= 16, "an id that can be guessed");
    assert.notEqual(sid, session.sid);
    assert.deepEqual(auth, {});
  });

  test(`connect: ${name} with a payload`, async () => {
    const payload = { token: "1…3", deep: { list: [1, null, true] } };
    const { auth } = await join(await engine(), namespace, JSON.stringify(payload));
    assert.deepEqual(auth, payload);
  });
}

test("connect: /custom without the comma", async () => {
  const session = await engine();
  session.send("40/custom");
  assert.deepEqual(Object.keys(await expect(session, "0/custom,")), ["sid"]);
});

test("connect: an unknown namespace is refused, the connection stays", async () => {
  const session = await engine();
  session.send("40/nadie,");
  assert.deepEqual(await expect(session, "4/nadie,"), { message: "Invalid namespace" });
  await join(session);
  await alive(session);
});

test("connect: an unknown namespace with a payload is refused", async () => {
  const session = await engine();
  session.send('40/nadie,{"token":"123"}');
  assert.deepEqual(await expect(session, "4/nadie,"), { message: "Invalid namespace" });
});

for (const packet of ["4abc", "40abc", "40[]", '40"x"', "40null", "40{"]) {
  test(`connect: closed after the handshake ${packet}`, async () => {
    const session = await engine();
    session.send(packet);
    await session.closes();
  });
}

test("connect: two namespaces, two ids", async () => {
  const session = await engine();
  const root = await join(session);
  const custom = await join(session, "/custom,", '{"a":1}');
  assert.notEqual(root.sid, custom.sid);
  assert.deepEqual(custom.auth, { a: 1 });
  await alive(session);
});

test("connect: two CONNECTs at once are answered in their order", async () => {
  const session = await engine();
  session.send("40", "40/custom,");
  const heads = [];
  for (let number = 0; number < 4; number += 1) heads.push(parse(await session.next()).head);
  assert.deepEqual(heads.filter((head) => !head.includes("/")), ["0", "2"]);
  assert.deepEqual(heads.filter((head) => head.includes("/")), ["0/custom,", "2/custom,"]);
});

for (const namespace of ["", "/custom,"]) {
  test(`connect: a second CONNECT on ${namespace ? "/custom" : "/"} closes the connection`, async () => {
    const session = await engine();
    await join(session, namespace);
    session.send(`40${namespace}`);
    await session.closes();
  });
}

test("connect: without a CONNECT the connection is closed in time", async () => {
  const session = await engine();
  const started = performance.now();
  await session.closes();
  const took = performance.now() - started;
  assert.ok(took > CONNECT_TIMEOUT - 100 && took < CONNECT_TIMEOUT + 1000, `closed after ${took} ms`);
});

test("connect: a refused CONNECT is none, the connection is closed in time", async () => {
  const session = await engine();
  session.send("40/nadie,");
  await expect(session, "4/nadie,");
  await session.closes();
});

test("connect: a namespace keeps the connection beyond the time", async () => {
  const session = await engine();
  await join(session, "/custom,");
  await sleep(CONNECT_TIMEOUT + 300);
  assert.ok(session.pings >= 3, `${session.pings} pings`);
  await join(session);
  await alive(session);
});

test("disconnect: from /, the connection stays and pings", async () => {
  const session = await joined();
  session.send("41");
  const before = session.pings;
  await eventually(() => session.pings, (pings) => pings >= before + 2);
  assert.equal(session.frames.length, 0);
});

test("disconnect: from /, then connect again with another id", async () => {
  const session = await engine();
  const before = await join(session);
  await leave(session);
  const after = await join(session, "", '{"otra":"vez"}');
  assert.notEqual(after.sid, before.sid);
  assert.deepEqual(after.auth, { otra: "vez" });
  await alive(session);
});

test("disconnect: from /custom, / stays", async () => {
  const session = await joined();
  await join(session, "/custom,");
  session.send("41/custom,");
  await alive(session);
  await join(session, "/custom,");
});

test("disconnect: and connect in one breath", async () => {
  const session = await joined();
  session.send("41");
  await join(session);
  await alive(session);
}, { stricter: "takes the CONNECT before it has done the DISCONNECT, and closes" });

test("disconnect: an event after it closes the connection", async () => {
  const session = await joined();
  await leave(session);
  session.send('42["message","tarde"]');
  await session.closes();
});

test("event: text, numbers, objects, nothing", async () => {
  const session = await joined();
  const all = [1, "2", { 3: [true, null, 1.5] }, "¿qué tal? ✓", [], ""];
  session.send(`42${JSON.stringify(["message", ...all])}`, '42["message"]');
  assert.deepEqual(await expect(session, "2"), ["message-back", ...all]);
  assert.deepEqual(await expect(session, "2"), ["message-back"]);
});

test("event: many keep their order", async () => {
  const session = await joined();
  const numbers = Array.from({ length: 200 }, (_, number) => number);
  session.send(...numbers.map((number) => `42["message",${number}]`));
  for (const number of numbers) assert.deepEqual(await expect(session, "2"), ["message-back", number]);
});

test("event: an unknown name is passed over", async () => {
  const session = await joined();
  session.send('42["nadie-escucha",1]', "42[7]", '42["",1]');
  await alive(session);
});

test("event: JSON with spaces", async () => {
  const session = await joined();
  session.send('42[ "message" , { "a" : 1 } ]');
  assert.deepEqual(await expect(session, "2"), ["message-back", { a: 1 }]);
});

test("binary event: attachments in their places", async () => {
  const session = await joined();
  session.send(`452-${JSON.stringify(["message", hole(0), "texto", { deep: [hole(1)] }])}`, FIRST, SECOND);
  const back = await expectBinary(session, "52-", 2);
  assert.deepEqual(back, ["message-back", FIRST, "texto", { deep: [SECOND] }]);
  await alive(session);
});

test("binary event: placeholders in another order", async () => {
  const session = await joined();
  session.send(`452-${JSON.stringify(["message", hole(1), hole(0)])}`, FIRST, SECOND);
  assert.deepEqual(await expectBinary(session, "52-", 2), ["message-back", SECOND, FIRST]);
});

test("binary event: ten attachments", async () => {
  const session = await joined();
  const frames = Array.from({ length: 10 }, (_, number) => Buffer.alloc(number, number));
  session.send(`4510-${JSON.stringify(["message", ...frames.map((_, number) => hole(number))])}`, ...frames);
  assert.deepEqual(await expectBinary(session, "510-", 10), ["message-back", ...frames]);
});

test("ack: with arguments, without, number 0", async () => {
  const session = await joined();
  session.send('42456["message-with-ack",1,"2",{"3":[false]}]', '4212["message-with-ack"]', '420["message-with-ack","x"]');
  assert.deepEqual(await expect(session, "3456"), [1, "2", { 3: [false] }]);
  assert.deepEqual(await expect(session, "312"), []);
  assert.deepEqual(await expect(session, "30"), ["x"]);
});

test("ack: binary", async () => {
  const session = await joined();
  session.send(`452-789${JSON.stringify(["message-with-ack", hole(0), { deep: hole(1) }])}`, FIRST, SECOND);
  assert.deepEqual(await expectBinary(session, "62-789", 2), [FIRST, { deep: SECOND }]);
});

test("ack: one that nobody asked for is passed over", async () => {
  const session = await joined();
  session.send('4399["x"]');
  await alive(session);
});

test("closed: an event before the CONNECT", async () => {
  const session = await engine();
  session.send('42["message","pronto"]');
  await session.closes();
});

test("closed: an event on a namespace that was not connected", async () => {
  const session = await joined();
  session.send('42/custom,["message","x"]');
  await session.closes();
});

const BAD = [
  ["an unknown type", ['49["x"]']],
  ["no type", ["4"]],
  ["a letter", ["4abc"]],
  ["an object for an event", ["42{}"]],
  ["a text for an event", ['42"x"']],
  ["an event without a name", ["42[]"]],
  ["an object for a name", ["42[{}]"]],
  ["null for a name", ["42[null]"]],
  ["broken JSON", ['42["message"']],
  ["no JSON", ["42abc"]],
  ["a reserved name, connect", ['42["connect"]']],
  ["a reserved name, connect_error", ['42["connect_error"]']],
  ["a reserved name, disconnect", ['42["disconnect"]']],
  ["a reserved name, disconnecting", ['42["disconnecting"]']],
  ["a reserved name, newListener", ['42["newListener"]']],
  ["a reserved name, removeListener", ['42["removeListener"]']],
  ["an object for an ack", ["431{}"]],
  ["a payload of a disconnect", ["41{}"]],
  ["a CONNECT_ERROR of the client", ['44{"message":"x"}']],
  ["a binary event without its number", ['45["message"]']],
  ["a binary event with a letter for its number", ['45x-["message"]']],
  ["a binary event with no attachments", ['450-["message"]']],
  ["a binary event with more attachments than ten", ['4511-["message"]']],
  ["a text between an event and its attachment", [`451-${JSON.stringify(["message", hole(0)])}`, '42["message"]']],
  ["an attachment of nothing", [FIRST]],
  ["a placeholder without an attachment", [`451-${JSON.stringify(["message", hole(3)])}`, FIRST]],
];

for (const [name, packets] of BAD) {
  test(`closed: ${name}`, async () => {
    const session = await joined();
    session.send(...packets);
    await session.closes();
  });
}

test("polling: connect, event and ack", async () => {
  const session = await Polling.open(PATH);
  const { auth } = await join(session, "", '{"token":"123"}');
  assert.deepEqual(auth, { token: "123" });
  await session.send('42["message","uno"]', '421["message-with-ack","dos"]');
  assert.deepEqual(await expect(session, "2"), ["message-back", "uno"]);
  assert.deepEqual(await expect(session, "31"), ["dos"]);
});

test("polling: connect and events in one body", async () => {
  const session = await Polling.open(PATH);
  await session.send("40/custom,");
  await expect(session, "0/custom,");
  await expect(session, "2/custom,");
  await session.send("40");
  await expect(session, "0");
  await expect(session, "2");
  await session.send('42["message",1]', '42["message",2]', "41/custom,", '42["message",3]');
  for (const number of [1, 2, 3]) assert.deepEqual(await expect(session, "2"), ["message-back", number]);
});

test("polling: binary events and acks in base64", async () => {
  const session = await Polling.open(PATH);
  await join(session);
  const holes = JSON.stringify(["message", hole(0), hole(1)]);
  const attachments = [FIRST, SECOND].map((bytes) => `b${bytes.toString("base64")}`);
  const take = (packet) => {
    assert.equal(packet[0], "b", packet);
    return Buffer.from(packet.slice(1), "base64");
  };
  await session.send(`452-${holes}`, ...attachments);
  assert.deepEqual(await expectBinary(session, "52-", 2, take), ["message-back", FIRST, SECOND]);
  await session.send(`452-7${holes.replace("message", "message-with-ack")}`, ...attachments);
  assert.deepEqual(await expectBinary(session, "62-7", 2, take), [FIRST, SECOND]);
});

test("polling: an unknown namespace is refused", async () => {
  const session = await Polling.open(PATH);
  await session.send("40/nadie,");
  assert.deepEqual(await expect(session, "4/nadie,"), { message: "Invalid namespace" });
});

test("polling: an event before the CONNECT ends the session", async () => {
  const session = await Polling.open(PATH);
  await session.post('42["message","pronto"]');
  await eventually(() => session.poll(), ({ status }) => status === 400, 250);
});

test("polling: the namespaces outlive the upgrade", async () => {
  const session = await Polling.open(PATH);
  await join(session);
  await join(session, "/custom,");
  await session.send('42["message","antes"]');
  const over = new Socket(PATH, { EIO: "4", transport: "websocket", sid: session.sid });
  await over.opened;
  over.send("2probe");
  assert.equal(await over.next(), "3probe");
  over.send("5");
  assert.deepEqual(await expect(over, "2"), ["message-back", "antes"]);
  await alive(over);
  over.send("41/custom,");
  await alive(over);
  await join(over, "/custom,");
});

await run();
