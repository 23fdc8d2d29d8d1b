// Which events are meant: `order.created`, all that begin with `order.` as `order.*`, or all as `*`.

import type { Channel, PregonEvent } from "@pregon/client";

/** Whether the name of an event fits. */
export function fits(pattern: string, event: string): boolean {
  return pattern.endsWith("*") ? event.startsWith(pattern.slice(0, -1)) : pattern === event;
}

/** Calls `heard` with every pattern that an event fits, and `gap` where something may be missing. */
export function listen(
  channel: Channel<any>,
  patterns: string[],
  heard: (pattern: string, event: PregonEvent<any>) => void,
  gap: () => void,
): () => void {
  const off = [
    channel.on("*", (_, event) => patterns.forEach((pattern) => fits(pattern, event.event) && heard(pattern, event))),
    channel.on("gap", gap),
  ];
  return () => off.forEach((off) => off());
}
