// The hook of dashboards that refetch when their statistics change: a bare endpoint, one socket for all components that use it.

import type { WebSocketClass } from "@pregon/client";
import { openBare, type BareSocket } from "@pregon/client/bare";
import { useEffect, useState } from "react";
import { useLatestRef } from "./latestRef.js";

/** `ADMIN_STATS_UPDATED`, or `SELLER_STATS_UPDATED` with the seller that it is about. */
export interface StatsEvent {
  type: string;
  seller_id?: string | number;
  metadata?: Record<string, unknown>;
  [key: string]: unknown;
}

export interface WebSocketOptions {
  /** Without one there is no connection. */
  token: string | null | undefined;
  /** Something that was counted has changed: refetch it. */
  onStatsUpdate?: (event: StatsEvent) => void;
  /** Called for every connection, the first and those after a break: what changed meanwhile has to be fetched. */
  onConnect?: () => void;
  /** Tells the console what happens; never the token. */
  debug?: boolean;
  /** Default: `VITE_WS_URL` of the build, else the page's own host; `/ws` where it has no path. */
  url?: string;
  /** Rooms to join. */
  rooms?: string[];
  /** Everything else that comes, such as messages of rooms. */
  onMessage?: (message: any) => void;
  /** Default: the browser's. */
  WebSocket?: WebSocketClass;
}

/** How long, milliseconds, a socket without components stays: a page that is redrawn takes all away and adds them again. */
const LINGER = 250;

interface User {
  message(message: any): void;
  changed(connected: boolean): void;
  log(...words: unknown[]): void;
}

/** A socket and the components that use it. */
class Shared {
  readonly users = new Set<User>();
  connected = false;
  #socket: BareSocket | undefined;
  #timer: ReturnType<typeof setTimeout> | undefined;

  constructor(
    private readonly url: string,
    private readonly token: string,
    private readonly rooms: string[],
    private readonly Socket: WebSocketClass | undefined,
    private readonly gone: () => void,
  ) {}

  join(user: User): () => void {
    clearTimeout(this.#timer);
    this.users.add(user);
    if (this.connected) user.changed(true);
    this.#socket ??= this.#open();
    return () => {
      this.users.delete(user);
      if (this.users.size === 0) this.#timer = setTimeout(() => this.#close(), LINGER);
    };
  }

  #open(): BareSocket {
    return openBare({
      url: this.url,
      token: this.token,
      rooms: this.rooms,
      ...(this.Socket && { WebSocket: this.Socket }),
      onMessage: (text) => this.#message(text),
      onStatus: (status) => {
        if (status === "connecting" || status === "reconnecting") this.#log(`Connecting to: ${this.url}?token=...`);
        this.#connected(status === "connected");
      },
    });
  }

  #close(): void {
    this.#socket?.close();
    this.gone();
  }

  #connected(connected: boolean): void {
    if (connected === this.connected) return;
    this.connected = connected;
    this.#log(connected ? "Connected" : "Disconnected");
    for (const user of [...this.users]) user.changed(connected);
  }

  #message(text: string): void {
    let message: unknown;
    try {
      message = JSON.parse(text);
    } catch {
      message = text;
    }
    this.#log("Message received:", message);
    for (const user of [...this.users]) user.message(message);
  }

  #log(...words: unknown[]): void {
    for (const user of this.users) user.log(...words);
  }
}

const sockets = new Map<string, Shared>();

function share(url: string, token: string, rooms: string[], Socket: WebSocketClass | undefined): Shared {
  const key = JSON.stringify([url, token, rooms]);
  const shared = sockets.get(key) ?? new Shared(url, token, rooms, Socket, () => sockets.delete(key));
  sockets.set(key, shared);
  return shared;
}

/** Connects with the token, and again after a break. `isConnected` is the green or yellow light. */
export function useWebSocket(options: WebSocketOptions): { isConnected: boolean } {
  const { token, url, rooms = [], WebSocket: Socket } = options;
  const [isConnected, setConnected] = useState(false);
  const latest = useLatestRef(options);
  const joined = JSON.stringify(rooms);

  useEffect(() => {
    if (!token) return;
    const user: User = {
      message(message) {
        const { onStatsUpdate, onMessage } = latest.current;
        if (isStats(message)) onStatsUpdate?.(message);
        else onMessage?.(message);
      },
      changed(connected) {
        setConnected(connected);
        if (connected) latest.current.onConnect?.();
      },
      log: (...words) => latest.current.debug && console.log("[WebSocket]", ...words),
    };
    const leave = share(address(url), token, JSON.parse(joined), Socket).join(user);
    return () => {
      leave();
      setConnected(false);
    };
  }, [token, url, joined, Socket, latest]);

  return { isConnected };
}

function isStats(message: any): message is StatsEvent {
  return typeof message?.type === "string" && message.type.endsWith("_STATS_UPDATED");
}

/** What Vite was told. It looks for exactly these words; elsewhere there is no `env`, and reading it fails. */
function built(): string | undefined {
  try {
    // @ts-expect-error It is Vite's alone, and a cast would hide the words from it.
    return import.meta.env.VITE_WS_URL;
  } catch {
    return undefined;
  }
}

/** The endpoint's address. */
function address(given: string | undefined): string {
  const url = new URL(given ?? built() ?? location.origin.replace(/^http/, "ws"));
  if (url.pathname === "/") url.pathname = "/ws";
  return url.href;
}
