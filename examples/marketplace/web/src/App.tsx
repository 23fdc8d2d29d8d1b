// Four views of one shop. Each has the token of its role, and hears and fetches with it what that role may.

import { ApolloProvider } from "@apollo/client/react";
import { Shell, useStrip, useText, type Facts, type Statement } from "@pregon/example-kit";
import { useMemo, useRef, useState } from "react";
import { Admin } from "./Admin.js";
import { Products } from "./Products.js";
import { reportsFor } from "./report.js";
import { Seller } from "./Seller.js";
import { Store } from "./Store.js";
import { useView, VIEWS, type View } from "./useView.js";
import { WORDS } from "./words.js";

/** What a view gets. */
export interface ViewProps {
  facts: Facts;
  token: string;
  frame: Frame;
}

/** Puts a view into the page: its light is that of its own connection. */
export interface Frame {
  strip: () => ReturnType<typeof useStrip>;
  connected: (isConnected: boolean) => void;
}

const SHOWN = { store: Store, products: Products, seller: Seller, admin: Admin };

/** What a role hears of what is published. */
const HEARS: Record<string, (what: string) => boolean> = {
  customer: (what) => what.includes("ws:room:tienda"),
  admin: (what) => what.includes("ws:room:tienda") || what.includes('"ADMIN_STATS_UPDATED"'),
};

function hears(role: string, { what }: Statement): boolean {
  const seller = role.match(/^seller-(\d+)$/)?.[1];
  if (seller) return what.includes("ws:room:tienda") || what.includes(`"seller_id": "${seller}"`);
  return HEARS[role]?.(what) ?? true;
}

export function App({ facts }: { facts: Facts }) {
  const [view, seller, show] = useView();
  const role = view === "store" ? "customer" : view === "admin" ? "admin" : `seller-${seller}`;
  // Another role is another person: its connection, its cache and its counters begin anew.
  return <Page key={role} facts={facts} view={view} role={role} seller={seller} show={show} />;
}

interface PageProps {
  facts: Facts;
  view: View;
  role: string;
  seller: number;
  show: (view: View, seller?: number) => void;
}

function Page({ facts, view, role, seller, show }: PageProps) {
  const t = useText(WORDS);
  const token = facts.tokens[role] ?? facts.tokens.own ?? "";
  const reports = useMemo(() => reportsFor(facts, token), [facts, token]);
  const [isConnected, setConnected] = useState(false);
  const strip = useStrip(facts, isConnected ? "connected" : "reconnecting", (statement) => hears(role, statement));
  const frame = useRef<Frame>({ strip: () => strip, connected: setConnected }).current;
  const Shown = SHOWN[view];
  return (
    <Shell title={t.title} lead={t.lead} facts={facts} status={isConnected ? "connected" : "reconnecting"} strip={strip}>
      <nav className="views" aria-label={t.views}>
        {VIEWS.map((one) => (
          <button
            key={one}
            type="button"
            className="quiet"
            aria-current={one === view ? "page" : undefined}
            onClick={() => show(one)}
          >
            {t.view[one]}
          </button>
        ))}
        {(view === "seller" || view === "products") && <Sellers facts={facts} seller={seller} choose={(id) => show(view, id)} />}
      </nav>
      <ApolloProvider client={reports}>
        <Shown facts={facts} token={token} frame={frame} />
      </ApolloProvider>
    </Shell>
  );
}

function Sellers({ facts, seller, choose }: { facts: Facts; seller: number; choose: (id: number) => void }) {
  const t = useText(WORDS);
  const ids = Object.keys(facts.tokens).flatMap((role) => role.match(/^seller-(\d+)$/)?.[1] ?? []);
  return (
    <label className="row">
      {t.seller}
      <select value={seller} onChange={(event) => choose(Number(event.target.value))}>
        {ids.map((id) => (
          <option key={id}>{id}</option>
        ))}
      </select>
    </label>
  );
}
