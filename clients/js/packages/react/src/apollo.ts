// Apollo Client fetches anew what an event made old: by the names of queries, or by a source of its refetch manager.

import type { Channel, PregonEvent } from "@pregon/client";
import { listen } from "./patterns.js";

/** Milliseconds in which events are gathered: a burst is one refetch. */
const WAIT = 150;

/** What is used of `ApolloClient` (3 and 4). */
export interface Apollo {
  refetchQueries(options: { include: any }): unknown;
}

/**
 * Refetches queries by their names when events come: `{ "order.*": ["Orders"] }`; after a gap all that are on the page. The result
 * ends it.
 */
export function apolloRefetch(apollo: Apollo, channel: Channel<any>, queries: Record<string, string[]>, wait = WAIT): () => void {
  const names = new Set<string>();
  let timer: ReturnType<typeof setTimeout> | undefined;
  const flush = () => {
    timer = undefined;
    apollo.refetchQueries({ include: names.has("*") ? "active" : [...names] });
    names.clear();
  };
  const add = (found: string[]) => {
    for (const name of found) names.add(name);
    timer ??= setTimeout(flush, wait);
  };
  const off = listen(
    channel,
    Object.keys(queries),
    (pattern) => add(queries[pattern] ?? []),
    () => add(["*"]),
  );
  return () => {
    off();
    clearTimeout(timer);
  };
}

/**
 * A source for the `RefetchEventManager` of Apollo Client 4.2 and later: it emits every event that fits one of the patterns, and
 * `null` after a gap. Queries on the page refetch then, unless their `refetchOn` says that this is no reason.
 */
export function apolloRefetchSource(channel: Channel<any>, patterns: string[] = ["*"]): () => any {
  return () => ({
    subscribe(next: (event: PregonEvent<any> | null) => void) {
      const off = listen(
        channel,
        patterns,
        (_, event) => next(event),
        () => next(null),
      );
      return { unsubscribe: off };
    },
  });
}
