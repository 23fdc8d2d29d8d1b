// The dashboard of one seller: it hears of its own sales and of nobody else's.

import { useText } from "@pregon/example-kit";
import type { ViewProps } from "./App.js";
import { Figures, Low, Recent, SalesTable } from "./parts.js";
import { SELLER } from "./queries.js";
import { Report, useLiveReport } from "./View.js";
import { WORDS } from "./words.js";

export function Seller({ facts, token, frame }: ViewProps) {
  const t = useText(WORDS);
  const live = useLiveReport({ facts, token, query: SELLER, strip: frame.strip });
  return (
    <Report live={live} frame={frame}>
      {({ sellerReport: report }) => (
        <>
          <Figures
            figures={[
              [t.orders, report.orders],
              [t.revenue, report.revenue, true],
            ]}
          />
          <div className="columns">
            <SalesTable title={t.best} head={t.product} sales={report.best} />
            <Low products={report.products.filter(({ low }) => low)} />
            <Recent orders={report.recent} />
          </div>
        </>
      )}
    </Report>
  );
}
