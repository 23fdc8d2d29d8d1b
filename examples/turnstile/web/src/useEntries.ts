// The entries that this till knows, the newest first, and those that it missed.

import { useChannel, useStatus } from "@pregon/react";
import { useEffect, useRef, useState } from "react";
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
  const returned = useReturned();

  useChannel<{ entrada: Entry }>(
    "entradas",
    {
      entrada(entry, { replayed = false, channel, event }) {
        const missed = replayed && (returned.current || entry.id_entrada > before);
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

/** Whether the connection was lost since the page was opened: what is replayed then was missed. */
function useReturned() {
  const status = useStatus();
  const returned = useRef(false);
  useEffect(() => {
    if (status === "reconnecting" || status === "offline") returned.current = true;
  }, [status]);
  return returned;
}
