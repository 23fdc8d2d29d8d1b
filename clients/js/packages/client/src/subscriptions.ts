// Which channels are followed, and what the present connection knows of that.

import { Backoff } from "./backoff.js";
import type { Channel } from "./channel.js";
import { BAD_POSITION } from "./codes.js";
import { PregonError } from "./error.js";
import type { Positions } from "./positions.js";
import type { Done } from "./replies.js";

/** First pause, milliseconds, before a subscription is tried again that the gateway could not make at that moment. */
const PAUSE = 1_000;

export class Subscriptions {
  readonly channels = new Map<string, Channel<any>>();
  /** What this connection was asked for; another object for each question, so that an old answer is not taken for a new one. */
  #asked = new Map<string, object>();
  /** Channels that were followed since the page was loaded. */
  readonly #begun = new Set<string>();
  /** Channels that begin now, though the connection may resume from before. */
  readonly fresh = new Set<string>();
  /** Names that stand for several channels, and those by whose names their events arrive. */
  readonly #aliases = new Map<string, string[]>();
  readonly #backoff = new Backoff(PAUSE);

  readonly #positions: Positions;
  readonly #send: (command: object, done?: Done) => void;
  readonly #failed: (error: PregonError) => void;

  constructor(positions: Positions, send: (command: object, done?: Done) => void, failed: (error: PregonError) => void) {
    this.#positions = positions;
    this.#send = send;
    this.#failed = failed;
  }

  /** The channels that somebody listens to. */
  wanted(): Channel<any>[] {
    return [...this.channels.values()].filter((channel) => channel.wanted);
  }

  /** A connection is gone. */
  lost(): void {
    this.#asked = new Map();
    this.fresh.clear();
    for (const channel of this.channels.values()) channel.unanswered();
  }

  /** No connection will come: nobody needs to wait. */
  over(why: PregonError): void {
    for (const channel of this.wanted()) channel.answered(why);
  }

  /** From where the channel goes on. A page that says how it begins shows that after a reload too. */
  resumes({ name, options }: Channel<any>): string | undefined {
    return this.#begun.has(name) || !(options.last ?? options.since) ? this.#positions.since(name) : undefined;
  }

  /** Asks to follow the channel, if this connection was not asked yet. */
  ask(channel: Channel<any>): void {
    const asked = this.#asked;
    const { name, options } = channel;
    if (asked.has(name)) return;
    const question = {};
    asked.set(name, question);
    const since = this.resumes(channel) ?? options.since;
    const begin = since === undefined ? { last: options.last } : { since };
    if (since === undefined && !options.last) this.fresh.add(name);
    this.#send({ type: "subscribe", channel: name, ...begin }, (outcome) => {
      if (asked !== this.#asked || asked.get(name) !== question) return;
      if (outcome instanceof PregonError) return this.#refused(channel, outcome, since);
      this.#backoff.reset();
      this.followed(channel, outcome.position, outcome.recovered, outcome.channels);
    });
  }

  /** Those who hear what arrives by the name of this channel. */
  hearers(name: string): Channel<any>[] {
    const names = [name];
    for (const [alias, channels] of this.#aliases) if (channels.includes(name)) names.push(alias);
    return names.flatMap((name) => this.channels.get(name) ?? []);
  }

  /** The gateway's word that the channel is followed from `position` on; `standsFor` where its name is one for others. */
  followed(channel: Channel<any>, position: string, recovered: boolean, standsFor?: string[]): void {
    if (standsFor) this.#aliases.set(channel.name, standsFor);
    this.#begun.add(channel.name);
    this.#positions.subscribed(channel.name, position);
    channel.answered({ recovered, position });
  }

  /** Nobody listens any more; `true` if the gateway has to be told. */
  leave(channel: Channel<any>): boolean {
    this.#aliases.delete(channel.name);
    this.#begun.delete(channel.name);
    this.#positions.forget(channel.name);
    return this.#asked.delete(channel.name);
  }

  #refused(channel: Channel<any>, error: PregonError, since: string | undefined): void {
    const asked = this.#asked;
    const { name } = channel;
    if (error.code === BAD_POSITION && this.#positions.since(name)) {
      // It came from the storage, of another gateway: what it stood for is lost.
      this.#positions.forget(name);
      channel.tell("gap", { channel: name, from: since ?? null, to: "", reason: "restart" });
    } else if (!error.retry) {
      const refusal = new PregonError(error.code, error.label, error.message, name);
      channel.answered(refusal);
      return this.#failed(refusal);
    }
    asked.delete(name);
    const again = () => asked === this.#asked && channel.wanted && this.ask(channel);
    if (error.retry) setTimeout(again, this.#backoff.next());
    else again();
  }
}
