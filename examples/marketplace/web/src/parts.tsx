// What both dashboards are made of.

import { clock, count, money, useLanguage, useText } from "@pregon/example-kit";
import type { Order, Product, Sales } from "./queries.js";
import { WORDS } from "./words.js";

export function Figures({ figures }: { figures: [name: string, value: number, isMoney?: boolean][] }) {
  const [language] = useLanguage();
  return (
    <dl className="figures">
      {figures.map(([name, value, isMoney]) => (
        <div key={name} className="card">
          <dt>{name}</dt>
          <dd data-figure={name}>{isMoney ? money(value, language) : count(value, language)}</dd>
        </div>
      ))}
    </dl>
  );
}

export function SalesTable({ title, head, sales }: { title: string; head: string; sales: Sales[] }) {
  const t = useText(WORDS);
  const [language] = useLanguage();
  return (
    <section className="card">
      <h2>{title}</h2>
      <table>
        <thead>
          <tr>
            <th>{head}</th>
            <th className="number">{t.orders}</th>
            <th className="number">{t.revenue}</th>
          </tr>
        </thead>
        <tbody>
          {sales.map(({ name, orders, revenue }) => (
            <tr key={name}>
              <td>{name}</td>
              <td className="number">{count(orders, language)}</td>
              <td className="number">{money(revenue, language)}</td>
            </tr>
          ))}
        </tbody>
      </table>
    </section>
  );
}

export function Low({ products }: { products: Product[] }) {
  const t = useText(WORDS);
  return (
    <section className="card">
      <h2>{t.low}</h2>
      <ul className="low" aria-live="polite">
        {products.length === 0 && <li className="faint">{t.nothingLow}</li>}
        {products.map(({ id, name, stock }) => (
          <li key={id}>
            {name} <span className="badge warn">{stock === 0 ? t.soldOut : t.left(stock)}</span>
          </li>
        ))}
      </ul>
    </section>
  );
}

export function Recent({ orders }: { orders: Order[] }) {
  const t = useText(WORDS);
  const [language] = useLanguage();
  return (
    <section className="card">
      <h2>{t.recent}</h2>
      <ol className="recent">
        {orders.map((order) => (
          <li key={order.id} data-order={order.id} className="arrives">
            <span>
              {order.quantity} × {order.product}
              <small>
                {order.customer} · {clock(order.createdAt, language)}
              </small>
            </span>
            <span className="number">{money(order.total, language)}</span>
          </li>
        ))}
      </ol>
    </section>
  );
}
