// Buttons that kill -9 a part of the demo; it comes back after two seconds, and nothing is missed.

import { useState } from "react";
import type { Facts, Victim } from "../demo.js";
import { count } from "../format.js";
import { useLanguage, useText } from "../text.js";
import { useNames } from "./names.js";

export function KillButtons({ facts }: { facts: Facts }) {
  const names = useNames();
  const [language] = useLanguage();
  const [down, setDown] = useState<Victim>();
  const [said, setSaid] = useState("");
  const t = useText({
    es: {
      kill: "Matar",
      hint: "kill -9; vuelve a los dos segundos y no se pierde nada.",
      down: (name: string) => `Cayó ${name} (kill -9)…`,
      back: (name: string, seconds: string) => `Volvió ${name} a los ${seconds} s`,
      failed: (why: string) => `no se pudo: ${why}`,
    },
    en: {
      kill: "Kill",
      hint: "kill -9; it is back after two seconds, and nothing is lost.",
      down: (name: string) => `${name} was killed (kill -9)…`,
      back: (name: string, seconds: string) => `${name} is back after ${seconds} s`,
      failed: (why: string) => `that failed: ${why}`,
    },
  });
  const kill = async (victim: Victim) => {
    setDown(victim);
    setSaid(t.down(names[victim]));
    const before = performance.now();
    const answer = await fetch(`/demo/kill/${victim}?example=${facts.name}`, { method: "POST" }).catch(() => undefined);
    const took = count((performance.now() - before) / 1_000, language, 1);
    setSaid(answer?.ok ? t.back(names[victim], took) : t.failed((await answer?.text()) ?? "?"));
    setDown(undefined);
  };
  return (
    <div className="kill">
      <div className="kill-buttons" role="group" aria-label={t.kill}>
        {facts.kill.map((victim) => (
          <button key={victim} type="button" className="danger" disabled={down !== undefined} onClick={() => void kill(victim)}>
            {t.kill} {names[victim]}
          </button>
        ))}
      </div>
      <p className="kill-said" role="status">
        {said || t.hint}
      </p>
    </div>
  );
}
