// @pregon/client/bare: a bare endpoint (`[[endpoint]]`), from which payloads come and nothing else. The connection comes back by itself, but knows no positions.

import { Connection } from "./connection.js";
import { dialWebSocket, type Link } from "./link.js";
import { resolveToken } from "./token.js";
import type { ConnectionOptions, Status, Token } from "./types.js";

export interface BareOptions extends ConnectionOptions {
  /** `wss://rt.example.com/ws/sales` */
  url: string;
  token?: Token;
  /** Rooms to join, where the endpoint has some. */
  rooms?: string[];
  /** Every payload, as it came. */
  onMessage(text: string): void;
  onStatus?(status: Status): void;
  /** No token could be had, or the gateway ended the connection with a code. */
  onError?(error: unknown): void;
}

/** A connection to a bare endpoint. */
export interface BareSocket {
  readonly status: Status;
  /** Says something in a room; nothing happens while there is no connection. */
  send(text: string): void;
  close(): void;
}

/** Connects to a bare endpoint. The token goes into the address, because nothing else is heard there. */
export function openBare(options: BareOptions): BareSocket {
  const Socket = options.WebSocket ?? globalThis.WebSocket;
  let link: Link | undefined;
  const connection = new Connection(
    {
      async dials() {
        const url = new URL(options.url);
        const token = await resolveToken(options.token);
        if (token) url.searchParams.set("token", token);
        if (options.rooms?.length) url.searchParams.set("rooms", options.rooms.join(","));
        return [dialWebSocket(url.href, Socket)];
      },
      opened(opened) {
        link = opened;
        connection.established();
      },
      message: (text) => options.onMessage(text),
      lost() {
        link = undefined;
      },
      failed: (error) => options.onError?.(error),
      status: (status) => options.onStatus?.(status),
    },
    options,
  );
  connection.connect();
  return {
    get status() {
      return connection.status;
    },
    send: (text) => link?.send?.(text),
    close: () => connection.close(),
  };
}
