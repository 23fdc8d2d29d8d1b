// The customer's view: the shelf as it is now, and an account.

import { money, useLanguage, useText } from "@pregon/example-kit";
import { useState, type FormEvent } from "react";
import type { ViewProps } from "./App.js";
import { SHOP, type Product } from "./queries.js";
import { Report, useDeed, useLiveReport } from "./View.js";
import { WORDS } from "./words.js";

export function Store({ facts, token, frame }: ViewProps) {
  const t = useText(WORDS);
  const live = useLiveReport({ facts, token, query: SHOP, strip: frame.strip });
  const { act, said } = useDeed(facts);
  const [customer, setCustomer] = useState<string>();
  const buy = ({ id, name }: Product) => void act("pedido", { product: id, customer }, t.ordered(name));
  return (
    <Report live={live} frame={frame}>
      {({ shop }) => (
        <>
          <Account customer={customer} register={async (name) => (await act("cliente", { name })) && setCustomer(name)} />
          <section className="card" aria-labelledby="shelf">
            <h2 id="shelf">{t.shelf}</h2>
            <p role="status" className="said">
              {said}
            </p>
            <ul className="shelf">
              {shop.products.map((product) => (
                <Offer key={product.id} product={product} buy={() => buy(product)} />
              ))}
            </ul>
          </section>
        </>
      )}
    </Report>
  );
}

function Offer({ product, buy }: { product: Product; buy: () => void }) {
  const t = useText(WORDS);
  const [language] = useLanguage();
  const { name, price, stock, low } = product;
  return (
    <li data-product={product.id}>
      <strong>{name}</strong>
      <span className="number">{money(price, language)}</span>
      <span className={low ? "badge warn" : "badge"} data-stock={stock}>
        {stock === 0 ? t.soldOut : low ? t.few(stock) : t.left(stock)}
      </span>
      <button type="button" disabled={stock === 0} aria-label={t.buyOne(name)} onClick={buy}>
        {t.buy}
      </button>
    </li>
  );
}

function Account({ customer, register }: { customer: string | undefined; register: (name: string) => void }) {
  const t = useText(WORDS);
  const [name, setName] = useState("");
  const submit = (event: FormEvent) => {
    event.preventDefault();
    if (name.trim()) register(name.trim());
  };
  return (
    <section className="card" aria-labelledby="account">
      <h2 id="account">{t.account}</h2>
      {customer ? (
        <p role="status">{t.welcome(customer)}</p>
      ) : (
        <form className="row" onSubmit={submit}>
          <p className="faint">{t.guest}</p>
          <input
            value={name}
            aria-label={t.name}
            placeholder={t.name}
            autoComplete="name"
            onChange={(event) => setName(event.target.value)}
          />
          <button type="submit">{t.register}</button>
        </form>
      )}
    </section>
  );
}
