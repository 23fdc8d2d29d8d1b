// The node at a glance: how many, how fast, how late.

import { useEffect, useState } from "preact/hooks";
import { get } from "./api";
import { Chart } from "./chart";
import { bytes, number, rate, seconds } from "./format";
import { t } from "./i18n";
import { quantile, type Picture } from "./overview";
import { Card, Figure, Table } from "./parts";

interface Busy {
  channels: { channel: string; followers: number }[];
}

export function Live({ picture }: { picture: Picture }) {
  const { now } = picture;
  const busy = useChannels();
  return (
    <>
      <dl class="figures">
        <Figure
          title={t("Connections")}
          value={number(now.connections.total)}
          note={`${number(now.connections.opened)} ${t("opened since the start")}`}
        />
        <Figure
          title={t("Channels")}
          value={number(now.channels.count) + (now.channels.complete ? "" : "+")}
          note={t("followed now")}
        />
        <Figure title={t("Events per second")} value={rate(now.rates?.events ?? 0)} note={t("from sources")} />
        <Figure
          title={t("Deliveries per second")}
          value={rate(now.rates?.deliveries ?? 0)}
          note={`${bytes(now.rates?.delivered_bytes ?? 0)}/s`}
        />
        <Figure
          title={t("Slow connections")}
          value={number(now.connections.behind)}
          note={`${bytes(now.connections.waiting_bytes)} ${t("waiting for slow clients")}`}
          alarm={now.connections.behind > 0}
        />
        {now.node.memory !== null && (
          <Figure title={t("Memory")} value={bytes(now.node.memory)} note={`${t("up")} ${seconds(now.node.uptime)}`} />
        )}
      </dl>
      <div class="grid">
        <Card title={t("Deliveries per second")} note={t("The last two minutes")} wide>
          <Chart
            label={`${t("Deliveries per second")}: ${rate(now.rates?.deliveries ?? 0)}; ${t("Events per second")}: ${rate(now.rates?.events ?? 0)}`}
            series={[
              { label: t("deliveries"), color: "--accent" },
              { label: t("events"), color: "--second" },
            ]}
            data={[picture.times, picture.deliveries, picture.events]}
            format={rate}
          />
        </Card>
        <Latency picture={picture} />
        <Card title={t("Busiest channels")}>
          <Table
            caption={t("Busiest channels")}
            rows={busy}
            id={(row) => row.channel}
            empty={t("nothing yet")}
            columns={[
              { title: t("Channel"), of: (row) => <code>{row.channel}</code> },
              { title: t("Followers"), of: (row) => number(row.followers), numeric: true },
            ]}
          />
        </Card>
        <Card title={t("By transport")}>
          <Counts caption={t("By transport")} title={t("Transport")} counts={now.connections.by_transport} />
        </Card>
        <Card title={t("Not delivered or not admitted")} note={t("since the start")}>
          <Counts caption={t("Not delivered or not admitted")} title={t("Reason")} counts={now.drops} />
        </Card>
        <Card title={t("Refused by address")} note={t("of the last ten minutes")}>
          <Counts caption={t("Refused by address")} title={t("Address and reason")} counts={refusals(now)} />
        </Card>
      </div>
    </>
  );
}

/** The addresses to which most was refused, each with its reasons. */
function refusals({ refused }: Picture["now"]): Record<string, number> {
  const all = Object.entries(refused).flatMap(([address, reasons]) =>
    Object.entries(reasons).map(([reason, count]) => [`${address} · ${reason}`, count] as const),
  );
  return Object.fromEntries(all);
}

function Latency({ picture: { latency } }: { picture: Picture }) {
  const counts = latency.buckets.map(([, upto], at) => upto - (latency.buckets[at - 1]?.[1] ?? 0));
  const bounds = latency.buckets.map(([bound]) => (bound === null ? "∞" : seconds(bound)));
  const at = (share: number) => {
    const bound = quantile(latency, share);
    return bound === null ? "> 10 s" : `≤ ${seconds(bound)}`;
  };
  const told =
    latency.count > 0 ? `${t("median")} ${at(0.5)} · 95 % ${at(0.95)} · 99 % ${at(0.99)}` : t("no deliveries in the last minute");
  return (
    <Card title={t("Commit to write")} note={t("of the last minute")} wide>
      <p class="told">{told}</p>
      <Chart
        label={`${t("Commit to write")}: ${told}`}
        series={[{ label: t("deliveries"), color: "--accent" }]}
        data={[counts.map((_, at) => at), counts]}
        categories={bounds}
        format={(value) => number(value)}
      />
    </Card>
  );
}

function Counts(props: { caption: string; title: string; counts: Record<string, number> }) {
  const rows = Object.entries(props.counts)
    .filter(([, count]) => count > 0)
    .sort((a, b) => b[1] - a[1]);
  return (
    <Table
      caption={props.caption}
      rows={rows}
      id={([name]) => name}
      empty={t("nothing yet")}
      columns={[
        { title: props.title, of: ([name]) => name },
        { title: t("Count"), of: ([, count]) => number(count), numeric: true },
      ]}
    />
  );
}

/** The channels with the most followers, every five seconds. */
function useChannels() {
  const [busy, setBusy] = useState<Busy["channels"]>([]);
  useEffect(() => {
    let gone = false;
    const look = () =>
      get<Busy>("channels", { limit: "8" })
        .then((answer) => gone || setBusy(answer.channels))
        .catch(() => {}); // The header says that the gateway is away.
    void look();
    const timer = setInterval(look, 5000);
    return () => {
      gone = true;
      clearInterval(timer);
    };
  }, []);
  return busy;
}
