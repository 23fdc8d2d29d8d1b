// Who is connected, who is slow, who has gone and why; and the two things that an operator may do about it.

import { useEffect, useState } from "preact/hooks";
import { get, post } from "./api";
import { bytes, number } from "./format";
import { t } from "./i18n";
import { handed } from "./state";
import { Ask, Badge, Card, Field, Notice, Select, Table, useTask, When, type Column } from "./parts";
import type { Session } from "./types";

interface Answer {
  sessions: Session[];
  complete: boolean;
}

interface Revoked {
  users: { user: string; since: string | null }[];
}

type Deed = { kind: "disconnect" | "revoke"; of: string };

export function Sessions() {
  const [state, setState] = useState("live");
  const [user, setUser] = useState("");
  const [channel, setChannel] = useState("");
  const [answer, setAnswer] = useState<Answer>({ sessions: [], complete: true });
  const [revoked, setRevoked] = useState<Revoked["users"]>([]);
  const [deed, setDeed] = useState<Deed | null>(null);
  const [said, setSaid] = useState("");
  const task = useTask();
  const look = async () => {
    setAnswer(await get<Answer>("sessions", { state, user, channel }));
    setRevoked((await get<Revoked>("revoke")).users);
  };
  useEffect(() => void task.run(look), [state]);
  const act = ({ kind, of }: Deed) =>
    task.run(async () => {
      setDeed(null);
      if (kind === "disconnect") await post("disconnect", { session: of });
      else {
        const done = await post<{ closed: number; warning: string | null }>("revoke", { user: of });
        setSaid(`${t("sessions closed")}: ${number(done.closed)}${done.warning ? `; ${done.warning}` : ""}`);
      }
      await look();
    });
  return (
    <div class="grid">
      <Card title={t("Sessions")} wide>
        <form class="row" onSubmit={(event) => (event.preventDefault(), void task.run(look))}>
          <Select
            label={t("State")}
            value={state}
            set={setState}
            options={[
              ["live", t("Connected")],
              ["slow", t("Slow")],
              ["closed", t("Closed recently")],
            ]}
          />
          <Field label={t("User")} value={user} set={setUser} />
          <Field label={t("Channel")} value={channel} set={setChannel} />
          <button type="submit" disabled={task.busy}>
            {t("Search")}
          </button>
        </form>
        {task.error && <Notice bad text={task.error} />}
        {said && <Notice text={said} />}
        {!answer.complete && <Notice text={t("Only the first are shown: narrow the search.")} />}
        <Table
          caption={t("Sessions")}
          rows={answer.sessions}
          id={(row) => row.session + (row.closed ?? "")}
          empty={t("No sessions.")}
          columns={columns(state === "closed", setDeed)}
        />
      </Card>
      <Card title={t("Revoked users")} wide>
        <Table
          caption={t("Revoked users")}
          rows={revoked}
          id={(row) => row.user}
          empty={t("Nobody is revoked.")}
          columns={[
            { title: t("User"), of: (row) => row.user },
            { title: t("Since"), of: (row) => <When at={row.since} /> },
            {
              title: t("Actions"),
              of: (row) => (
                <button
                  type="button"
                  onClick={() => void task.run(async () => (await post("restore", { user: row.user }), await look()))}
                >
                  {t("Restore")}
                  <span class="hidden"> {row.user}</span>
                </button>
              ),
            },
          ]}
        />
      </Card>
      {deed && (
        <Ask
          text={`${deed.of}: ${t(deed.kind === "revoke" ? "Revoke all present tokens of this user and close the sessions?" : "Close this session? Its client is told not to come back by itself.")}`}
          confirm={() => void act(deed)}
          cancel={() => setDeed(null)}
        />
      )}
    </div>
  );
}

function columns(closed: boolean, ask: (deed: Deed) => void): Column<Session>[] {
  const who: Column<Session>[] = [
    { title: t("User"), of: (row) => row.user ?? <span class="muted">{t("anonymous")}</span> },
    { title: t("Session"), of: (row) => <code>{row.session}</code> },
    { title: t("Transport"), of: (row) => row.transport },
  ];
  const channels: Column<Session> = { title: t("Channels"), of: (row) => <Channels session={row} /> };
  if (closed) {
    return [
      ...who,
      { title: t("Closed"), of: (row) => <When at={row.closed} /> },
      {
        title: t("Reason"),
        of: (row) => (
          <span title={row.help}>
            <Badge kind={row.reason === "left" || row.reason === "shutdown" ? "plain" : "warn"}>{row.reason}</Badge>{" "}
            {row.code || ""}
          </span>
        ),
      },
      channels,
    ];
  }
  return [
    ...who,
    { title: t("Address"), of: (row) => row.address ?? "—" },
    { title: t("Since"), of: (row) => <When at={row.opened} /> },
    { title: t("State"), of: (row) => <State session={row} /> },
    channels,
    {
      title: t("Actions"),
      of: (row) => (
        <span class="row tight">
          <button type="button" onClick={() => ask({ kind: "disconnect", of: row.session })}>
            {t("Disconnect")}
            <span class="hidden"> {row.session}</span>
          </button>
          {row.user !== null && (
            <>
              <button type="button" class="danger" onClick={() => ask({ kind: "revoke", of: row.user! })}>
                {t("Revoke")}
                <span class="hidden"> {row.user}</span>
              </button>
              <button type="button" onClick={() => handed.set({ tab: "explain", values: { user: row.user! } })}>
                {t("Explain")}
                <span class="hidden"> {row.user}</span>
              </button>
            </>
          )}
        </span>
      ),
    },
  ];
}

export function State({ session }: { session: Session }) {
  const kind = session.state === "live" ? "good" : session.state === "slow" ? "bad" : "warn";
  const waits = session.behind ? session.behind.queued + session.behind.lag : 0;
  return (
    <span>
      <Badge kind={kind}>{t(session.state ?? "")}</Badge> {waits > 0 && <span class="muted">{bytes(waits)}</span>}
    </span>
  );
}

export function Channels({ session }: { session: Session }) {
  const more = session.followed - session.channels.length;
  return (
    <span class="chips">
      {session.channels.map((name) => (
        <code key={name}>{name}</code>
      ))}
      {more > 0 && (
        <span class="muted">
          +{number(more)} {t("more")}
        </span>
      )}
    </span>
  );
}
