// Numbers and times as people of the page's language write them.

import type { Language } from "./text.js";

const locale = (language: Language) => (language === "es" ? "es-MX" : "en-US");

/** Pesos: `$1,234.50`. */
export function money(amount: number, language: Language): string {
  const format = { style: "currency", currency: "MXN", currencyDisplay: "narrowSymbol" } as const;
  return amount.toLocaleString(locale(language), format);
}

/** `1,234` */
export function count(number: number, language: Language, digits = 0): string {
  return number.toLocaleString(locale(language), { minimumFractionDigits: digits, maximumFractionDigits: digits });
}

/** `14:03:21` */
export function clock(time: string | number | Date, language: Language): string {
  return new Date(time).toLocaleTimeString(locale(language), { hour12: false });
}

const UNITS = [
  ["day", 86_400],
  ["hour", 3_600],
  ["minute", 60],
] as const;

/** `2 minutes ago` */
export function timeAgo(time: string | number | Date, language: Language, now = Date.now()): string {
  const seconds = (new Date(time).getTime() - now) / 1_000;
  const relative = new Intl.RelativeTimeFormat(locale(language), { numeric: "auto" });
  const [unit, length] = UNITS.find(([, length]) => Math.abs(seconds) >= length) ?? ["second", 1];
  return relative.format(Math.round(Math.min(0, seconds) / length), unit as Intl.RelativeTimeFormatUnit);
}
