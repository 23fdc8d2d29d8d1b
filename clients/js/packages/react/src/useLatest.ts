// The newest data of one kind of event.

import type { Channel, EventMap } from "@pregon/client";
import { useMemo, useSyncExternalStore } from "react";
import { usePregon } from "./context.js";

/** The newest data that a channel brought under one name, the same for all components that show it. */
class Latest {
  #value: unknown;
  #has = false;
  readonly #components = new Set<() => void>();
  #off: (() => void) | undefined;

  constructor(
    private readonly channel: Channel<any>,
    private readonly event: string,
  ) {}

  readonly subscribe = (changed: () => void) => {
    this.#components.add(changed);
    this.#off ??= this.channel.on(this.event, (data) => this.#set(data));
    return () => {
      this.#components.delete(changed);
      if (this.#components.size > 0) return;
      this.#off?.();
      this.#off = undefined;
      // Nobody listens: what comes next is not known here.
      this.#has = false;
    };
  };

  read<T>(initial: T): T {
    return this.#has ? (this.#value as T) : initial;
  }

  #set(value: unknown): void {
    this.#value = value;
    this.#has = true;
    for (const changed of this.#components) changed();
  }
}

const stores = new WeakMap<Channel<any>, Map<string, Latest>>();

function store(channel: Channel<any>, event: string): Latest {
  const events = stores.get(channel) ?? new Map<string, Latest>();
  stores.set(channel, events);
  const latest = events.get(event) ?? new Latest(channel, event);
  events.set(event, latest);
  return latest;
}

/** The data of the newest event of this name; `initial` until one comes. */
export function useLatest<E extends EventMap = EventMap, N extends keyof E & string = keyof E & string>(
  name: string | null | undefined,
  event: N,
  initial: E[N],
): E[N];
export function useLatest<E extends EventMap = EventMap, N extends keyof E & string = keyof E & string>(
  name: string | null | undefined,
  event: N,
): E[N] | undefined;
export function useLatest(name: string | null | undefined, event: string, initial?: unknown): unknown {
  const client = usePregon();
  const latest = useMemo(() => (name ? store(client.channel(name), event) : undefined), [client, name, event]);
  return useSyncExternalStore(
    latest?.subscribe ?? nothing,
    () => (latest ? latest.read(initial) : initial),
    () => initial,
  );
}

const nothing = () => () => {};
