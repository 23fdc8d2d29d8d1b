// The entries that this till knows, the newest first, and those that it missed.

import { useChannel } from "@pregon/react";
import { useRef, useState } from "react";
import type { Entry } from "./entry.js";

const SHOWN = 40;
/** How far back a till looks when it is opened; after a break it always gets everything. */
const LAST = 100;
const KEY = "turnstile:last";

export interface Entries {
  /** Newest first. */
  all: Entry[];
  /** What came in while nobody could see it, newest first. */
  away: Entry[];
  /** The one that came in just now, if any did since the page was opened. */
  live?: Entry;
  /** The gateway cannot say what is missing. */
  gap: boolean;
  /** "I have seen them." */
  clearAway(): void;
}

/** `heard` is called once for each entry. */
export function useEntries(heard: (entry: Entry, replayed: boolean, channel: string, event: string) => void): Entries {
  const [entries, setEntries] = useState<Pick<Entries, "all" | "away" | "live" | "gap">>({ all: [], away: [], gap: false });
  // The newest entry that this till has shown, also before it was closed.
  const last = useRef<number | null>(Number(localStorage.getItem(KEY)) || null);

  useChannel<{ entrada: Entry }>(
    "entradas",
    {
      entrada(entry, { replayed = false, channel, event }) {
        const missed = replayed && last.current !== null && entry.id_entrada > last.current;
        last.current = Math.max(last.current ?? 0, entry.id_entrada);
        localStorage.setItem(KEY, String(last.current));
        setEntries((before) => ({
          ...before,
          all: [entry, ...before.all].slice(0, SHOWN),
          away: missed ? [entry, ...before.away] : before.away,
          live: replayed ? before.live : entry,
        }));
        heard(entry, replayed, channel, event);
      },
      gap: () => setEntries((before) => ({ ...before, gap: true })),
    },
    { last: LAST },
  );

  return { ...entries, clearAway: () => setEntries((before) => ({ ...before, away: [], gap: false })) };
}
