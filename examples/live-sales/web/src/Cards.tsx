// The day's figures, what runs low, and the newest sales.

import { clock, count, money, useLanguage, useText } from "@pregon/example-kit";
import type { Sale, Stock } from "./sale.js";
import type { Sales } from "./useSales.js";
import { words } from "./words.js";

export function Today({ today }: { today: Sales["today"] }) {
  const t = useText(words);
  const [language] = useLanguage();
  return (
    <section className="card today" aria-label={t.today}>
      <dl>
        <div className="today-total">
          <dt>{t.today}</dt>
          <dd data-figure="total">{money(today.total, language)}</dd>
        </div>
        <div>
          <dt>{t.sales}</dt>
          <dd data-figure="count">{count(today.count, language)}</dd>
        </div>
        <div>
          <dt>{t.average}</dt>
          <dd>{money(today.count ? today.total / today.count : 0, language)}</dd>
        </div>
      </dl>
    </section>
  );
}

/** `restock` is there in the demo. */
export function LowStock({ low, restock }: { low: Stock[]; restock?: (product: string) => void }) {
  const t = useText(words);
  return (
    <section className="card low" aria-labelledby="low">
      <h2 id="low">
        {t.low} {low.length > 0 && <span className="badge bad">{low.length}</span>}
      </h2>
      <ul aria-live="polite" aria-relevant="additions">
        {low.length === 0 && <li className="faint">{t.allWell}</li>}
        {low.map(({ producto, existencias }) => (
          <li key={producto} className="arrives" data-product={producto}>
            <span>{producto}</span>
            <span className={existencias === 0 ? "badge bad" : "badge warn"}>{t.left(existencias)}</span>
            {restock && (
              <button type="button" className="quiet" aria-label={t.restock(producto)} onClick={() => restock(producto)}>
                {t.restockShort}
              </button>
            )}
          </li>
        ))}
      </ul>
    </section>
  );
}

const SHOWN = 12;

export function Newest({ sales }: { sales: Sale[] }) {
  const t = useText(words);
  const [language] = useLanguage();
  return (
    <section className="card" aria-labelledby="table">
      <h2 id="table">{t.table}</h2>
      <table>
        <thead>
          <tr>
            <th scope="col">{t.product}</th>
            <th scope="col" className="number">
              {t.quantity}
            </th>
            <th scope="col" className="number">
              {t.total}
            </th>
            <th scope="col" className="number">
              {t.when}
            </th>
          </tr>
        </thead>
        <tbody>
          {sales.slice(0, SHOWN).map((sale) => (
            <tr key={sale.id} className="arrives" data-sale={sale.id}>
              <td>{sale.producto}</td>
              <td className="number">{count(sale.cantidad, language)}</td>
              <td className="number">{money(Number(sale.total), language)}</td>
              <td className="number">
                <time dateTime={sale.creado}>{clock(sale.creado, language)}</time>
              </td>
            </tr>
          ))}
        </tbody>
      </table>
      {sales.length === 0 && <p className="faint">{t.none}</p>}
    </section>
  );
}

/** The newest sale in a sentence, for those who hear the page. */
export function Spoken({ sale }: { sale: Sale | undefined }) {
  const [language] = useLanguage();
  return (
    <p className="visually-hidden" aria-live="polite">
      {sale && `${sale.cantidad} × ${sale.producto}, ${money(Number(sale.total), language)}`}
    </p>
  );
}
