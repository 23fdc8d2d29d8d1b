// The strip of a page: listens to the demo while the page is seen.

import type { Status } from "@pregon/client";
import { useEffect, useState, useSyncExternalStore } from "react";
import type { Facts, Victim } from "../demo.js";
import { useNames } from "./names.js";
import { StripStore, type Statement } from "./store.js";

/** How often is looked for what was missed, ms. */
const LOOK = 1_000;

/**
 * The page tells it what arrives: `strip.arrived(row.id, event)`. `status` is that of the connection, `expects` says which
 * statements a page with this token is to see.
 */
export function useStrip(facts: Facts, status: Status, expects?: (statement: Statement) => boolean): StripStore {
  const [strip] = useState(() => new StripStore(facts));
  if (expects) strip.expects = expects;
  useEffect(() => strip.status(status), [strip, status]);
  useEffect(() => {
    if (!facts.live) return;
    const stop = listen(strip);
    const timer = setInterval(() => strip.look(), LOOK);
    return () => {
      clearInterval(timer);
      stop();
    };
  }, [strip, facts]);
  return strip;
}

/** What is down; renders only when that changes. */
export function useAway(strip: StripStore | undefined): string[] {
  const names = useNames();
  const read = () => strip?.read().away.join("|") ?? "";
  const away = useSyncExternalStore(strip?.subscribe ?? (() => () => {}), read);
  return away ? away.split("|").map((victim) => names[victim as Victim]) : [];
}

/**
 * Follows the demo's stream. Only while the page is seen: a browser gives one address six connections for all its tabs, and
 * hidden ones must not use them up. What was said meanwhile is asked for by its number.
 */
function listen(strip: StripStore): () => void {
  let stream: EventSource | undefined;
  let last: number | undefined;
  const open = () => {
    stream = new EventSource(`/demo/${strip.facts.name}/strip${last === undefined ? "" : `?since=${last}`}`);
    stream.onmessage = ({ data }) => {
      const statement: Statement = JSON.parse(data);
      if (last !== undefined && statement.n <= last) return;
      last = statement.n;
      strip.stated(statement);
    };
    stream.addEventListener("begin", ({ data }) => void (last ??= Number(data)));
    stream.addEventListener("away", ({ data }) => strip.away(JSON.parse(data)));
  };
  const seen = () => {
    stream?.close();
    if (document.visibilityState === "visible") open();
  };
  document.addEventListener("visibilitychange", seen);
  void compare(strip);
  seen();
  return () => {
    document.removeEventListener("visibilitychange", seen);
    stream?.close();
  };
}

/** Sets the strip's clock by the quickest of some answers. */
async function compare(strip: StripStore): Promise<void> {
  const here = () => performance.timeOrigin + performance.now();
  let best = Infinity;
  for (let i = 0; i < 5; i++) {
    const before = here();
    const answer = await fetch("/demo/now").catch(() => undefined);
    if (!answer?.ok) return;
    const theirs = Number(await answer.text());
    const after = here();
    if (after - before >= best) continue;
    best = after - before;
    strip.ahead = theirs - (before + after) / 2;
  }
}
