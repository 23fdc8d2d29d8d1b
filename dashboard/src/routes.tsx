// The rules with what they have done, a try with a sample, and what no rule published.

import { useEffect, useState } from "preact/hooks";
import { get, post } from "./api";
import { json, number } from "./format";
import { t } from "./i18n";
import type { Picture } from "./overview";
import { Area, Badge, Card, Field, Notice, Select, Table, useTask, When } from "./parts";
import { handed } from "./state";
import type { Rule, Source, Unrouted } from "./types";

export function Routes({ picture: { now } }: { picture: Picture }) {
  return (
    <div class="grid">
      <Card title={t("Routes")} note={t("counted since the start or the last reload")} wide>
        <Table
          caption={t("Routes")}
          rows={now.routes}
          id={(row) => row.route + row.from.join()}
          empty={t("nothing yet")}
          columns={[
            { title: t("Rule"), of: (row) => <code>{row.route}</code> },
            { title: t("From"), of: (row) => row.from.join(", ") },
            { title: t("When"), of: (row) => (row.when ? <code>{row.when}</code> : <span class="muted">{t("always")}</span>) },
            {
              title: t("To"),
              of: (row) => (
                <span class="chips">
                  {row.to.map((to) => (
                    <code key={to}>{to}</code>
                  ))}
                </span>
              ),
            },
            { title: t("Event"), of: (row) => row.event ?? "—" },
            { title: t("Published"), of: (row) => number(row.hits.published), numeric: true },
            { title: t("Passed over"), of: (row) => number(row.hits.passed), numeric: true },
            { title: t("Failed"), of: (row) => number(row.hits.failed), numeric: true },
            { title: t("Nobody"), of: (row) => number(row.hits.nobody), numeric: true },
            { title: t("Last"), of: (row) => (row.hits.last === null ? t("never") : <When at={row.hits.last} />), numeric: true },
          ]}
        />
      </Card>
      <Try sources={now.sources.filter(({ kind }) => kind !== "publish")} />
      <Missed />
    </div>
  );
}

/** Kinds whose events are rows; all others are messages, which need not be JSON. */
const ROWS = ["notify", "outbox", "wal"];

function Try({ sources }: { sources: Source[] }) {
  const names = sources.map(({ name }) => name);
  const [source, setSource] = useState(names[0] ?? "");
  const [op, setOp] = useState("insert");
  const [row, setRow] = useState('{"id": 1}');
  const [old, setOld] = useState("");
  const [event, setEvent] = useState("");
  const [rules, setRules] = useState<Rule[] | null>(null);
  const task = useTask();
  const parsed = (text: string): unknown => {
    if (text.trim() === "") return undefined;
    try {
      return JSON.parse(text);
    } catch {
      throw new Error(t("This is no JSON."));
    }
  };
  const go = () =>
    task.run(async () => {
      const rows = ROWS.includes(sources.find(({ name }) => name === source)?.kind ?? "");
      const content = rows || isJson(row) ? { row: parsed(row) } : { text: row };
      const sample = { source, op, ...content, old: parsed(old), event: event || undefined };
      setRules((await post<{ rules: Rule[] }>("try-route", sample)).rules);
    });
  return (
    <Card title={t("Try a route")} wide>
      <form onSubmit={(submit) => (submit.preventDefault(), void go())}>
        <div class="row">
          <Select label={t("Source")} value={source} set={setSource} options={names.map((name) => [name, name])} />
          <Select
            label={t("Operation")}
            value={op}
            set={setOp}
            options={["insert", "update", "delete", "truncate"].map((name) => [name, name])}
          />
        </div>
        <Area label={t("Row or message (JSON)")} value={row} set={setRow} />
        {op === "update" && <Area label={t("Old row (JSON)")} value={old} set={setOld} rows={3} />}
        {source === "clients" && <Field label={t("Event that a client emits")} value={event} set={setEvent} />}
        <button type="submit" disabled={task.busy}>
          {t("Try")}
        </button>
      </form>
      {task.error && <Notice bad text={task.error} />}
      <div aria-live="polite">{rules && <Rules rules={rules} />}</div>
    </Card>
  );
}

const isJson = (text: string): boolean => {
  try {
    JSON.parse(text);
    return true;
  } catch {
    return text.trim() === "";
  }
};

export function Rules({ rules }: { rules: Rule[] }) {
  if (rules.length === 0) return <p class="muted">{t("No rule takes it.")}</p>;
  return (
    <ul class="rules">
      {rules.map((rule) => (
        <li key={rule.rule}>
          <code>{rule.rule}</code>{" "}
          <Badge kind={rule.publishes ? "good" : "plain"}>{t(rule.publishes ? "publishes" : "does nothing")}</Badge>{" "}
          <span class="muted">{rule.reason}</span>
          {rule.when && <pre>{rule.when}</pre>}
          {rule.publishes && (
            <>
              <p class="chips">
                {rule.channels.map((name) => (
                  <code key={name}>{name}</code>
                ))}{" "}
                <strong>{rule.event}</strong>
              </p>
              <pre tabIndex={0}>{JSON.stringify(rule.data, null, 2)}</pre>
            </>
          )}
        </li>
      ))}
    </ul>
  );
}

function Missed() {
  const [events, setEvents] = useState<Unrouted[]>([]);
  const task = useTask();
  const look = () => task.run(async () => setEvents((await get<{ events: Unrouted[] }>("unrouted")).events));
  useEffect(() => void look(), []);
  return (
    <Card
      title={t("Events that no rule published")}
      wide
      actions={
        <button type="button" onClick={() => void look()}>
          {t("Refresh")}
        </button>
      }
    >
      {task.error && <Notice bad text={task.error} />}
      <Table
        caption={t("Events that no rule published")}
        rows={events}
        id={(row) => String(row.number)}
        empty={t("Every event so far was published.")}
        columns={[
          { title: t("Time"), of: (row) => <When at={row.time} /> },
          { title: t("Source"), of: (row) => `${row.source} ${row.op}` },
          { title: t("Content"), of: (row) => <code class="clip">{json(row.row ?? row.message ?? row.old)}</code> },
          {
            title: t("Actions"),
            of: (row) => (
              <button type="button" onClick={() => handed.set({ tab: "explain", values: { event: `unrouted:${row.number}` } })}>
                {t("Why?")}
                <span class="hidden"> {row.number}</span>
              </button>
            ),
          },
        ]}
      />
    </Card>
  );
}
