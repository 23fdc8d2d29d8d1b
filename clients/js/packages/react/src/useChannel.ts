// Following a channel while a component is on the page.

import type { Channel, ChannelOptions, EventMap, Gap, Member, PregonEvent } from "@pregon/client";
import { useEffect } from "react";
import { usePregon } from "./context.js";
import { useLatestRef } from "./latestRef.js";

/** What to do with the events of a channel, by name; `*` hears all. */
export type Handlers<E extends EventMap = EventMap> = {
  [N in keyof E & string]?: (data: E[N], event: PregonEvent<E[N], N>) => void;
} & {
  "*"?: (data: any, event: PregonEvent<any>) => void;
  gap?: (gap: Gap) => void;
  join?: (member: Member) => void;
  leave?: (member: Member) => void;
};

/**
 * Calls the handlers for what the channel brings, and returns it. A name of `null` follows nothing. However many components follow a
 * channel, the gateway sees one subscription.
 */
export function useChannel<E extends EventMap = EventMap>(
  name: string | null | undefined,
  handlers: Handlers<E> = {},
  options: ChannelOptions = {},
): Channel<E> | undefined {
  const client = usePregon();
  const channel = name ? client.channel<E>(name, options) : undefined;
  const latest = useLatestRef<Record<string, any>>(handlers);
  const events = JSON.stringify(Object.keys(handlers).sort());
  useEffect(() => {
    const listen = (event: string) => channel?.on(event, (...args: unknown[]) => latest.current[event]?.(...args));
    const offs = (JSON.parse(events) as string[]).map(listen);
    return () => offs.forEach((off) => off?.());
  }, [channel, events, latest]);
  return channel;
}

/** Calls the handler for one kind of event. */
export function useEvent<E extends EventMap = EventMap, N extends keyof E & string = keyof E & string>(
  name: string | null | undefined,
  event: N,
  handler: (data: E[N], event: PregonEvent<E[N], N>) => void,
): void {
  useChannel(name, { [event]: handler } as Handlers);
}
