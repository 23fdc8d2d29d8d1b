// The dashboard of the market: everything, for the role ADMIN alone.

import { useText } from "@pregon/example-kit";
import type { ViewProps } from "./App.js";
import { Figures, Low, Recent, SalesTable } from "./parts.js";
import { ADMIN } from "./queries.js";
import { Report, useLiveReport } from "./View.js";
import { WORDS } from "./words.js";

export function Admin({ facts, token, frame }: ViewProps) {
  const t = useText(WORDS);
  const live = useLiveReport({ facts, token, query: ADMIN, strip: frame.strip });
  return (
    <Report live={live} frame={frame}>
      {({ adminReport: report }) => (
        <>
          <Figures
            figures={[
              [t.orders, report.orders],
              [t.revenue, report.revenue, true],
              [t.customers, report.customers],
            ]}
          />
          <div className="columns">
            <SalesTable title={t.sellers} head={t.seller} sales={report.sellers} />
            <Low products={report.low} />
            <Recent orders={report.recent} />
            <section className="card">
              <h2>{t.newest}</h2>
              <ul className="newest" aria-live="polite">
                {report.newest.map(({ id, name }) => (
                  <li key={id}>{name}</li>
                ))}
              </ul>
            </section>
          </div>
        </>
      )}
    </Report>
  );
}
