// A channel as its followers see it: handlers by event name. It is followed while somebody listens.

import type { PregonError } from "./error.js";
import { Emitter, type Handler } from "./emitter.js";
import type { ChannelOptions, EventMap, Gap, Member, PregonEvent, Subscribed } from "./types.js";

/** How long, milliseconds, a channel without handlers is still followed: a page that is redrawn takes all away and adds them again. */
const LINGER = 250;

/** Names of `on` that are no events. */
const WORDS = ["*", "gap", "join", "leave"];

/** What a channel needs of its client. */
export interface Follower {
  follow(channel: Channel<any>): void;
  leave(channel: Channel<any>): void;
  command(command: object, channel: string): Promise<any>;
}

type Data<E extends EventMap, N extends keyof E> = E[N];

export class Channel<E extends EventMap = EventMap> {
  readonly #emitter = new Emitter();
  #timer: ReturnType<typeof setTimeout> | undefined;
  #answer: Promise<Subscribed> | undefined;
  #settle: { resolve(subscribed: Subscribed): void; reject(error: PregonError): void } | undefined;
  #pinned = false;

  /** Get one with `client.channel(name)`. */
  readonly #client: Follower;

  constructor(
    readonly name: string,
    readonly options: ChannelOptions,
    client: Follower,
  ) {
    this.#client = client;
  }

  /**
   * Calls `handler` for events of this name, `*` for all, `gap` where something may be missing, and `join` and `leave` of
   * members where the channel tells them. The result takes the handler away; after the last one the channel is left.
   */
  on(event: "gap", handler: (gap: Gap) => void): () => void;
  on(event: "join" | "leave", handler: (member: Member) => void): () => void;
  on(event: "*", handler: (data: E[keyof E], event: PregonEvent<E[keyof E], keyof E & string>) => void): () => void;
  on<N extends keyof E & string>(event: N, handler: (data: Data<E, N>, event: PregonEvent<Data<E, N>, N>) => void): () => void;
  on(event: string, handler: Handler): () => void {
    const off = this.#emitter.on(event, handler);
    this.#client.follow(this as Channel<any>);
    return () => {
      off();
      if (this.#emitter.size === 0 && !this.#pinned) {
        clearTimeout(this.#timer);
        this.#timer = setTimeout(() => this.wanted || this.leave(), LINGER);
      }
    };
  }

  /** Follows the channel until `leave()`, and says what became of that. Rejects if the gateway refuses it for good. */
  ready(): Promise<Subscribed> {
    this.#pinned = true;
    this.#answer ??= this.#ask();
    this.#client.follow(this as Channel<any>);
    return this.#answer;
  }

  /** Publishes to the channel, where its rights allow that to clients. Resolves when it is in the log. */
  publish<N extends keyof E & string>(event: N, data: Data<E, N>): Promise<{ position: string }> {
    return this.#client.command({ type: "publish", channel: this.name, event, data: data ?? null }, this.name);
  }

  /** Who follows the channel now, where it tells that. */
  async presence(): Promise<string[]> {
    const clients: string[] = [];
    let since: string | undefined;
    do {
      const asked = { type: "presence", channel: this.name, since };
      const answer = await this.#client.command(asked, this.name);
      clients.push(...answer.clients);
      since = answer.next;
    } while (since !== undefined);
    return clients;
  }

  /** Stops following. Handlers stay, and hear again when the channel is followed again. */
  leave(): void {
    clearTimeout(this.#timer);
    this.#pinned = false;
    this.#answer = this.#settle = undefined;
    this.#client.leave(this as Channel<any>);
  }

  /** Whether anybody wants it followed. */
  get wanted(): boolean {
    return this.#pinned || this.#emitter.size > 0;
  }

  /** @internal */
  deliver(event: PregonEvent): void {
    // An event that has the name of one of our own words is heard by `*` alone.
    if (!WORDS.includes(event.event)) this.#emitter.emit(event.event, event.data, event);
    this.#emitter.emit("*", event.data, event);
  }

  /** @internal A gap or a member. */
  tell(name: "gap" | "join" | "leave", what: Gap | Member): void {
    this.#emitter.emit(name, what);
  }

  /** @internal The gateway's answer to the subscription. */
  answered(outcome: Subscribed | PregonError): void {
    if (!this.#settle) this.#answer = this.#ask();
    if (outcome instanceof Error) this.#settle?.reject(outcome);
    else this.#settle?.resolve(outcome);
    this.#settle = undefined;
  }

  /** @internal The connection is gone; the next answer is another one. */
  unanswered(): void {
    if (!this.#settle) this.#answer = undefined;
  }

  #ask(): Promise<Subscribed> {
    const answer = new Promise<Subscribed>((resolve, reject) => (this.#settle = { resolve, reject }));
    // Whoever does not ask needs no answer.
    answer.catch(() => {});
    return answer;
  }
}
