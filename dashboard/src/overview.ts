// The overview as it streams in, with its last two minutes; comes back by itself when the gateway was away.

import { Refused, forgetToken, stream, token } from "./api";
import { signal } from "./state";
import type { Histogram, Overview } from "./types";

/** Seconds that the charts show, and that the latency is counted over. */
const KEPT = 120;
const MINUTE = 60;

export interface Picture {
  now: Overview;
  /** Seconds since 1970, and what happened per second then. */
  times: number[];
  events: number[];
  deliveries: number[];
  /** The latencies of the last minute. */
  latency: Histogram;
}

export const picture = signal<Picture | null>(null);
export const connection = signal<"connecting" | "open" | "lost">("connecting");
export const signedIn = signal(token() !== "");

let latencies: { at: number; histogram: Histogram }[] = [];

function take(now: Overview): void {
  const before = picture.get();
  const at = new Date(now.at).getTime() / 1000;
  // Another process counts from zero.
  const same = before?.now.node.started === now.node.started;
  if (!same) latencies = [];
  latencies = [...latencies.filter((one) => at - one.at <= MINUTE + 1), { at, histogram: now.latency }];
  const last = <T>(list: T[], next: T) => [...list, next].slice(-KEPT);
  const known = same ? before : null;
  picture.set({
    now,
    times: last(known?.times ?? [], at),
    events: last(known?.events ?? [], now.rates?.events ?? 0),
    deliveries: last(known?.deliveries ?? [], now.rates?.deliveries ?? 0),
    latency: difference(now.latency, latencies[0]!.histogram),
  });
}

function difference(now: Histogram, before: Histogram): Histogram {
  const buckets = now.buckets.map(([bound, count], at): [number | null, number] => [bound, count - (before.buckets[at]?.[1] ?? 0)]);
  return { buckets, sum: now.sum - before.sum, count: now.count - before.count };
}

/** The smallest bound that so many of the values are below of. */
export function quantile({ buckets, count }: Histogram, share: number): number | null {
  return buckets.find(([, upto]) => upto >= count * share)?.[0] ?? null;
}

/** Follows the gateway until `signal`. */
export async function follow(signal: AbortSignal): Promise<void> {
  for (let wait = 500; !signal.aborted; wait = Math.min(wait * 2, 8000)) {
    try {
      await stream(
        "stream",
        {},
        signal,
        (_, data) => {
          take(data as Overview);
          wait = 500;
        },
        () => connection.set("open"),
      );
    } catch (failed) {
      if (signal.aborted) return;
      if (failed instanceof Refused && failed.status === 401) {
        signOut();
        return;
      }
    }
    connection.set("lost");
    await new Promise((done) => setTimeout(done, wait));
  }
}

export function signOut(): void {
  forgetToken();
  picture.set(null);
  signedIn.set(false);
}
