// The entries that this till knows, the newest first, and those that it missed.

import type { Status } from "@pregon/client";
import { useChannel, useStatus } from "@pregon/react";
import { useEffect, useState } from "react";
import type { Entry } from "./entry.js";

const SHOWN = 20;
/** How far back a till looks when it is opened; after a break it always gets everything. */
const LAST = 100;
const KEY = "turnstile:last";

export interface Entries {
  /** Newest first. */
  all: Entry[];
  /** What came in while nobody could see it, newest first. */
  away: Entry[];
  /** The gateway cannot say what is missing. */
  gap: boolean;
  /** "I have seen them." */
  clearAway(): void;
}

/** `heard` is called once for each entry. */
export function useEntries(heard: (entry: Entry, replayed: boolean, channel: string, event: string) => void): Entries {
  const [entries, setEntries] = useState<Pick<Entries, "all" | "away" | "gap">>({ all: [], away: [], gap: false });
  // The newest entry that this till had shown when it was closed; a new till has missed nothing.
  const [before] = useState(() => Number(localStorage.getItem(KEY)) || Infinity);
  const breaks = useBreaks();

  useChannel<{ entrada: Entry }>(
    "entradas",
    {
      entrada(entry, { replayed = false, channel, event }) {
        const missed = breaks.missed(entry, replayed) || (replayed && entry.id_entrada > before);
        localStorage.setItem(KEY, String(entry.id_entrada));
        setEntries(({ all, away, gap }) => ({
          all: [entry, ...all].slice(0, SHOWN),
          away: missed ? [entry, ...away] : away,
          gap,
        }));
        heard(entry, replayed, channel, event);
      },
      gap: () => setEntries((known) => ({ ...known, gap: true })),
    },
    { last: LAST },
  );

  return { ...entries, clearAway: () => setEntries((known) => ({ ...known, away: [], gap: false })) };
}

/**
 * What came in while the connection was away. That is more than what is replayed: a gateway that was away itself may be followed
 * again before it has caught up with the database, and then brings as new what is not.
 */
function useBreaks() {
  const status = useStatus();
  const [breaks] = useState(() => new Breaks());
  useEffect(() => breaks.status(status), [breaks, status]);
  return breaks;
}

class Breaks {
  #lost = false;
  #back = Infinity;

  status(status: Status): void {
    if (status === "reconnecting" || status === "offline") [this.#lost, this.#back] = [true, Infinity];
    else if (status === "connected" && this.#lost) this.#back = Math.min(this.#back, Date.now());
  }

  /** By the clocks of the database and of this till, which agree well enough for a list. */
  missed(entry: Entry, replayed: boolean): boolean {
    return this.#lost && (replayed || new Date(entry.fecha_entrada).getTime() < this.#back);
  }
}
