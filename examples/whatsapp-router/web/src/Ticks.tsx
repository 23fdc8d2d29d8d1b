// How far a message of ours came: one tick, two, two in blue.

import { useText } from "@pregon/example-kit";
import type { State } from "./inbox.js";
import { WORDS } from "./words.js";

export function Ticks({ state }: { state: State | undefined }) {
  const t = useText(WORDS);
  const marks = { sent: "✓", delivered: "✓✓", read: "✓✓", played: "✓✓", failed: "!" };
  return (
    <span className={`ticks ${state ?? "waiting"}`} role="img" aria-label={t.states[state ?? "waiting"]}>
      {state ? marks[state] : "·"}
    </span>
  );
}
