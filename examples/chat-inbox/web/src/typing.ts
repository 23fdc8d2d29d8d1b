// Who is typing: an event of the channel beside the conversation that reaches who is here and is not kept.

import { useEffect, useRef, useState } from "react";
import type { Socket } from "socket.io-client";
import { useSocketEvent } from "@pregon/example-kit/chat";

/** Somebody who has said nothing for so long, milliseconds, has stopped. */
const STOPPED = 3_000;
/** A keystroke is told at most so often. */
const EVERY = 1_000;

interface Typing {
  conversation: number;
  who: string;
  /** They have sent what they wrote. */
  done?: boolean;
}

/** Whether somebody else types in a conversation, and how to say that we do, or have done. */
export function useTyping(
  socket: Socket,
  conversation: number,
  me: string,
): { typing: boolean; type: () => void; done: () => void } {
  const [typing, setTyping] = useState(false);
  const stopped = useRef<ReturnType<typeof setTimeout>>(undefined);
  const told = useRef(0);
  const set = (now: boolean) => {
    clearTimeout(stopped.current);
    setTyping(now);
    if (now) stopped.current = setTimeout(() => setTyping(false), STOPPED);
  };
  useSocketEvent(socket, "typing", (event: Typing) => {
    if (event.conversation === conversation && event.who !== me) set(!event.done);
  });
  useEffect(() => () => set(false), [conversation]);
  const say = (done: boolean) => {
    told.current = done ? 0 : Date.now();
    socket.emit("publish", `presence_${conversation}`, "typing", { conversation, who: me, done });
  };
  const type = () => {
    if (Date.now() - told.current >= EVERY) say(false);
  };
  return { typing, type, done: () => say(true) };
}
