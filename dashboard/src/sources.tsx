// Where events come from, and where they are kept.

import { bytes, number, seconds } from "./format";
import { t } from "./i18n";
import { quantile, type Picture } from "./overview";
import { Badge, Card, Figure, Table } from "./parts";

export function Up({ up }: { up: boolean | null }) {
  if (up === null) return <Badge kind="plain">{t("unknown")}</Badge>;
  return up ? <Badge kind="good">{t("attached")}</Badge> : <Badge kind="bad">{t("not attached")}</Badge>;
}

export function Sources({ picture: { now } }: { picture: Picture }) {
  const { log, postgres } = now;
  const sync = quantile(log.sync, 0.95);
  const late = (share: number) => {
    const bound = quantile(now.capture, share);
    return bound === null ? "> 10 s" : `≤ ${seconds(bound)}`;
  };
  return (
    <div class="grid">
      <Card title={t("Sources")} wide>
        <Table
          caption={t("Sources")}
          rows={now.sources}
          id={(row) => row.kind + row.name}
          empty={t("nothing yet")}
          columns={[
            { title: t("Name"), of: (row) => <strong>{row.name}</strong> },
            { title: t("Kind"), of: (row) => row.kind },
            { title: t("Leads to"), of: (row) => (row.origin ? <code>{row.origin}</code> : "—") },
            { title: t("State"), of: (row) => <Up up={row.up} /> },
            { title: t("Events"), of: (row) => number(row.events), numeric: true },
            { title: t("Routed"), of: (row) => number(row.routed), numeric: true },
            { title: t("Gaps"), of: (row) => number(row.gaps), numeric: true },
          ]}
        />
        {now.capture.count > 0 && (
          <p class="muted">
            {t("Lag from the source's clock to the gateway")}: {t("median")} {late(0.5)} · 99 % {late(0.99)}
          </p>
        )}
      </Card>
      {postgres && (
        <Card title={`PostgreSQL: ${postgres.capture}`}>
          <dl class="figures small">
            {postgres.outbox && (
              <>
                <Figure
                  title={t("Outbox")}
                  value={`${number(postgres.outbox.rows)} ${t("rows")}`}
                  note={`${bytes(postgres.outbox.bytes)} / ${bytes(postgres.outbox.most)}`}
                  alarm={postgres.outbox.bytes > postgres.outbox.most / 2}
                />
                <Figure title={t("Lag")} value={seconds(postgres.outbox.lag)} alarm={postgres.outbox.lag > 10} />
                <Figure title={t("Stalled")} value={seconds(postgres.outbox.stalled)} alarm={postgres.outbox.stalled > 10} />
              </>
            )}
            {postgres.slot && (
              <Figure
                title={`${t("Slot")} ${postgres.slot.name ?? ""}`}
                value={bytes(postgres.slot.retained)}
                note={t(postgres.slot.alarm ? "close to its limit" : "retained")}
                alarm={postgres.slot.alarm}
              />
            )}
          </dl>
        </Card>
      )}
      <Card title={t("Parts")}>
        <ul class="parts">
          {now.attached.map(({ name, up }) => (
            <li key={name}>
              {name} <Up up={up} />
            </li>
          ))}
        </ul>
      </Card>
      <Card title={t("Log")} note={log.kind === "memory" ? t("in memory only") : undefined} wide>
        <dl class="figures small">
          <Figure title={t("Position")} value={log.position} />
          <Figure
            title={t("Entries")}
            value={number(log.newest - log.oldest + 1)}
            note={`${number(log.oldest)} – ${number(log.newest)}`}
          />
          <Figure
            title={t("Window")}
            value={bytes(log.window.bytes)}
            note={`${number(log.window.entries)} · ${bytes(log.window.most)}`}
          />
          {log.disk && (
            <Figure
              title={t("Disk")}
              value={bytes(log.disk.bytes)}
              note={`${number(log.disk.segments)} ${t("segments")} · ${bytes(log.disk.most)}`}
              alarm={log.disk.bytes > log.disk.most}
            />
          )}
          <Figure title={t("Kept for")} value={seconds(log.age)} />
          {log.disk && <Figure title="fsync, 95 %" value={sync === null ? "—" : `≤ ${seconds(sync)}`} />}
          <Figure title={t("Write errors")} value={number(log.failures)} alarm={log.failures > 0} />
        </dl>
      </Card>
    </div>
  );
}
