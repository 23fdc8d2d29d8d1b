// docs/asyncapi.yaml is a valid AsyncAPI document, and a gateway says what it describes.

import assert from "node:assert/strict";
import { spawn } from "node:child_process";
import { createHmac } from "node:crypto";
import { once } from "node:events";
import fs from "node:fs";
import os from "node:os";
import path from "node:path";
import { before, test } from "node:test";
import { createInterface } from "node:readline";
import { fileURLToPath } from "node:url";
import { Parser } from "@asyncapi/parser";
import Ajv from "ajv";
import { WebSocket } from "ws";

const ROOT = path.resolve(path.dirname(fileURLToPath(import.meta.url)), "../../..");
const SECRET = "0123456789abcdef0123456789abcdef";
const KEY = "llave";
const LIMIT = { timeout: 60_000 };
const CONFIG = `
[server]
listen = "127.0.0.1:0"
api_key = "${KEY}"
ping = "1s"
[auth]
secret = "${SECRET}"
join = ["user_{sub}"]
[log]
kind = "memory"
[[channel]]
name = "room_{id}"
publish = "true"
presence = true
[[channel]]
name = "closed"
subscribe = "false"
`;

let parsed;
before(async () => {
  parsed = await new Parser().parse(fs.readFileSync(path.join(ROOT, "docs/asyncapi.yaml"), "utf8"));
});

test("the document has no findings", () => {
  const findings = parsed.diagnostics.filter(({ severity }) => severity <= 1).map(({ message, path }) => `${path.join(".")}: ${message}`);
  assert.deepEqual(findings, []);
  assert.deepEqual(Object.keys(parsed.document.json().channels), ["full", "stream", "bare", "socketio"]);
});

test("every message has an example that is one of its kind", () => {
  for (const [name, message] of Object.entries(parsed.document.json().components.messages)) {
    assert.ok(message.examples?.length > 0, name);
    for (const { payload } of message.examples) judge(name, payload);
  }
});

test("a schema says no to what is of another kind", () => {
  assert.throws(() => judge("event", { type: "event", channel: "a" }));
  assert.throws(() => judge("error", { type: "error", code: 999, name: "x", message: "x" }));
  assert.throws(() => judge("ping", { type: "ping", position: "a-1", more: 1 }));
});

test("each frame of a gateway is of its schema", LIMIT, async (t) => {
  const gateway = await start(t);
  const socket = await Socket.open(t, `${gateway.ws}/ws?token=${token("ana")}`);
  assert.equal((await socket.next("welcome")).channels[0], "user_ana");
  const subscribed = await socket.ask({ type: "subscribe", channel: "room_1" });
  await socket.next("join");
  assert.equal((await socket.ask({ type: "subscribe", channel: "closed" })).code, 103);
  assert.deepEqual((await socket.ask({ type: "presence", channel: "room_1" })).clients, ["ana"]);
  await socket.ask({ type: "publish", channel: "room_1", event: "typing", data: { who: 7 } });
  await socket.next("event");
  await socket.ask({ type: "ping" });
  await socket.next("ping");

  const other = await Socket.open(t, `${gateway.ws}/ws?token=${token("luis")}`);
  await other.next("welcome");
  assert.equal((await other.ask({ type: "subscribe", channel: "room_1", since: subscribed.position })).recovered, true);
  assert.equal((await other.next("event")).replayed, true);
  assert.equal((await other.ask({ type: "subscribe", channel: "user_luis", since: "ffffffff-1" })).recovered, false);
  assert.equal((await other.next("gap")).reason, "restart");
  other.close();
  await socket.next("leave");
});

test("a stream's messages are those of the protocol", LIMIT, async (t) => {
  const gateway = await start(t);
  const stop = new AbortController();
  t.after(() => stop.abort());
  const url = `${gateway.http}/sse?format=protocol&channel=room_1&since=ffffffff-1&token=${token("eva")}`;
  const answer = await fetch(url, { signal: stop.signal });
  const wanted = new Set(["welcome", "gap", "event"]);
  let rest = "";
  for await (const piece of answer.body.pipeThrough(new TextDecoderStream())) {
    const lines = (rest + piece).split("\n");
    rest = lines.pop();
    for (const line of lines.filter((line) => line.startsWith("data: "))) {
      const message = JSON.parse(line.slice(6));
      judge(message.type, message);
      if (message.type === "welcome") await publish(gateway, "room_1");
      wanted.delete(message.type);
    }
    if (wanted.size === 0) break;
  }
  assert.deepEqual([...wanted], []);
});

const ajv = new Ajv({ strict: false, validateFormats: false });

/** Throws unless `value` is of the message's schema and has nothing that the schema does not name. */
function judge(name, value) {
  const message = parsed.document.json().components.messages[name];
  assert.ok(message, `the document has no message ${name}`);
  const closed = message.payload.properties ? { ...message.payload, additionalProperties: false } : message.payload;
  assert.ok(ajv.validate(closed, value), `${name}: ${ajv.errorsText()}: ${JSON.stringify(value)}`);
}

function token(sub) {
  const part = (value) => Buffer.from(JSON.stringify(value)).toString("base64url");
  const text = `${part({ alg: "HS256", typ: "JWT" })}.${part({ sub })}`;
  return `${text}.${createHmac("sha256", SECRET).update(text).digest("base64url")}`;
}

async function publish({ http }, channel) {
  const body = JSON.stringify({ channel, event: "e", data: { n: 1 } });
  const answer = await fetch(`${http}/api/publish`, { method: "POST", body, headers: { authorization: `Bearer ${KEY}` } });
  assert.equal(answer.status, 200, await answer.text());
}

/** The release binary on a port of its own. */
async function start(t) {
  const binary = process.env.PREGON_BIN ?? path.join(ROOT, "target/release/pregon");
  const folder = fs.mkdtempSync(path.join(os.tmpdir(), "pregon-asyncapi-"));
  fs.writeFileSync(path.join(folder, "pregon.toml"), CONFIG);
  const child = spawn(binary, ["--log", "warn", "serve"], { cwd: folder, env: { PATH: process.env.PATH }, stdio: ["ignore", "pipe", "inherit"] });
  t.after(() => {
    child.kill("SIGKILL");
    fs.rmSync(folder, { recursive: true });
  });
  for await (const line of createInterface({ input: child.stdout })) {
    const address = /listening on http:\/\/(\S+)/.exec(line)?.[1];
    if (address) {
      child.stdout.resume();
      return { http: `http://${address}`, ws: `ws://${address}` };
    }
  }
  throw new Error("the gateway did not start");
}

/** A session of the full protocol that judges every frame. */
class Socket {
  static async open(t, url) {
    const socket = new Socket(new WebSocket(url));
    t.after(() => socket.close());
    await once(socket.ws, "open");
    return socket;
  }

  constructor(ws) {
    this.ws = ws;
    this.frames = [];
    this.waiting = [];
    this.id = 0;
    ws.on("message", (text) => this.take(JSON.parse(text)));
  }

  take(frame) {
    this.frames.push(frame);
    this.waiting.splice(0).forEach((wake) => wake());
  }

  /** The first frame that holds and was not found before, whatever came before it; every frame is judged. */
  async find(holds) {
    for (let judged = 0; ; ) {
      for (; judged < this.frames.length; judged++) judge(this.frames[judged].type, this.frames[judged]);
      const at = this.frames.findIndex(holds);
      if (at >= 0) return this.frames.splice(at, 1)[0];
      await new Promise((wake) => this.waiting.push(wake));
    }
  }

  next(type) {
    return this.find((frame) => frame.type === type);
  }

  ask(command) {
    const id = ++this.id;
    judge(command.type === "ping" ? "pingCommand" : command.type, { id, ...command });
    this.ws.send(JSON.stringify({ id, ...command }));
    return this.find((frame) => frame.id === id);
  }

  close() {
    this.ws.close();
  }
}
