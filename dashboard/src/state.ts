// A value that components may follow: all the state management that this page needs.

import { useEffect, useState } from "preact/hooks";

export interface Signal<T> {
  get(): T;
  set(next: T): void;
  follow(told: () => void): () => void;
}

export function signal<T>(first: T): Signal<T> {
  let value = first;
  const followers = new Set<() => void>();
  return {
    get: () => value,
    set(next) {
      value = next;
      for (const told of followers) told();
    },
    follow(told) {
      followers.add(told);
      return () => followers.delete(told);
    },
  };
}

/** The present value; the component is drawn again when it changes. */
export function useSignal<T>(of: Signal<T>): T {
  const [, again] = useState(0);
  useEffect(() => of.follow(() => again((n) => n + 1)), [of]);
  return of.get();
}

/** What one tab hands another, for example a row that is to be tried. */
export const handed = signal<{ tab: string; values: Record<string, string> } | null>(null);
