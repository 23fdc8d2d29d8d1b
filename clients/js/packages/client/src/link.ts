// One transport connection, whatever it is made of: texts come in, texts may go out, it ends once with a code.

import type { WebSocketClass } from "./types.js";

/** What a link tells. Nothing comes after `closed`. */
export interface LinkEvents {
  opened(): void;
  message(text: string): void;
  closed(code: number, reason: string): void;
}

export interface Link {
  /** Absent where the transport only brings. */
  send?(text: string): void;
  /** Ends it silently. */
  close(): void;
}

/** Begins a link. It tells nothing before this has returned. */
export type Dial = (events: LinkEvents) => Link;

/** What a link that never opened is closed with, as browsers do (RFC 6455 §7.1.5). */
export const ABNORMAL = 1006;

/** A link over a WebSocket. */
export function dialWebSocket(url: string, Socket: WebSocketClass): Dial {
  return (events) => {
    const socket = new Socket(url);
    socket.onopen = () => events.opened();
    socket.onmessage = ({ data }) => typeof data === "string" && events.message(data);
    socket.onclose = ({ code, reason }) => events.closed(code ?? ABNORMAL, String(reason ?? ""));
    // A close follows always; without a listener `ws` would throw.
    socket.onerror = () => {};
    return {
      send: (text) => socket.send(text),
      close: () => {
        socket.onopen = socket.onmessage = socket.onclose = null;
        socket.close(1000);
      },
    };
  };
}
