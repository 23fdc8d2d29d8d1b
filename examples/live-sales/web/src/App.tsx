// A shop's screen: @pregon/react follows two channels, `ventas` and `existencias`.

import { createClient } from "@pregon/client";
import { PregonProvider, useStatus } from "@pregon/react";
import { deed, Shell, useStrip, useText, type Facts } from "@pregon/example-kit";
import { useState } from "react";
import { LowStock, Newest, Spoken, Today } from "./Cards.js";
import { Chart } from "./Chart.js";
import { useLowStock, useSales } from "./useSales.js";
import { words } from "./words.js";

export function App({ facts }: { facts: Facts }) {
  // The shop asks for no token.
  const [client] = useState(() => createClient({ url: facts.gateway, backoff: { max: 3_000 } }));
  return (
    <PregonProvider client={client}>
      <Shop facts={facts} />
    </PregonProvider>
  );
}

function Shop({ facts }: { facts: Facts }) {
  const t = useText(words);
  const status = useStatus();
  const strip = useStrip(facts, status);
  const { sales, today } = useSales((sale, event) => strip.arrived(sale.id, event));
  const low = useLowStock((stock, event) => strip.arrived(`${stock.producto}:${stock.existencias}`, event));
  const [failed, setFailed] = useState("");
  const happen = (kind: string, body: object) =>
    void deed(facts, kind, body).then(
      () => setFailed(""),
      (error: Error) => setFailed(`${t.failed} ${error.message}`),
    );
  return (
    <Shell title={t.title} lead={t.lead} facts={facts} status={status} strip={strip}>
      <div className="shop">
        <Today today={today} />
        <Chart sales={sales} />
        <LowStock low={low} restock={facts.live ? (producto) => happen("reponer", { producto }) : undefined} />
        <div className="shop-table stack">
          {facts.live && (
            <div className="row">
              <button type="button" onClick={() => happen("venta", {})}>
                {t.sell}
              </button>
              <p role="alert">{failed}</p>
            </div>
          )}
          <Newest sales={sales} />
        </div>
      </div>
      <Spoken sale={sales[0]} />
    </Shell>
  );
}
