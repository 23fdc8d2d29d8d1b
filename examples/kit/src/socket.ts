// The socket of a page, as an application with Socket.IO has it already.

import { useEffect, useMemo } from "react";
import { io, type Socket } from "socket.io-client";

/** A socket that connects with a token while a component is on the page. */
export function useSocket(gateway: string, token: string): Socket {
  const socket = useMemo(() => {
    // In an application the function asks for a fresh token: it is called at every connect.
    const auth = (send: (auth: object) => void) => send({ token });
    // The demo's gateways are back after two seconds; nobody likes to look at a yellow light for longer.
    return io(gateway, {
      auth,
      transports: ["websocket", "polling"],
      reconnectionDelayMax: 1_500,
      autoConnect: false,
      forceNew: true,
    });
  }, [gateway, token]);
  useEffect(() => {
    socket.connect();
    return () => void socket.disconnect();
  }, [socket]);
  return socket;
}

/** What a token says. Only to show it: whether it is true is for the gateway to check. */
export function claimsOf(token: string): Record<string, unknown> {
  try {
    const [, payload = ""] = token.split(".");
    const bytes = Uint8Array.from(atob(payload.replaceAll("-", "+").replaceAll("_", "/")), (char) => char.codePointAt(0)!);
    return JSON.parse(new TextDecoder().decode(bytes));
  } catch {
    return {};
  }
}
