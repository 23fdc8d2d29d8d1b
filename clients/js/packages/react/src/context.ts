// The client that the hooks of a tree use.

import type { Client, EventMap } from "@pregon/client";
import { createContext, createElement, useContext, type ReactNode } from "react";

const Context = createContext<Client<any> | null>(null);

/** Gives a client to the hooks below. It connects when the first of them listens; closing it is for whoever made it. */
export function PregonProvider({ client, children }: { client: Client<any>; children?: ReactNode }) {
  return createElement(Context.Provider, { value: client }, children);
}

/** The client of the nearest provider. */
export function usePregon<E extends EventMap = EventMap>(): Client<E> {
  const client = useContext(Context);
  if (!client) throw new Error("usePregon: there is no <PregonProvider client={…}> above this component");
  return client;
}
