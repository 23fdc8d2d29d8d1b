// TanStack Query fetches anew what an event made old.

import type { PregonEvent } from "@pregon/client";
import { useEffect } from "react";
import { usePregon } from "./context.js";
import { useLatestRef } from "./latestRef.js";
import { listen } from "./patterns.js";

/** Milliseconds in which events are gathered: a burst is one refetch. */
const WAIT = 150;

export type QueryKey = readonly unknown[];

/** What is used of TanStack's `QueryClient` (4 and 5). */
export interface Queries {
  invalidateQueries(filters?: { queryKey: QueryKey }): Promise<unknown>;
}

/** Query keys for events: `{ "order.*": [["orders"]], "*": (data) => [["order", data.id]] }`. */
export type Keys = Record<string, readonly QueryKey[] | ((data: any, event: PregonEvent<any>) => readonly QueryKey[])>;

/** Invalidates the keys of the events that a channel brings. After a gap, which may have hidden any of them, all queries. */
export function useInvalidate(
  queries: Queries,
  name: string | null | undefined,
  keys: Keys,
  { wait = WAIT }: { wait?: number } = {},
): void {
  const client = usePregon();
  const latest = useLatestRef(keys);
  const patterns = JSON.stringify(Object.keys(keys));
  useEffect(() => {
    if (!name) return;
    const pending = new Map<string, QueryKey>();
    let everything = false;
    let timer: ReturnType<typeof setTimeout> | undefined;
    const flush = () => {
      timer = undefined;
      if (everything) void queries.invalidateQueries();
      else for (const queryKey of pending.values()) void queries.invalidateQueries({ queryKey });
      pending.clear();
      everything = false;
    };
    const soon = () => (timer ??= setTimeout(flush, wait));
    const heard = (pattern: string, event: PregonEvent<any>) => {
      const found = latest.current[pattern] ?? [];
      for (const key of typeof found === "function" ? found(event.data, event) : found) pending.set(JSON.stringify(key), key);
      if (pending.size > 0) soon();
    };
    const gap = () => {
      everything = true;
      soon();
    };
    const off = listen(client.channel(name), JSON.parse(patterns), heard, gap);
    return () => {
      off();
      clearTimeout(timer);
      // What was heard is old, whether or not anybody still listens.
      if (timer) flush();
    };
  }, [client, queries, name, patterns, wait, latest]);
}
