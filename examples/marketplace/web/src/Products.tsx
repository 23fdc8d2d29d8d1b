// A seller's shelf: prices and stock, changed here and by every sale.

import { money, useLanguage, useText } from "@pregon/example-kit";
import type { ViewProps } from "./App.js";
import { SELLER, type Product } from "./queries.js";
import { Report, useDeed, useLiveReport } from "./View.js";
import { WORDS } from "./words.js";

export function Products({ facts, token, frame }: ViewProps) {
  const t = useText(WORDS);
  const [language] = useLanguage();
  const live = useLiveReport({ facts, token, query: SELLER, strip: frame.strip });
  const { act, said } = useDeed(facts);
  const change = ({ id }: Product, what: object) => void act("producto", { product: id, ...what });
  return (
    <Report live={live} frame={frame}>
      {({ sellerReport }) => (
        <section className="card" aria-labelledby="products">
          <h2 id="products">
            {t.view.products} · {t.sellerNumber(sellerReport.sellerId)}
          </h2>
          <p role="status" className="said">
            {said}
          </p>
          <table>
            <thead>
              <tr>
                <th>{t.product}</th>
                <th className="number">{t.price}</th>
                <th className="number">{t.stock}</th>
                <th>{t.change}</th>
              </tr>
            </thead>
            <tbody>
              {sellerReport.products.map((product) => (
                <tr key={product.id} data-product={product.id}>
                  <td>{product.name}</td>
                  <td className="number">{money(product.price, language)}</td>
                  <td className="number">
                    <span className={product.low ? "badge warn" : "badge"}>{product.stock}</span>
                  </td>
                  <td className="row">
                    <button
                      type="button"
                      className="quiet"
                      aria-label={t.restockOf(product.name)}
                      onClick={() => change(product, { more: 10 })}
                    >
                      {t.restock}
                    </button>
                    <button
                      type="button"
                      className="quiet"
                      aria-label={t.cheaperOf(product.name)}
                      onClick={() => change(product, { discount: 5 })}
                    >
                      {t.cheaper}
                    </button>
                  </td>
                </tr>
              ))}
            </tbody>
          </table>
        </section>
      )}
    </Report>
  );
}
