// How the connection is.

import type { Status } from "@pregon/client";
import { useCallback, useSyncExternalStore } from "react";
import { usePregon } from "./context.js";

/** The client's status; `idle` while a page is made on the server. */
export function useStatus(): Status {
  const client = usePregon();
  const subscribe = useCallback((changed: () => void) => client.on("status", changed), [client]);
  return useSyncExternalStore(
    subscribe,
    () => client.status,
    () => "idle",
  );
}
