// The words of the protocol and of this package's options.

/** Events by name; `pregon types` writes one for your configuration. */
export type EventMap = Record<string, any>;

/** An event of a channel, beside its data. */
export interface PregonEvent<D = unknown, N extends string = string> {
  channel: string;
  event: N;
  data: D;
  /** Place in the log; opaque. */
  position: string;
  /** When the gateway took it, RFC 3339. */
  time: string;
  /** It happened before the subscription or while the client was away. */
  replayed?: boolean;
}

/** Something between two positions may be missing: reload what you show. */
export interface Gap {
  channel: string | null;
  from: string | null;
  to: string;
  reason: "source" | "pruned" | "restart";
}

/** A client that begins or ceases to follow a channel. */
export interface Member {
  channel: string;
  client: string;
}

/**
 * `idle`: not asked to connect yet; `connecting`: for the first time; `connected`; `reconnecting`; `offline`: as that, and
 * the device has no network; `denied`: the gateway said not to come back, `connect()` tries again; `closed`: by `close()`.
 */
export type Status = "idle" | "connecting" | "connected" | "reconnecting" | "offline" | "denied" | "closed";

/** A token, or what gets one: asked on every connect and before the present one ends. Nothing means without. */
export type Token = string | null | undefined | (() => string | null | undefined | Promise<string | null | undefined>);

/** The part of a WebSocket class that is used; browsers', Node's (22 and later) and that of the package `ws` have it. */
export type WebSocketClass = new (url: string) => {
  onopen: ((event: any) => void) | null;
  onmessage: ((event: any) => void) | null;
  onclose: ((event: any) => void) | null;
  onerror: ((event: any) => void) | null;
  send(text: string): void;
  close(code?: number, reason?: string): void;
};

/** Where a position is kept over a reload: `sessionStorage` fits, being one for each tab. */
export type PositionStorage = Pick<Storage, "getItem" | "setItem">;

/** How a connection is kept. */
export interface ConnectionOptions {
  /** Default: the global one. Node 20 has none: give that of the package `ws`. */
  WebSocket?: WebSocketClass;
  /** Pauses between attempts, milliseconds: a random time up to `min`, twice that after each failure, never above `max`. Default 500 and 20,000. */
  backoff?: { min?: number; max?: number };
  /** Milliseconds without a word after which the gateway is asked whether it is there. Default 30,000: the gateway itself speaks every 25 s. */
  heartbeat?: number;
  /** Milliseconds that a connection may take to be made, and a command to be answered. Default 10,000. */
  timeout?: number;
}

export interface ClientOptions extends ConnectionOptions {
  /** `https://rt.example.com` (then `/ws` and `/sse` below it), or the socket's own `wss://rt.example.com/ws`. Default: the page's origin. */
  url?: string;
  token?: Token;
  /** Tried in this order until one has worked. Default WebSocket, then server-sent events. */
  transports?: ("ws" | "sse")[];
  /** Default `sessionStorage` where there is one; `null` keeps nothing over a reload. */
  storage?: PositionStorage | null;
  /** Default: the global one. */
  fetch?: typeof fetch;
}

/** How a subscription begins when the page is loaded; a reconnect always resumes, and without these so does a reload. */
export interface ChannelOptions {
  /** The newest events of the channel come first. */
  last?: number;
  /** A position, or a time such as `5m`. */
  since?: string;
}

/** What became of a subscription. */
export interface Subscribed {
  /** Everything since the position that the client had came, or is coming. */
  recovered: boolean;
  position: string;
}
