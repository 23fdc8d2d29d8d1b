// A socket whose other end is the test, for what only a clock can show.

import { createClient, type Client, type ClientOptions } from "@pregon/client";
import { onTestFinished, vi } from "vitest";

export class FakeSocket {
  static all: FakeSocket[] = [];
  onopen: ((event: unknown) => void) | null = null;
  onmessage: ((event: { data: unknown }) => void) | null = null;
  onclose: ((event: { code: number; reason: string }) => void) | null = null;
  onerror: ((event: unknown) => void) | null = null;
  readonly sent: any[] = [];
  closed = false;
  /** Called with every command. */
  static heard: (socket: FakeSocket, command: any) => void = () => {};

  constructor(readonly url: string) {
    FakeSocket.all.push(this);
  }

  static get last(): FakeSocket {
    return FakeSocket.all.at(-1)!;
  }

  send(text: string): void {
    const command = JSON.parse(text);
    this.sent.push(command);
    FakeSocket.heard(this, command);
  }

  close(): void {
    this.closed = true;
  }

  open(): void {
    this.onopen?.({});
  }

  say(frame: unknown): void {
    this.onmessage?.({ data: typeof frame === "string" ? frame : JSON.stringify(frame) });
  }

  /** Opens and greets, as the gateway does. */
  welcome(position = "e-0"): this {
    this.open();
    this.say({ type: "welcome", session: "s", position, channels: [] });
    for (const { id, type } of this.sent) if (type === "auth") this.say({ id, type: "ok" });
    return this;
  }

  drop(code = 1006, reason = ""): void {
    this.closed = true;
    this.onclose?.({ code, reason });
  }
}

/** A client of fake sockets under a fake clock. */
export function faked(options: ClientOptions = {}): Client {
  vi.useFakeTimers();
  FakeSocket.all = [];
  FakeSocket.heard = () => {};
  const client = createClient({ url: "wss://rt.example", WebSocket: FakeSocket, transports: ["ws"], ...options });
  onTestFinished(() => {
    client.close();
    vi.useRealTimers();
    vi.restoreAllMocks();
    vi.unstubAllGlobals();
  });
  return client;
}

/** Lets promises go on. */
export const settle = () => vi.advanceTimersByTimeAsync(0);
