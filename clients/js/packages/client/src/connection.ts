// One connection that comes back: attempts, pauses, heartbeat, network and visibility. It knows nothing of what is said on it.
//
//   idle ─▶ connecting ─▶ connected ─▶ reconnecting ⇄ offline ─▶ connected …        denied, closed: until told to connect
//
// `turn` counts attempts: whatever an older attempt still tells is not listened to.

import { Backoff } from "./backoff.js";
import { isTerminal, SILENT } from "./codes.js";
import type { Dial, Link } from "./link.js";
import type { ConnectionOptions, Status } from "./types.js";

/** A connection that lasted this long, milliseconds, was a good one: the pauses begin anew. */
const STABLE = 5_000;

/** How much longer than for a ping's answer to wait where none can be sent; the gateway's own pause is 25 s. */
const PATIENCE = 2.5;

/** How long a link that was suspected (wake-up, change of network) may take to show itself alive, milliseconds. */
const SUSPECT = 5_000;

/** What a connection asks and tells its owner. */
export interface Owner {
  /** The transports of the next attempt, in order. A rejection is a failed attempt. */
  dials(): Promise<Dial[]>;
  /** The transport is there; the owner calls `established` when what it wants has been said. */
  opened(link: Link): void;
  message(text: string): void;
  /** What to send to be answered, where the gateway answers. */
  ping?: string;
  lost(code: number, reason: string): void;
  failed(error: unknown): void;
  status(status: Status): void;
}

type Timer = ReturnType<typeof setTimeout>;

export class Connection {
  status: Status = "idle";
  #link: Link | undefined;
  #turn = 0;
  #heard = 0;
  #worked = false;
  /** It was asked for a sign of life. */
  #suspected = false;
  #retry: Timer | undefined;
  #stable: Timer | undefined;
  #beat: Timer | undefined;
  #forget: (() => void) | undefined;
  readonly #backoff: Backoff;
  readonly #heartbeat: number;
  readonly #timeout: number;

  readonly #owner: Owner;

  constructor(owner: Owner, { backoff, heartbeat = 30_000, timeout = 10_000 }: ConnectionOptions) {
    this.#owner = owner;
    this.#backoff = new Backoff(backoff?.min, backoff?.max);
    this.#heartbeat = heartbeat;
    this.#timeout = timeout;
  }

  /** Connects, unless that is so or under way. */
  connect(): void {
    if (["idle", "denied", "closed"].includes(this.status)) {
      this.#worked = false;
      this.#forget ??= watchSurroundings(this);
      this.#backoff.reset();
      void this.#attempt();
    }
  }

  close(): void {
    this.#stop("closed");
  }

  /** The owner's greeting is over. */
  established(): void {
    this.#worked = true;
    clearTimeout(this.#beat);
    this.#stable = setTimeout(() => this.#backoff.reset(), STABLE);
    this.#set("connected");
  }

  /** Makes the connection anew at once, whatever its state; what it brought goes on by resuming. */
  reopen(): void {
    if (this.#forget) this.lose(1000, "reopened", true);
  }

  /** The device woke up or has a network again: tries at once, or looks whether the link still lives. */
  wake(): void {
    if (this.#retry) {
      this.#backoff.reset();
      void this.#attempt();
    } else {
      this.suspect();
    }
  }

  /** Something speaks against the link: looks whether it still lives. */
  suspect(): void {
    if (this.status === "connected" && this.#owner.ping && this.#link?.send) this.#probe(SUSPECT);
  }

  async #attempt(): Promise<void> {
    const turn = this.#begin();
    this.#set(this.#worked ? "reconnecting" : "connecting");
    try {
      const dials = await this.#owner.dials();
      if (turn === this.#turn) this.#dial(dials);
    } catch (error) {
      if (turn === this.#turn) {
        this.#owner.failed(error);
        this.lose(SILENT, "no token");
      }
    }
  }

  #begin(): number {
    clearTimeout(this.#retry);
    clearTimeout(this.#stable);
    clearTimeout(this.#beat);
    this.#retry = undefined;
    this.#link?.close();
    this.#link = undefined;
    return ++this.#turn;
  }

  /** Tries the first transport; the others if it ends before anything was established. */
  #dial([first, ...others]: Dial[]): void {
    const turn = this.#begin();
    if (!first) return this.lose(SILENT, "no transport");
    const ended = (code: number, reason: string) => {
      if (turn !== this.#turn) return;
      const next = this.status !== "connected" && others.length > 0 && !isTerminal(code);
      if (next) this.#dial(others);
      else this.lose(code, reason);
    };
    this.#beat = setTimeout(() => ended(SILENT, "not established in time"), this.#timeout);
    try {
      const link = first({
        opened: () => turn === this.#turn && this.#owner.opened(link),
        message: (text) => turn === this.#turn && this.#hear(text),
        closed: ended,
      });
      this.#link = link;
    } catch (error) {
      // A page over https may not open `ws:`, for one.
      ended(SILENT, String(error));
    }
  }

  #hear(text: string): void {
    this.#heard = Date.now();
    const before = this.status;
    this.#owner.message(text);
    // Suspicions are over, and the first word of an established link starts its heart.
    if (this.status === "connected" && (before !== "connected" || this.#suspected)) this.#watch();
  }

  /** Looks again when the link could have been silent for a whole heartbeat. */
  #watch(): void {
    this.#suspected = false;
    clearTimeout(this.#beat);
    if (!this.#owner.ping) return;
    const pause = this.#link?.send ? this.#heartbeat : this.#heartbeat * PATIENCE;
    const silent = Date.now() - this.#heard;
    this.#beat = setTimeout(
      () => (Date.now() - this.#heard < pause ? this.#watch() : this.#probe(this.#timeout)),
      Math.max(0, pause - silent),
    );
  }

  /** Asks for a sign of life. */
  #probe(wait: number): void {
    clearTimeout(this.#beat);
    this.#suspected = true;
    const link = this.#link;
    if (!link?.send) return this.reopen();
    link.send(this.#owner.ping!);
    this.#beat = setTimeout(() => this.lose(SILENT, "the gateway is silent", true), wait);
  }

  /** The present link or attempt is over. */
  lose(code: number, reason: string, atOnce = false): void {
    this.#begin();
    this.#suspected = false;
    this.#owner.lost(code, reason);
    if (isTerminal(code)) return this.#stop("denied");
    // Whoever was told above may have closed it.
    if (!this.#forget) return;
    this.#retry = setTimeout(() => void this.#attempt(), atOnce ? 0 : this.#backoff.next());
    const offline = globalThis.navigator?.onLine === false;
    this.#set(offline ? "offline" : this.#worked ? "reconnecting" : "connecting");
  }

  #stop(status: Status): void {
    if (this.status === "closed") return;
    this.#begin();
    this.#forget?.();
    this.#forget = undefined;
    this.#set(status);
  }

  #set(status: Status): void {
    if (this.status === status) return;
    this.status = status;
    this.#owner.status(status);
  }
}

/** Listens to network and page. Workers have no page, Node has neither. */
function watchSurroundings(connection: Connection): () => void {
  const abort = new AbortController();
  const page = globalThis.document;
  const listen = (target: EventTarget | undefined, name: string, handler: () => void) =>
    target?.addEventListener?.(name, handler, { signal: abort.signal });
  const wake = () => connection.wake();
  listen(globalThis, "online", wake);
  listen(globalThis, "pageshow", wake);
  listen(globalThis, "offline", () => connection.suspect());
  listen(page, "visibilitychange", () => page.visibilityState === "visible" && wake());
  return () => abort.abort();
}
