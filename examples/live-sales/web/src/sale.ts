// What the two channels bring, and the arithmetic of the chart.

/** A row of `ventas` with the day's figures from the route's `enrich`. Numbers of PostgreSQL's `numeric` come as JSON numbers. */
export interface Sale {
  id: number;
  producto: string;
  cantidad: number;
  total: number;
  creado: string;
  ventas_hoy?: number;
  total_hoy?: number;
}

/** A row of `productos`. */
export interface Stock {
  producto: string;
  existencias: number;
  minimo: number;
}

export interface Bar {
  /** Its begin, ms since 1970. */
  at: number;
  total: number;
}

/** ms of a bar, and how many there are: ten minutes in all. */
export const BAR = 20_000;
export const BARS = 30;

/** Sales by time, the present bar last. */
export function bars(sales: Sale[], now: number): Bar[] {
  const end = Math.floor(now / BAR);
  const totals = new Array<number>(BARS).fill(0);
  for (const sale of sales) {
    const place = BARS - 1 - (end - Math.floor(new Date(sale.creado).getTime() / BAR));
    // A database whose clock is a little ahead sells in the present bar too.
    const at = Math.min(place, BARS - 1);
    if (at >= 0) totals[at]! += Number(sale.total);
  }
  return totals.map((total, i) => ({ at: (end - (BARS - 1 - i)) * BAR, total }));
}
