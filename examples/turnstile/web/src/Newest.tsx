// The big card: who has just come in, to be read from across the room.

import { Avatar, clock, useLanguage, useText } from "@pregon/example-kit";
import { daysLeft, membership, type Entry } from "./entry.js";
import { words } from "./words.js";

export function Newest({ entry }: { entry: Entry | undefined }) {
  const t = useText(words);
  return (
    <section className="card newest" data-membership={entry && membership(entry)} aria-labelledby="newest">
      <h2 id="newest">{t.newest}</h2>
      {/* Told politely, also to those who do not see the card. */}
      <div aria-live="polite">{entry ? <Member key={entry.id_entrada} entry={entry} /> : <p className="faint">{t.nobody}</p>}</div>
    </section>
  );
}

function Member({ entry }: { entry: Entry }) {
  const t = useText(words);
  const [language] = useLanguage();
  const name = entry.nombre ?? t.unknown;
  return (
    <div className="newest-member arrives" data-entry={entry.id_entrada}>
      <Avatar name={name} size={132} />
      <div>
        <p className="newest-name">{name}</p>
        <p className="newest-how">
          {entry.plan && <span>{entry.plan} · </span>}
          <time dateTime={entry.fecha_entrada}>{clock(entry.fecha_entrada, language)}</time>
        </p>
        <p>
          <MembershipBadge entry={entry} />
        </p>
      </div>
    </div>
  );
}

/** The state of a membership; long with its days. */
export function MembershipBadge({ entry, short = false }: { entry: Entry; short?: boolean }) {
  const t = useText(words);
  const state = membership(entry);
  const colour = { valid: "good", ending: "warn", expired: "bad", unknown: "bad" }[state];
  const days = state === "unknown" ? 0 : daysLeft(entry);
  const detail = state === "unknown" || short ? "" : ` · ${days < 0 ? t.ago(-days) : t.left(days)}`;
  return (
    <span className={`badge ${colour}`}>
      {t.states[state]}
      {detail}
    </span>
  );
}
