// Where each channel stands, so that a reconnect gets what came meanwhile, once, and a reload does too.
//
// There is one log, so one position says it for all channels: `everyone`. But after a reconnect channels are replayed one after
// the other; until the gateway sends something live again (or a ping, which it only sends to who has everything) each has a
// place of its own. A second break in the middle then loses nothing of those that were still waiting.

import type { PositionStorage } from "./types.js";

/** At most this often, milliseconds, the storage is written: it is slow, and events may be many. */
const PAUSE = 1_000;

/** So many events are known again; seldom is more replayed to one client. */
const MOST = 10_000;

interface Kept {
  everyone?: string;
  complete?: string;
  own: Record<string, string>;
  followed: string[];
}

export class Positions {
  #everyone: string | undefined;
  /** The last position before which no channel waits for anything: older than `everyone` while some do. */
  #complete: string | undefined;
  readonly #own = new Map<string, string>();
  /** What came since `complete`, by position and channel: when all resume together from there, it comes again. */
  readonly #seen = new Set<string>();
  /** Channels of `own` whose subscription the present connection has answered. */
  readonly #answered = new Set<string>();
  readonly #followed = new Set<string>();
  #timer: ReturnType<typeof setTimeout> | undefined;

  readonly #storage: PositionStorage | null | undefined;
  readonly #key: string;

  constructor(storage: PositionStorage | null | undefined, key: string) {
    this.#storage = storage;
    this.#key = key;
    this.#load();
  }

  /** From where the channel resumes; `undefined` if it was never followed. */
  since(channel: string): string | undefined {
    return this.#followed.has(channel) ? (this.#own.get(channel) ?? this.#everyone) : undefined;
  }

  /** From where all resume together. */
  oldest(): string | undefined {
    return this.#own.size > 0 ? this.#complete : this.#everyone;
  }

  /** A connection begins; `position` is the log's present one. */
  welcome(position: string): void {
    this.#complete = this.oldest() ?? position;
    for (const channel of this.#followed) {
      if (!this.#own.has(channel) && this.#everyone !== undefined) this.#own.set(channel, this.#everyone);
    }
    this.#answered.clear();
    this.#everyone = position;
  }

  /** A subscription was answered: what follows begins at `position`. */
  subscribed(channel: string, position: string): void {
    this.#followed.add(channel);
    this.#own.set(channel, position);
    this.#answered.add(channel);
    this.#changed();
  }

  /** An event came; `false` if it had come before. */
  event(channel: string, position: string, replayed: boolean): boolean {
    const key = `${position} ${channel}`;
    // Live ones come once; those that are not kept share a position.
    if (replayed && this.#seen.has(key)) return false;
    if (replayed && this.#own.has(channel)) this.#own.set(channel, position);
    if (!replayed) this.live(position);
    if (this.#own.size > 0 && this.#seen.size < MOST) this.#seen.add(key);
    this.#changed();
    return true;
  }

  /** Something live came: every channel that was answered has everything up to here. */
  live(position: string): void {
    for (const channel of this.#answered) this.#own.delete(channel);
    this.#answered.clear();
    if (this.#own.size === 0) this.#seen.clear();
    this.#everyone = position;
    this.#changed();
  }

  /** A gap up to `position` was told. It may stand in a replay, so it says nothing of other channels. */
  gap(channel: string | null, position: string): void {
    for (const name of channel === null ? [...this.#own.keys()] : [channel]) {
      if (this.#own.has(name)) this.#own.set(name, position);
    }
    if (this.#own.size === 0) this.#everyone = position;
    this.#changed();
  }

  /** The channel is not followed any more, or what it resumes from is of no use. */
  forget(channel: string): void {
    this.#followed.delete(channel);
    this.#own.delete(channel);
    this.#answered.delete(channel);
    this.#changed();
  }

  /** Writes what is not yet written. */
  save(): void {
    clearTimeout(this.#timer);
    this.#timer = undefined;
    const kept = {
      everyone: this.#everyone,
      complete: this.#complete,
      own: Object.fromEntries(this.#own),
      followed: [...this.#followed],
    };
    try {
      this.#storage?.setItem(this.#key, JSON.stringify(kept));
    } catch {
      // Full, or forbidden by the browser: a reload then begins anew.
    }
  }

  #changed(): void {
    if (this.#storage) this.#timer ??= setTimeout(() => this.save(), PAUSE);
  }

  #load(): void {
    try {
      const kept: Kept | null = JSON.parse(this.#storage?.getItem(this.#key) ?? "null");
      if (!kept) return;
      this.#everyone = kept.everyone;
      this.#complete = kept.complete;
      for (const [channel, position] of Object.entries(kept.own)) this.#own.set(channel, position);
      for (const channel of kept.followed) this.#followed.add(channel);
    } catch {
      // Not ours, or of another version.
    }
  }
}
