// The till of a gym: @pregon/react follows one channel, `entradas`.

import { createClient } from "@pregon/client";
import { PregonProvider, useStatus } from "@pregon/react";
import { deed, Shell, useStrip, useText, type Facts } from "@pregon/example-kit";
import { useState } from "react";
import { Away, EntryList } from "./EntryList.js";
import { Newest } from "./Newest.js";
import { useAlerts, type Alerts } from "./useAlerts.js";
import { useEntries } from "./useEntries.js";
import { words } from "./words.js";

export function App({ facts }: { facts: Facts }) {
  const [client] = useState(() =>
    createClient({ url: facts.gateway, token: Object.values(facts.tokens)[0], backoff: { max: 3_000 } }),
  );
  return (
    <PregonProvider client={client}>
      <Till facts={facts} />
    </PregonProvider>
  );
}

function Till({ facts }: { facts: Facts }) {
  const t = useText(words);
  const status = useStatus();
  const strip = useStrip(facts, status);
  const alerts = useAlerts();
  const entries = useEntries((entry, replayed, channel, event) => {
    strip.arrived(entry.id_entrada, { channel, event, replayed });
    if (!replayed) alerts.tell(entry, entry.nombre ?? t.unknown, entry.plan ?? "");
  });
  return (
    <Shell title={t.title} lead={t.lead} facts={facts} status={status} strip={strip}>
      <div className="stack">
        <Newest entry={entries.all[0]} />
        <Tools alerts={alerts} facts={facts} />
        <Away {...entries} />
        <EntryList entries={entries.all.slice(1)} />
      </div>
    </Shell>
  );
}

/** Sound, notifications, and in the demo the turnstile itself. */
function Tools({ alerts, facts }: { alerts: Alerts; facts: Facts }) {
  const t = useText(words);
  const [failed, setFailed] = useState("");
  const enter = (body: object) =>
    void deed(facts, "entrada", body).then(
      () => setFailed(""),
      (error: Error) => setFailed(`${t.failed} ${error.message}`),
    );
  return (
    <div className="row">
      <button type="button" className="quiet" aria-pressed={alerts.sound} onClick={alerts.toggleSound}>
        {t.soundOn}
      </button>
      <Desktop alerts={alerts} />
      {facts.live && (
        <>
          <button type="button" onClick={() => enter({})}>
            {t.enter}
          </button>
          <button type="button" className="quiet" onClick={() => enter({ vencida: true })}>
            {t.enterExpired}
          </button>
        </>
      )}
      <p role="alert">{failed}</p>
    </div>
  );
}

function Desktop({ alerts }: { alerts: Alerts }) {
  const t = useText(words);
  if (alerts.desktop === "unsupported") return null;
  const on = alerts.desktop === "granted";
  return (
    <button type="button" className="quiet" aria-pressed={on} disabled={alerts.desktop !== "default"} onClick={alerts.askDesktop}>
      {alerts.desktop === "denied" ? t.denied : t.desktop}
    </button>
  );
}
