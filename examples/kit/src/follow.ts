// Following channels with an unmodified socket.io-client: what was said while the connection was away is asked for at the next connect.

import type { Status } from "@pregon/client";
import { useEffect, useRef, useState } from "react";
import type { Socket } from "socket.io-client";

/** Hears an event, the first time or again: whoever hears it has to know what it has already. */
export type Hear = (event: string, data: any) => void;

interface Answer {
  ok?: true;
  error?: string;
  position: string;
  recovered: boolean;
  history?: { event: string; data: unknown }[];
}

export interface FollowOptions {
  /** How much of the past is brought at first. */
  last?: number;
  /** The past cannot be complete: what is on the screen has to be loaded anew. */
  gap?: () => void;
}

/**
 * Subscribes to a channel at every connect, first with its last events, later with everything since the last answer. Live events
 * come by `socket.on`, as always; `hear` gets the past.
 */
export function follow(socket: Socket, channel: string, hear: Hear, { last = 50, gap }: FollowOptions = {}): () => void {
  let position: string | undefined;
  let left = false;
  let again: ReturnType<typeof setTimeout> | undefined;
  const subscribe = () => {
    clearTimeout(again);
    const from = position ? { since: position } : { last };
    socket.emit("subscribe", channel, from, (answer: Answer) => {
      if (left) return;
      // The gateway could not ask its database whether we may: it says so, and will know soon.
      if (answer.error === "unavailable") {
        again = setTimeout(() => socket.connected && subscribe(), 500);
        return;
      }
      if (answer.error) return gap?.();
      if (position && !answer.recovered) gap?.();
      position = answer.position;
      for (const { event, data } of answer.history ?? []) hear(event, data);
    });
  };
  socket.on("connect", subscribe);
  if (socket.connected) subscribe();
  return () => {
    left = true;
    clearTimeout(again);
    socket.off("connect", subscribe);
    if (socket.connected) socket.emit("unsubscribe", channel);
  };
}

/** `follow` while a component is on the page; a channel of `null` follows nothing. */
export function useFollow(socket: Socket, channel: string | null, hear: Hear, options: FollowOptions = {}): void {
  const latest = useRef({ hear, options });
  useEffect(() => {
    latest.current = { hear, options };
  });
  useEffect(() => {
    if (!channel) return;
    return follow(socket, channel, (event, data) => latest.current.hear(event, data), {
      ...latest.current.options,
      gap: () => latest.current.options.gap?.(),
    });
  }, [socket, channel]);
}

/** Hears one kind of live event while a component is on the page. */
export function useSocketEvent(socket: Socket, event: string, heard: (data: any) => void): void {
  const latest = useRef(heard);
  useEffect(() => {
    latest.current = heard;
  });
  useEffect(() => {
    const listener = (data: unknown) => latest.current(data);
    socket.on(event, listener);
    return () => void socket.off(event, listener);
  }, [socket, event]);
}

/** The connection in the words of the kit's light. */
export function useSocketStatus(socket: Socket): Status {
  const [status, setStatus] = useState<Status>(socket.connected ? "connected" : "connecting");
  useEffect(() => {
    const connected = () => setStatus("connected");
    // `active` says that the client will try again by itself.
    const disconnected = () => setStatus(socket.active ? "reconnecting" : "closed");
    const refused = () => setStatus((before) => (!socket.active ? "denied" : before === "connecting" ? before : "reconnecting"));
    if (socket.connected) connected();
    socket.on("connect", connected).on("disconnect", disconnected).on("connect_error", refused);
    return () => void socket.off("connect", connected).off("disconnect", disconnected).off("connect_error", refused);
  }, [socket]);
  return status;
}

/** Who else is in a channel whose section sets `presence`. */
export function usePresence(socket: Socket, channel: string): Set<string> {
  const [members, setMembers] = useState<Set<string>>(new Set());
  const ask = () => socket.emit("presence", channel, (answer: { clients?: string[] }) => setMembers(new Set(answer.clients)));
  const change = (event: "join" | "leave") => (member: { channel: string; client: string }) => {
    if (member.channel !== channel) return;
    setMembers((before) => {
      const after = new Set(before);
      if (event === "join") after.add(member.client);
      else after.delete(member.client);
      return after;
    });
  };
  useFollow(socket, channel, () => {}, { last: 0 });
  useSocketEvent(socket, "join", change("join"));
  useSocketEvent(socket, "leave", change("leave"));
  useEffect(() => {
    socket.on("connect", ask);
    if (socket.connected) ask();
    return () => {
      socket.off("connect", ask);
      setMembers(new Set());
    };
  }, [socket, channel]);
  return members;
}
