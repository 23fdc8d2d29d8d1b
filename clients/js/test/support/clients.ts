// Clients of a test, with what Node 20 lacks, closed with it.

import { createClient, type Client, type ClientOptions, type PregonEvent } from "@pregon/client";
import { onTestFinished } from "vitest";
import WebSocket from "ws";

export function client(url: string, options: ClientOptions = {}): Client {
  const made = createClient({ url, WebSocket, backoff: { min: 20, max: 200 }, ...options });
  onTestFinished(() => made.close());
  return made;
}

/** Everything that a channel brings, in order. */
export function collect(from: Client, name: string): PregonEvent[] {
  const events: PregonEvent[] = [];
  from.channel(name).on("*", (_, event) => events.push(event));
  return events;
}

/** The storage of a tab. */
export class Tab {
  readonly kept = new Map<string, string>();
  getItem = (key: string) => this.kept.get(key) ?? null;
  setItem = (key: string, value: string) => void this.kept.set(key, value);
}
