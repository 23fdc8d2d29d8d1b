// The sales of the last minutes as bars that move with the clock.

import { money, useLanguage, useText } from "@pregon/example-kit";
import { useEffect, useState } from "react";
import { BAR, BARS, bars, type Sale } from "./sale.js";
import { words } from "./words.js";

const WIDTH = 600;
const HEIGHT = 180;
const STEP = WIDTH / BARS;

export function Chart({ sales }: { sales: Sale[] }) {
  const t = useText(words);
  const [language] = useLanguage();
  const shown = bars(sales, useNow());
  const top = Math.max(1, ...shown.map((bar) => bar.total));
  const sum = shown.reduce((total, bar) => total + bar.total, 0);
  return (
    <section className="card" aria-labelledby="chart">
      <div className="chart-head">
        <h2 id="chart">{t.chart}</h2>
        <p className="faint number">{money(sum, language)}</p>
      </div>
      <svg className="chart" viewBox={`0 0 ${WIDTH} ${HEIGHT}`} role="img" aria-label={t.chartIs(money(sum, language))}>
        {[0.25, 0.5, 0.75, 1].map((part) => (
          <line key={part} x1="0" x2={WIDTH} y1={HEIGHT * part - 0.5} y2={HEIGHT * part - 0.5} />
        ))}
        {shown.map(({ at, total }, i) => {
          const height = (total / top) * (HEIGHT - 12);
          return (
            <rect key={at} x={i * STEP + 2} width={STEP - 4} y={HEIGHT - height} height={height} rx="3" data-now={i === BARS - 1}>
              <title>{money(total, language)}</title>
            </rect>
          );
        })}
      </svg>
      <p className="chart-axis" aria-hidden="true">
        <span>{t.before}</span>
        <span>{t.now}</span>
      </p>
    </section>
  );
}

/** The time, once per bar. */
function useNow(): number {
  const [now, setNow] = useState(Date.now);
  useEffect(() => {
    const timer = setTimeout(() => setNow(Date.now()), BAR - (Date.now() % BAR));
    return () => clearTimeout(timer);
  }, [now]);
  // A sale that has just come is younger than the last tick.
  return Math.max(now, Date.now());
}
