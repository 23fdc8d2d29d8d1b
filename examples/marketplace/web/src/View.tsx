// What all views have: a report that stays fresh, or word of why there is none; and deeds that may fail.

import { deed, useText, type Facts } from "@pregon/example-kit";
import { useEffect, useState, type ReactNode } from "react";
import type { ViewProps } from "./App.js";
import { useLiveReport, type Live } from "./useLiveReport.js";
import { WORDS } from "./words.js";

/** Shows a report, and tells the page's light how its connection is. */
export function Report<T>({
  live,
  frame,
  children,
}: {
  live: Live<T>;
  frame: ViewProps["frame"];
  children: (report: T) => ReactNode;
}) {
  const t = useText(WORDS);
  const { isConnected } = live;
  useEffect(() => frame.connected(isConnected), [frame, isConnected]);
  return (
    <div className="stack">
      {live.error && (
        <p role="alert" className="notice">
          {t.failed(live.error)}
        </p>
      )}
      {live.report ? children(live.report) : !live.error && <p className="card faint">{t.loading}</p>}
    </div>
  );
}

export { useLiveReport };

/** Lets something happen in the shop, and says how it went. */
export function useDeed(facts: Facts): { act: (kind: string, body: object, done?: string) => Promise<boolean>; said: string } {
  const t = useText(WORDS);
  const [said, setSaid] = useState("");
  const act = async (kind: string, body: object, done = "") => {
    try {
      await deed(facts, kind, body);
      setSaid(done);
      return true;
    } catch (error) {
      setSaid(t.notDone(error instanceof Error ? error.message : String(error)));
      return false;
    }
  };
  return { act, said };
}
