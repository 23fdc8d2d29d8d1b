// The full protocol over one connection: who we are, what we follow, what comes.

import { Channel, type Follower } from "./channel.js";
import { INVALID_TOKEN, isTerminal, SILENT } from "./codes.js";
import { Connection, type Owner } from "./connection.js";
import { Emitter } from "./emitter.js";
import { PregonError } from "./error.js";
import { dialWebSocket, type Dial, type Link } from "./link.js";
import { Positions } from "./positions.js";
import { Renewal } from "./renewal.js";
import { Replies, type Done } from "./replies.js";
import { Stream } from "./stream.js";
import { Subscriptions } from "./subscriptions.js";
import { resolveToken } from "./token.js";
import type { ChannelOptions, ClientOptions, EventMap, PositionStorage, Status } from "./types.js";
import { urls } from "./urls.js";

/** After so many attempts in vain, a WebSocket that had worked is no longer the only thing that is tried. */
const DOUBT = 3;

/** Makes a client. It connects when the first channel is listened to, so that it may be made anywhere, on a server too. */
export function createClient<E extends EventMap = EventMap>(options: ClientOptions = {}): Client<E> {
  return new Client<E>(options);
}

export class Client<E extends EventMap = EventMap> implements Follower {
  readonly #connection: Connection;
  readonly #emitter = new Emitter();
  readonly #replies: Replies;
  readonly #positions: Positions;
  readonly #subscriptions: Subscriptions;
  readonly #stream: Stream;
  readonly #renewal = new Renewal(() => void this.#renew());
  readonly #save = () => this.#positions.save();
  #urls: ReturnType<typeof urls> | undefined;
  #link: Link | undefined;
  #token: string | undefined;
  #welcomed = false;
  #authenticated = false;
  /** Positions are this gateway's. */
  #greeted = false;
  /** A WebSocket has worked: no other transport is needed here. */
  #proven = false;
  #misses = 0;
  #lastError: PregonError | undefined;

  /** Use `createClient`. */
  constructor(private readonly options: ClientOptions) {
    const storage = options.storage === undefined ? tabStorage() : options.storage;
    this.#replies = new Replies(options.timeout ?? 10_000);
    this.#positions = new Positions(storage, `pregon:${options.url ?? ""}`);
    this.#subscriptions = new Subscriptions(
      this.#positions,
      (command, done) => this.#send(command, done),
      (error) => this.#fail(error),
    );
    this.#stream = new Stream(this.#subscriptions, this.#positions, (error) => this.#fail(error));
    this.#connection = new Connection(this.#owner(), options);
  }

  get status(): Status {
    return this.#connection.status;
  }

  /** A channel; the same one for the same name. The options count when it is first asked for. */
  channel<C extends EventMap = E>(name: string, options: ChannelOptions = {}): Channel<C> {
    const { channels } = this.#subscriptions;
    const channel = channels.get(name) ?? new Channel<any>(name, options, this);
    channels.set(name, channel);
    return channel;
  }

  /** Calls `handler` when the status changes, or when something failed that nobody waits for. The result takes it away. */
  on(name: "status", handler: (status: Status) => void): () => void;
  on(name: "error", handler: (error: PregonError) => void): () => void;
  on(name: string, handler: (value: any) => void): () => void {
    return this.#emitter.on(name, handler);
  }

  /** Connects without waiting for a channel; after `denied` or `closed` too. */
  connect(): void {
    this.#urls ??= urls(this.options.url);
    globalThis.addEventListener?.("pagehide", this.#save);
    this.#connection.connect();
  }

  /** Connects and waits for it. Rejects when the gateway says not to come back, or the client is closed. */
  ready(): Promise<void> {
    this.connect();
    return new Promise((resolve, reject) => {
      const look = (status: Status) => {
        if (status === "connected") resolve();
        else if (over(status)) reject(this.#reason());
        else return;
        off();
      };
      const off = this.on("status", look);
      look(this.status);
    });
  }

  /** Ends the connection. Channels stay, and are followed again after `connect()`. */
  close(): void {
    this.#connection.close();
    this.#gone();
    globalThis.removeEventListener?.("pagehide", this.#save);
    this.#save();
  }

  /** @internal */
  follow(channel: Channel<any>): void {
    this.connect();
    if (this.#link?.send) this.#subscriptions.ask(channel);
    else if (this.#link && this.#stream.lacks(channel)) this.#connection.reopen();
  }

  /** @internal */
  leave(channel: Channel<any>): void {
    if (this.#subscriptions.leave(channel)) this.#send({ type: "unsubscribe", channel: channel.name });
  }

  /** @internal */
  async command(command: object, channel: string): Promise<any> {
    if (["idle", "connecting", "connected"].includes(this.status)) await this.ready();
    const link = this.#link;
    if (!link) throw new PregonError(0, "disconnected", "there is no connection at the moment", channel);
    if (!link.send) throw new PregonError(0, "one_way", "server-sent events only bring: this needs a WebSocket", channel);
    return new Promise((resolve, reject) =>
      this.#send(command, (outcome) => (outcome instanceof PregonError ? reject(outcome) : resolve(outcome))),
    );
  }

  #owner(): Owner {
    return {
      ping: JSON.stringify({ type: "ping" }),
      dials: () => this.#dials(),
      opened: (link) => this.#opened(link),
      message: (text) => this.#receive(text),
      lost: (code, reason) => this.#lost(code, reason),
      failed: (error) => this.#tokenless(error),
      status: (status) => {
        if (over(status)) this.#subscriptions.over(this.#reason());
        this.#emitter.emit("status", status);
      },
    };
  }

  async #dials(): Promise<Dial[]> {
    const { token, WebSocket: given, transports = ["ws", "sse"] } = this.options;
    const { ws, sse } = this.#urls!;
    const Socket = given ?? globalThis.WebSocket;
    this.#token = await resolveToken(token);
    const only = this.#proven && this.#misses < DOUBT;
    // What the token joins is live from the first moment on: it has to be resumed with the connection. A position from the storage
    // may be of another gateway, which then refuses the connection; and so may, in the end, one of this gateway's successor.
    const since = this.#misses < (this.#greeted ? 10 : 2) ? this.#positions.oldest() : undefined;
    if (since) ws.searchParams.set("since", since);
    else ws.searchParams.delete("since");
    return transports.flatMap((kind) => {
      if (kind === "ws") return Socket ? [dialWebSocket(ws.href, Socket)] : [];
      return only ? [] : [this.#stream.dial(sse, this.#token, this.options.fetch ?? fetch)];
    });
  }

  /** Everything is asked for in one go: the gateway takes commands in order. */
  #opened(link: Link): void {
    this.#gone();
    this.#link = link;
    this.#authenticated = !this.#token || !link.send;
    if (!link.send) return;
    if (this.#token) this.#authenticate(this.#token);
    for (const channel of this.#subscriptions.wanted()) this.#subscriptions.ask(channel);
  }

  #authenticate(token: string): void {
    this.#send({ type: "auth", token }, (outcome) => {
      if (!(outcome instanceof PregonError)) {
        this.#authenticated = true;
        this.#establish();
      } else if (outcome.code > 0) {
        // On an open connection the former token still holds, until the gateway says that it has ended.
        if (this.status === "connected" || outcome.retry) this.#fail(outcome);
        if (this.status !== "connected") this.#connection.lose(outcome.retry ? SILENT : INVALID_TOKEN, outcome.message);
      }
    });
  }

  async #renew(): Promise<void> {
    const link = this.#link;
    // A stream has the token that it began with.
    if (!link?.send) return this.#connection.reopen();
    try {
      const token = await resolveToken(this.options.token);
      if (link !== this.#link || !token) return;
      this.#authenticate(token);
      this.#renewal.watch(token);
    } catch (error) {
      this.#tokenless(error);
    }
  }

  #establish(): void {
    if (!this.#welcomed || !this.#authenticated || this.status === "connected") return;
    this.#misses = 0;
    this.#proven ||= !!this.#link?.send;
    if (typeof this.options.token === "function") this.#renewal.watch(this.#token);
    this.#connection.established();
  }

  #receive(text: string): void {
    let frame;
    try {
      frame = JSON.parse(text);
    } catch {
      // Not the gateway's; perhaps something between us speaks.
    }
    if (!frame?.type) return;
    const stream = !this.#link?.send;
    const hearers = this.#subscriptions.hearers(frame.channel);
    switch (frame.type) {
      case "welcome":
        this.#positions.welcome(frame.position);
        this.#welcomed = this.#greeted = true;
        if (stream) this.#stream.welcome(frame.position, frame.channels);
        this.#establish();
        // What was wanted while the stream began.
        return this.#subscriptions.wanted().forEach((channel) => this.follow(channel));
      case "event":
        if (!this.#positions.event(frame.channel, frame.position, frame.replayed)) return;
        if (frame.replayed && this.#subscriptions.fresh.has(frame.channel)) return;
        return hearers.forEach((channel) => channel.deliver(frame));
      case "ping":
        return this.#positions.live(frame.position);
      case "gap":
        this.#positions.gap(frame.channel, frame.to);
        return (frame.channel === null ? this.#subscriptions.wanted() : hearers).forEach((channel) => channel.tell("gap", frame));
      case "join":
      case "leave":
        return hearers.forEach((channel) => channel.tell(frame.type, frame));
      case "ok":
      case "error":
        if (frame.id) return this.#replies.take(frame);
        if (frame.type === "error") {
          const error = new PregonError(frame.code, frame.name, frame.message, frame.channel);
          // A fresh token, or new rules, may take a channel away.
          for (const channel of hearers) channel.answered(error);
          this.#fail(error);
        }
        if (stream && frame.code >= 1000) this.#connection.lose(frame.code, frame.message);
    }
  }

  #send(command: object, done?: Done): void {
    const id = done && this.#replies.expect(done);
    this.#link?.send?.(JSON.stringify({ id, ...command }));
  }

  #lost(code: number, reason: string): void {
    this.#misses += 1;
    if (isTerminal(code)) this.#fail(new PregonError(code, "closed", `the gateway closed the connection: ${reason}`));
    this.#gone();
  }

  /** Nothing of a former connection counts any more. */
  #gone(): void {
    this.#link = undefined;
    this.#welcomed = this.#authenticated = false;
    this.#renewal.stop();
    this.#subscriptions.lost();
    this.#replies.drop();
  }

  /** Why there is no connection and none to come. */
  #reason(): PregonError {
    return (this.status === "denied" && this.#lastError) || new PregonError(0, this.status, `the client is ${this.status}`);
  }

  #tokenless(error: unknown): void {
    this.#fail(new PregonError(0, "token", `no token could be had: ${error}`));
  }

  #fail(error: PregonError): void {
    this.#lastError = error;
    this.#emitter.emit("error", error);
  }
}

/** Whether there is no connection and none to come. */
const over = (status: Status) => status === "denied" || status === "closed";

/** The tab's own storage. Reading the property alone fails where a browser forbids it. */
function tabStorage(): PositionStorage | undefined {
  try {
    return globalThis.sessionStorage;
  } catch {
    return undefined;
  }
}
