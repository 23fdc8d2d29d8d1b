// "What is happening": the statement that went in, the route that took it, the milliseconds until it was on this page.

import { useSyncExternalStore } from "react";
import type { Facts } from "../demo.js";
import { count } from "../format.js";
import { useLanguage, useText } from "../text.js";
import { KillButtons } from "./KillButtons.js";
import type { Figures, Line, StripStore } from "./store.js";

const es = {
  title: "Qué está pasando",
  sent: "enviados",
  seen: "vistos",
  missed: "perdidos",
  median: "ms, mediana",
  wait: "Esperando el primer evento…",
  states: { waiting: "en camino…", seen: "", quiet: "no es para esta página", missed: "¡perdido!" },
  replayed: "recuperado",
  own: "Hágalo usted:",
  copy: "Copiar la orden",
};
const en: typeof es = {
  title: "What is happening",
  sent: "sent",
  seen: "seen",
  missed: "missed",
  median: "ms, median",
  wait: "Waiting for the first event…",
  states: { waiting: "on its way…", seen: "", quiet: "not for this page", missed: "missed!" },
  replayed: "recovered",
  own: "Do it yourself:",
  copy: "Copy the command",
};

export function Strip({ strip, facts }: { strip: StripStore; facts: Facts }) {
  const t = useText({ es, en });
  const figures = useSyncExternalStore(strip.subscribe, strip.read);
  return (
    <aside className="strip" aria-labelledby="strip-title">
      <h2 id="strip-title">{t.title}</h2>
      <Counters figures={figures} />
      <KillButtons facts={facts} />
      <ol className="strip-lines">
        {figures.lines.length === 0 && <li className="faint">{t.wait}</li>}
        {figures.lines.map((line) => (
          <StripLine key={line.statement.n} line={line} />
        ))}
      </ol>
      {facts.shell && (
        <div className="strip-shell">
          <p>{t.own}</p>
          <code>{facts.shell}</code>
          <button
            type="button"
            className="quiet icon"
            aria-label={t.copy}
            title={t.copy}
            onClick={() => void navigator.clipboard?.writeText(facts.shell!)}
          >
            <svg viewBox="0 0 16 16" width="16" height="16" aria-hidden="true" fill="none" stroke="currentColor" strokeWidth="1.4">
              <rect x="5.5" y="5.5" width="8" height="8" rx="1.5" />
              <path d="M3.5 10.5h-1v-8h8v1" />
            </svg>
          </button>
        </div>
      )}
    </aside>
  );
}

function Counters({ figures }: { figures: Figures }) {
  const t = useText({ es, en });
  const [language] = useLanguage();
  return (
    <dl className="strip-counters">
      {(["sent", "seen", "missed"] as const).map((name) => (
        <div key={name} data-counter={name} data-bad={name === "missed" && figures.missed > 0}>
          <dt>{t[name]}</dt>
          <dd>{count(figures[name], language)}</dd>
        </div>
      ))}
      <div data-counter="median">
        <dt>{t.median}</dt>
        <dd>{figures.median === undefined ? "–" : count(figures.median, language, 1)}</dd>
      </div>
    </dl>
  );
}

function StripLine({ line }: { line: Line }) {
  const t = useText({ es, en });
  const [language] = useLanguage();
  const { statement, state, route, millis, replayed } = line;
  return (
    <li data-state={state} data-key={statement.key}>
      <code>{statement.what}</code>
      <p className="strip-how">
        {route && (
          <span className="strip-route">
            {route.from} <span aria-hidden="true">→</span> {route.to}
          </span>
        )}
        <span className="strip-took">
          {state !== "seen" && t.states[state]}
          {state === "seen" && replayed && t.replayed}
          {state === "seen" && !replayed && millis !== undefined && `${count(millis, language, 1)} ms`}
        </span>
      </p>
    </li>
  );
}
