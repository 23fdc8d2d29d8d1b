// The entries before, and those that nobody could see.

import { Avatar, clock, useLanguage, useText } from "@pregon/example-kit";
import type { Entry } from "./entry.js";
import type { Entries } from "./useEntries.js";
import { MembershipBadge } from "./Newest.js";
import { words } from "./words.js";

export function EntryList({ entries }: { entries: Entry[] }) {
  const t = useText(words);
  return (
    <section className="card" aria-labelledby="entries">
      <h2 id="entries">{t.list}</h2>
      <table className="entries">
        <thead>
          <tr>
            <th scope="col">{t.member}</th>
            <th scope="col">{t.state}</th>
            <th scope="col" className="number">
              {t.when}
            </th>
          </tr>
        </thead>
        <tbody>
          {entries.map((entry) => (
            <EntryRow key={entry.id_entrada} entry={entry} />
          ))}
        </tbody>
      </table>
    </section>
  );
}

function EntryRow({ entry }: { entry: Entry }) {
  const t = useText(words);
  const [language] = useLanguage();
  const name = entry.nombre ?? t.unknown;
  return (
    <tr className="arrives" data-entry={entry.id_entrada}>
      <td>
        <span className="who">
          <Avatar name={name} size={34} />
          <span>
            {name} {entry.plan && <span className="plan">{entry.plan}</span>}
          </span>
        </span>
      </td>
      <td>
        <MembershipBadge entry={entry} short />
      </td>
      <td className="number">
        <time dateTime={entry.fecha_entrada}>{clock(entry.fecha_entrada, language)}</time>
      </td>
    </tr>
  );
}

/** What came by replay, until somebody has read it. */
export function Away({ away, gap, clearAway }: Entries) {
  const t = useText(words);
  const [language] = useLanguage();
  if (away.length === 0 && !gap) return null;
  return (
    <section className="card away" aria-labelledby="away" role="status">
      <div className="row away-head">
        <h2 id="away">{t.away(away.length)}</h2>
        <button type="button" className="quiet" onClick={clearAway}>
          {t.seen}
        </button>
      </div>
      {gap && <p className="away-gap">{t.gap}</p>}
      <ul>
        {away.map((entry) => (
          <li key={entry.id_entrada} data-entry={entry.id_entrada}>
            <time dateTime={entry.fecha_entrada}>{clock(entry.fecha_entrada, language)}</time> {entry.nombre ?? t.unknown}{" "}
            <MembershipBadge entry={entry} short />
          </li>
        ))}
      </ul>
    </section>
  );
}
