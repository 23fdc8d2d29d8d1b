// The two transports of Engine.IO 4, bare: what a case sends is what goes over the wire, and nothing is hidden.
import assert from "node:assert/strict";
import WebSocket from "ws";
import { base, closing } from "./runner.mjs";

export const SEPARATOR = "\x1e";
const PATIENCE = 2500;

export function address(path, parameters) {
  return `${base}${path}?${new URLSearchParams(parameters)}`;
}

// One HTTP request on the polling transport.
export async function http(path, parameters, options = {}) {
  const response = await fetch(address(path, parameters), options);
  return { status: response.status, headers: response.headers, body: await response.text() };
}

// A session on the polling transport.
export class Polling {
  constructor(path, handshake) {
    this.path = path;
    this.handshake = handshake;
    this.sid = handshake.sid;
    this.parameters = { EIO: "4", transport: "polling", sid: this.sid };
    this.aborter = new AbortController();
    this.waiting = [];
    closing(this);
  }

  static async open(path) {
    const { status, body } = await http(path, { EIO: "4", transport: "polling" });
    assert.equal(status, 200, body);
    assert.equal(body[0], "0", body);
    return new Polling(path, JSON.parse(body.slice(1)));
  }

  poll(signal = this.aborter.signal) {
    return http(this.path, this.parameters, { signal });
  }

  post(body, headers = { "content-type": "text/plain;charset=UTF-8" }) {
    return http(this.path, this.parameters, { method: "POST", body, headers, signal: this.aborter.signal });
  }

  // Posts packets and requires that they were taken.
  async send(...packets) {
    const { status, body } = await this.post(packets.join(SEPARATOR));
    assert.deepEqual([status, body], [200, "ok"]);
  }

  // The next packet. Pings are answered and left out, as a client does it.
  async next() {
    while (!this.waiting.length) {
      const { status, body } = await this.poll();
      assert.equal(status, 200, body);
      for (const packet of body.split(SEPARATOR)) {
        if (packet === "2") await this.send("3");
        else this.waiting.push(packet);
      }
    }
    return this.waiting.shift();
  }

  // The session is gone: its id is refused.
  async refused() {
    const { status } = await this.poll();
    assert.equal(status, 400);
  }

  // Nobody waits for its end: the server drops the session when no pong comes.
  close() {
    this.aborter.abort();
  }
}

// A WebSocket whose frames wait in order until a case takes them; text as a string, binary as a Buffer.
export class Socket {
  constructor(path, parameters, { pongs = true } = {}) {
    this.frames = [];
    this.takers = [];
    this.pings = 0;
    this.pongs = pongs;
    this.raw = new WebSocket(address(path, parameters).replace(/^http/, "ws"), { perMessageDeflate: false });
    this.opened = new Promise((resolve, reject) => {
      this.raw.on("open", resolve);
      this.raw.on("error", reject);
    });
    this.opened.catch(() => {});
    this.ended = new Promise((resolve) => this.raw.on("close", resolve));
    this.ended.then((code) => this.give({ closed: code }));
    this.raw.on("message", (data, binary) => this.take(binary ? data : data.toString()));
    closing(this);
  }

  // An open session: its first frame is in `handshake`.
  static async open(path, options) {
    const socket = new Socket(path, { EIO: "4", transport: "websocket" }, options);
    const first = await socket.next();
    assert.equal(first[0], "0", first);
    socket.handshake = JSON.parse(first.slice(1));
    socket.sid = socket.handshake.sid;
    return socket;
  }

  take(frame) {
    if (frame === "2" && this.pongs) {
      this.pings += 1;
      if (this.raw.readyState === WebSocket.OPEN) this.raw.send("3");
    } else {
      this.give({ frame });
    }
  }

  give(item) {
    const taker = this.takers.shift();
    if (taker) taker(item);
    else this.frames.push(item);
  }

  send(...frames) {
    for (const frame of frames) this.raw.send(frame);
  }

  // The next frame; a close or too long a silence is an error.
  async next() {
    const item = await this.item();
    if ("closed" in item) throw new Error(`closed with ${item.closed} instead of a frame`);
    return item.frame;
  }

  // The server closes, and no frame comes before that.
  async closes() {
    const item = await this.item();
    assert.ok("closed" in item, `a frame instead of the close: ${item.frame}`);
    return item.closed;
  }

  // The server closes, whatever comes before that.
  async ends() {
    for (;;) {
      const item = await this.item();
      if ("closed" in item) return item.closed;
    }
  }

  item() {
    if (this.frames.length) return Promise.resolve(this.frames.shift());
    return new Promise((resolve, reject) => {
      const timer = setTimeout(() => reject(new Error(`nothing comes within ${PATIENCE} ms`)), PATIENCE);
      this.takers.push((item) => {
        clearTimeout(timer);
        resolve(item);
      });
    });
  }

  close() {
    this.raw.terminate();
  }
}
