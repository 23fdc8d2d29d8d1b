// Server-sent events in place of a socket: the channels stand in the address, and all resume from one position.

import type { Channel } from "./channel.js";
import { FORBIDDEN } from "./codes.js";
import { PregonError } from "./error.js";
import { ABNORMAL, type Dial } from "./link.js";
import type { Positions } from "./positions.js";
import { dialSse } from "./sse.js";
import type { Subscriptions } from "./subscriptions.js";

export class Stream {
  #wanted: Channel<any>[] = [];
  /** Those that the gateway refuses: one of them would end the stream for all. */
  readonly #barred = new Set<string>();
  /** Those that begin now, though the stream resumes from before. */
  #fresh: Channel<any>[] = [];
  #resumes = false;

  readonly #subscriptions: Subscriptions;
  readonly #positions: Positions;
  readonly #failed: (error: PregonError) => void;

  constructor(subscriptions: Subscriptions, positions: Positions, failed: (error: PregonError) => void) {
    this.#subscriptions = subscriptions;
    this.#positions = positions;
    this.#failed = failed;
  }

  /** Begins a stream of what is wanted when it is begun. */
  dial(address: URL, token: string | undefined, get: typeof fetch): Dial {
    return (events) => {
      const url = this.#address(address);
      // Another origin would have to be asked first whether it takes the header; the query needs no question.
      const near = !globalThis.location || url.origin === globalThis.location.origin;
      if (token && !near) url.searchParams.set("token", token);
      const headers: Record<string, string> = token && near ? { Authorization: `Bearer ${token}` } : {};
      const closed = (code: number, reason: string) =>
        events.closed(code === FORBIDDEN && this.#bar(reason) ? ABNORMAL : code, reason);
      return dialSse(url.href, headers, get)({ ...events, closed });
    };
  }

  /** The stream of these channels has begun at `position`. A wanted name that is not among them stands for the others; of two such, none can be told. */
  welcome(position: string, channels: string[]): void {
    if (this.#resumes) for (const { name } of this.#fresh) this.#subscriptions.fresh.add(name);
    const aliases = this.#wanted.filter(({ name }) => !channels.includes(name));
    const others = channels.filter((name) => !this.#wanted.some((channel) => channel.name === name));
    for (const channel of this.#wanted) {
      const standsFor = aliases.length === 1 && aliases[0] === channel ? others : undefined;
      this.#subscriptions.followed(channel, position, this.#resumes && !this.#fresh.includes(channel), standsFor);
    }
  }

  /** Whether the present stream does not bring this channel, though it might. */
  lacks(channel: Channel<any>): boolean {
    return !this.#wanted.includes(channel) && !this.#barred.has(channel.name);
  }

  #address(address: URL): URL {
    const url = new URL(address);
    this.#wanted = this.#subscriptions.wanted().filter(({ name }) => !this.#barred.has(name));
    this.#fresh = this.#wanted.filter((channel) => this.#subscriptions.resumes(channel) === undefined);
    const since = this.#fresh.length < this.#wanted.length ? this.#positions.oldest() : undefined;
    this.#resumes = since !== undefined;
    url.searchParams.set("format", "protocol");
    for (const { name } of this.#wanted) url.searchParams.append("channel", name);
    const first = this.#wanted.find(({ options }) => options.since ?? options.last)?.options;
    if (since ?? first?.since) url.searchParams.set("since", (since ?? first?.since)!);
    else if (first?.last) url.searchParams.set("last", `${first.last}`);
    return url;
  }

  /** The gateway names the channel that it refuses; the stream goes on without it. */
  #bar(answer: string): boolean {
    try {
      const { channel: name, message } = JSON.parse(answer);
      const channel = this.#wanted.find((channel) => channel.name === name);
      if (!channel) return false;
      const refusal = new PregonError(103, "forbidden", message, name);
      this.#barred.add(name);
      channel.answered(refusal);
      this.#failed(refusal);
      return true;
    } catch {
      return false;
    }
  }
}
