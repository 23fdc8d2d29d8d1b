// The promise, with a gateway that can break at every word: each channel's events come once and in order, whatever breaks when.

import { expect, test, vi } from "vitest";
import { FakeSocket, faked, settle } from "../support/fake";

const CHANNELS = ["a", "b", "c"];

/** Numbers that look random and are the same in every run with the same seed. */
function dice(seed: number): (sides: number) => number {
  let state = seed;
  return (sides) => {
    state = (Math.imul(state, 1664525) + 1013904223) >>> 0;
    return Math.floor((state / 2 ** 32) * sides);
  };
}

/** A channel that the token joins: it is live from the welcome on. */
const JOINED = "a";

/** What the gateway does for one connection: what is joined, the replays one after the other, then what is live. */
class Session {
  readonly queue: object[] = [];
  readonly follows = new Set<string>([JOINED]);

  constructor(
    private readonly log: string[],
    url: string,
  ) {
    const since = new URL(url).searchParams.get("since");
    const from = since === null ? log.length : Number(since.slice(2));
    this.queue.push({ type: "welcome", session: "s", position: `e-${from}`, channels: [JOINED] });
    this.replay(JOINED, from);
  }

  private replay(channel: string, from: number): void {
    for (let offset = from; offset < this.log.length; offset++) {
      if (this.log[offset] === channel) this.queue.push(event(channel, offset, true));
    }
  }

  subscribe({ id, channel, since }: { id: number; channel: string; since?: string }): void {
    const from = since === undefined ? this.log.length : Number(since.slice(2));
    this.queue.push({ id, type: "ok", position: `e-${from}`, recovered: since !== undefined });
    // What is followed already was replayed with the connection.
    if (!this.follows.has(channel)) this.replay(channel, from);
    this.follows.add(channel);
  }

  live(offset: number): void {
    const channel = this.log[offset]!;
    if (this.follows.has(channel)) this.queue.push(event(channel, offset, false));
  }
}

/** The position behind an entry is what the gateway gives. */
function event(channel: string, offset: number, replayed: boolean): object {
  return { type: "event", channel, event: "n", data: offset, position: `e-${offset + 1}`, time: "", ...(replayed && { replayed }) };
}

test.each(Array.from({ length: 60 }, (_, seed) => seed + 1))("seed %i", async (seed) => {
  const roll = dice(seed);
  const log: string[] = [];
  const heard: Record<string, number[]> = { a: [], b: [], c: [] };
  let session = new Session(log, "ws://x");
  // Commands that the gateway has not read yet: what is live goes on meanwhile.
  let commands: (() => void)[] = [];
  const client = faked({ backoff: { min: 1, max: 1 }, storage: null });
  FakeSocket.heard = (socket, command) =>
    socket === FakeSocket.last && command.type === "subscribe" && commands.push(() => session.subscribe(command));
  for (const name of CHANNELS) client.channel(name).on("n", (n) => heard[name]!.push(n));

  const connect = async () => {
    await vi.advanceTimersByTimeAsync(5);
    session = new Session(log, FakeSocket.last.url);
    commands = [];
    FakeSocket.last.open();
  };
  const deliver = () => {
    const frame = session.queue.shift();
    if (frame) FakeSocket.last.say(frame);
    // Only who has everything is pinged.
    else FakeSocket.last.say({ type: "ping", position: `e-${log.length}` });
  };

  await connect();
  // All are followed before anything happens, so that all is owed.
  const finish = () => {
    for (const command of commands.splice(0)) command();
    while (session.queue.length > 0) deliver();
  };
  finish();
  for (let step = 0; step < 400; step++) {
    const die = roll(20);
    if (die < 9) {
      log.push(CHANNELS[roll(CHANNELS.length)]!);
      session.live(log.length - 1);
    } else if (die < 12) {
      commands.shift()?.();
    } else if (die < 18) {
      deliver();
    } else {
      FakeSocket.last.drop();
      for (let missed = roll(12); missed > 0; missed--) log.push(CHANNELS[roll(CHANNELS.length)]!);
      await connect();
    }
  }
  finish();
  await settle();
  for (const name of CHANNELS) expect(heard[name]).toEqual(log.flatMap((channel, offset) => (channel === name ? [offset] : [])));
});
