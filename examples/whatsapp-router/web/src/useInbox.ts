// The inbox of some areas, live: their conversations, and the messages of each.

import type { Arrival } from "@pregon/example-kit";
import { follow, useSocketEvent } from "@pregon/example-kit/chat";
import { useEffect, useMemo, useReducer, useState } from "react";
import type { Socket } from "socket.io-client";
import { change, EMPTY, type Change, type Conversation, type Inbox, type Message, type Status } from "./inbox.js";

/** No `[[route]]` says it: the router publishes with the row, in the same transaction. */
const ROUTE = { from: "pregon router", to: "conversacion_{id}", event: "message:new" };

export type Arrived = (key: number, arrival: Arrival) => void;

/**
 * `arrived` hears of every message, with what the demo knows it by. `elsewhere` are the telephones whose conversations are known to
 * be in other areas.
 */
export function useInbox(socket: Socket, areas: string[], arrived?: Arrived): { inbox: Inbox; elsewhere: string[]; gap: boolean } {
  const [inbox, dispatch] = useReducer(change, EMPTY);
  const [gap, setGap] = useState(false);
  const hear = (event: string, data: unknown, replayed = false) => {
    const told = read(event, data);
    if (!told) return;
    dispatch(told);
    if (told.kind !== "message" || !told.message.raw.demo) return;
    const channel = `conversacion_${told.message.conversacion_id}`;
    arrived?.(told.message.raw.demo, { channel, event, replayed, route: ROUTE });
  };
  useSocketEvent(socket, "message:new", (message) => hear("message:new", message));
  useSocketEvent(socket, "message:status", (status) => hear("message:status", status));
  useSocketEvent(socket, "conversation:updated", (conversation) => hear("conversation:updated", conversation));
  useSocketEvent(socket, "gap", () => setGap(true));

  const own = useMemo(() => inbox.conversations.filter(({ area }) => areas.includes(area)), [inbox.conversations, areas]);
  const channels = [...areas.map((area) => `area_${area}`), ...own.map(({ id }) => `conversacion_${id}`)];
  const key = channels.toSorted().join();
  const [followed] = useState(() => new Map<string, () => void>());
  // One subscription for each area and each conversation in it; what has gone to another area is let go.
  useEffect(() => {
    const wanted = key.split(",");
    for (const channel of wanted) {
      if (followed.has(channel)) continue;
      const past = (event: string, data: unknown) => hear(event, data, true);
      followed.set(channel, follow(socket, channel, past, { last: 100, gap: () => setGap(true) }));
    }
    for (const [channel, leave] of followed) {
      if (wanted.includes(channel)) continue;
      leave();
      followed.delete(channel);
    }
  }, [socket, key]);
  useEffect(
    () => () => {
      for (const leave of followed.values()) leave();
      followed.clear();
    },
    [socket],
  );
  const elsewhere = useMemo(
    () => inbox.conversations.filter(({ area }) => !areas.includes(area)).map(({ telefono }) => telefono),
    [inbox.conversations, areas],
  );
  return { elsewhere, inbox: useMemo(() => ({ ...inbox, conversations: own }), [inbox, own]), gap };
}

function read(event: string, data: unknown): Change | undefined {
  switch (event) {
    case "message:new":
      return { kind: "message", message: data as Message };
    case "message:status":
      return { kind: "status", status: data as Status };
    case "conversation:updated":
      return { kind: "conversation", conversation: data as Conversation };
    default:
      return undefined;
  }
}
