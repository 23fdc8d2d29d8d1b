// Sales and stock as the gateway brings them.

import { useChannel } from "@pregon/react";
import { useState } from "react";
import { BAR, BARS, type Sale, type Stock } from "./sale.js";

/** Sales that are asked for when the page is opened: enough for the chart of a busy shop. */
const LAST = 500;

export interface Sales {
  /** Newest first, those of the chart's time. */
  sales: Sale[];
  /** The day's figures, as PostgreSQL counted them after the newest sale. */
  today: { count: number; total: number };
}

/** `heard` is called once for each sale. */
export function useSales(heard: (sale: Sale, event: { channel: string; event: string; replayed?: boolean }) => void): Sales {
  const [state, setState] = useState<Sales>({ sales: [], today: { count: 0, total: 0 } });
  useChannel<{ venta: Sale }>(
    "ventas",
    {
      venta(sale, event) {
        setState((before) => add(before, sale));
        heard(sale, event);
      },
    },
    { last: LAST },
  );
  return state;
}

function add({ sales, today }: Sales, sale: Sale): Sales {
  const oldest = Date.now() - BAR * BARS;
  const kept = sales.filter((one, i) => i < 12 || new Date(one.creado).getTime() > oldest);
  const counted = { count: sale.ventas_hoy ?? today.count + 1, total: sale.total_hoy ?? today.total + Number(sale.total) };
  return { sales: [sale, ...kept], today: counted };
}

/** Products that run low, those with the least first. */
export function useLowStock(heard: (stock: Stock, event: { channel: string; event: string; replayed?: boolean }) => void): Stock[] {
  const [low, setLow] = useState<Stock[]>([]);
  useChannel<{ bajas: Stock; repuestas: Stock }>(
    "existencias",
    {
      bajas: (stock) => setLow((before) => [...without(before, stock), stock].sort((a, b) => a.existencias - b.existencias)),
      repuestas(stock, event) {
        setLow((before) => without(before, stock));
        heard(stock, event);
      },
    },
    { last: LAST },
  );
  return low;
}

const without = (list: Stock[], stock: Stock) => list.filter((one) => one.producto !== stock.producto);
