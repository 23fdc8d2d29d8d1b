// Why did, or did not, this user get this event?

import { useEffect, useState } from "preact/hooks";
import { get } from "./api";
import { json } from "./format";
import { language, t } from "./i18n";
import { Area, Badge, Card, Field, Notice, Table, useTask, When } from "./parts";
import { Rules } from "./routes";
import { Channels, State } from "./sessions";
import { handed, useSignal } from "./state";
import type { Explanation, Session, Step } from "./types";

const GOOD = ["written", "written_before_closing"];
const OPEN = ["queued", "waiting", "before", "not_found", "unknown"];

export function Explain() {
  const given = useSignal(handed);
  const [user, setUser] = useState(given?.values.user ?? "");
  const [event, setEvent] = useState(given?.values.event ?? "");
  const [channel, setChannel] = useState(given?.values.channel ?? "");
  const [claims, setClaims] = useState("");
  const [told, setTold] = useState<Explanation | null>(null);
  const task = useTask();
  useEffect(() => handed.set(null), []);
  const ask = () => task.run(async () => setTold(await get<Explanation>("explain", { user, event, channel, claims })));
  return (
    <div class="grid">
      <Card title={t("Why did, or did not, this user get this event?")} wide>
        <form onSubmit={(submit) => (submit.preventDefault(), void ask())}>
          <div class="row">
            <Field label={`${t("User")} (sub)`} value={user} set={setUser} />
            <Field label={t("Event: position, offset or id")} value={event} set={setEvent} wide />
            <Field label={t("Channel, for entries that left memory")} value={channel} set={setChannel} />
          </div>
          <Area label={t("Claims of the token (JSON, if not connected)")} value={claims} set={setClaims} rows={2} />
          <button type="submit" disabled={task.busy}>
            {t("Explain")}
          </button>
        </form>
        {task.error && <Notice bad text={task.error} />}
      </Card>
      <div class="wide grid" aria-live="polite">
        {told && <Told told={told} />}
      </div>
    </div>
  );
}

function Told({ told }: { told: Explanation }) {
  const kind = GOOD.includes(told.verdict) ? "good" : OPEN.includes(told.verdict) ? "warn" : "bad";
  return (
    <>
      <Card title={t("Way of the event")} note={language.get() === "es" ? t("The gateway says more in English.") : undefined} wide>
        <p class={`verdict ${kind}`}>{t(`verdict.${told.verdict}`)}</p>
        {told.event && (
          <code class="payload">{told.event.excerpt ?? json(told.event.data ?? told.event.row ?? told.event.message)}</code>
        )}
        <ol class="steps">
          {told.steps.map((step) => (
            <One key={step.step} step={step} />
          ))}
        </ol>
      </Card>
      {told.sessions.length > 0 && (
        <Card title={t("Sessions of the user")} wide>
          <Of sessions={told.sessions} caption={t("Sessions of the user")} />
        </Card>
      )}
      {told.closed.length > 0 && (
        <Card title={t("Sessions that have ended")} wide>
          <Of sessions={told.closed} caption={t("Sessions that have ended")} ended />
        </Card>
      )}
    </>
  );
}

function One({ step }: { step: Step }) {
  const kind = step.outcome === "yes" ? "good" : step.outcome === "no" ? "bad" : "warn";
  const { more } = step;
  return (
    <li class={kind}>
      <strong>{t(step.step)}</strong> <Badge kind={kind}>{t(step.outcome)}</Badge> {step.at && <When at={step.at} />}{" "}
      <span class="muted">{step.text}</span>
      {more?.channels && (
        <ul class="rules">
          {more.channels.map((right: any) => (
            <li key={right.channel}>
              <code>{right.channel}</code>{" "}
              <Badge kind={right.granted === "yes" ? "good" : right.granted === "no" ? "bad" : "warn"}>{t(right.granted)}</Badge>{" "}
              <code>{right.by}</code> <span class="muted">{right.reason}</span>
            </li>
          ))}
        </ul>
      )}
      {more?.rules &&
        (step.outcome === "no" ? (
          <Rules rules={more.rules} />
        ) : (
          <p class="chips">
            {more.rules.map((rule: any) => (
              <code key={rule.route + rule.from}>
                {rule.route}
                {rule.surely ? " ✓" : ""} ← {rule.from.join(", ")}
              </code>
            ))}
          </p>
        ))}
    </li>
  );
}

function Of(props: { sessions: Session[]; caption: string; ended?: boolean }) {
  return (
    <Table
      caption={props.caption}
      rows={props.sessions}
      id={(row) => row.session}
      empty=""
      columns={[
        { title: t("Session"), of: (row) => <code>{row.session}</code> },
        { title: t("Transport"), of: (row) => row.transport },
        { title: t("State"), of: (row) => (props.ended ? <Badge kind="plain">{row.reason}</Badge> : <State session={row} />) },
        {
          title: props.ended ? t("had it") : t("Event"),
          of: (row) => (props.ended ? t(row.had_it ? "yes" : "no") : t(`verdict.${row.verdict}`)),
        },
        { title: props.ended ? t("Closed") : t("written"), of: (row) => <When at={props.ended ? row.closed : row.written} /> },
        { title: t("Channels"), of: (row) => <Channels session={row} /> },
      ]}
    />
  );
}
