// A report that is fetched anew when the gateway says that it is old: seed 002's hook and Apollo's refetch.

import type { DocumentNode } from "@apollo/client";
import { useQuery } from "@apollo/client/react";
import type { TypedDocumentNode } from "@apollo/client";
import type { Facts, StripStore } from "@pregon/example-kit";
import { useWebSocket, type StatsEvent } from "@pregon/react";

/** What is published for everybody who looks at the shelf. */
const ROOM = "tienda";
/** So long, ms, an event may still be on its way: it shall be seen by itself. */
const YOUNG = 1_000;

export interface Live<T> {
  report: T | undefined;
  isConnected: boolean;
  error: string | undefined;
}

interface Options<T> {
  facts: Facts;
  token: string;
  query: TypedDocumentNode<T, Record<string, never>>;
  strip: () => StripStore;
}

export function useLiveReport<T>({ facts, token, query, strip }: Options<T>): Live<T> {
  const { data, error, refetch } = useQuery(query as DocumentNode as TypedDocumentNode<T, Record<string, never>>);

  // What was published before a report was asked for is in the report, whether or not Redis kept it for us.
  const reload = async () => {
    const asked = Date.now();
    const answer = await refetch().catch(() => undefined);
    if (answer?.data) setTimeout(() => strip().covered(asked), YOUNG);
  };
  const heard = (message: StatsEvent, channel: string, event: string) => {
    const { key } = (message.metadata ?? message) as { key?: string };
    if (key) strip().arrived(key, { channel, event });
    void reload();
  };
  const { isConnected } = useWebSocket({
    token,
    url: facts.ws,
    rooms: [ROOM],
    onStatsUpdate: (event) => heard(event, event.seller_id ? `seller:SELLER:${event.seller_id}` : "admin:ADMIN", event.type),
    onMessage: (message) => heard(message, `ws:room:${ROOM}`, "message"),
    // After a break something may have been published that nobody kept.
    onConnect: () => void reload(),
    debug: new URLSearchParams(location.search).has("debug"),
  });
  return { report: data as T | undefined, isConnected, error: error?.message };
}
