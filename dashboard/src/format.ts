// Numbers, sizes and times as people read them.

import { language } from "./i18n";

export const number = (value: number, digits = 0): string =>
  value.toLocaleString(language.get(), { maximumFractionDigits: digits });

/** A rate: small ones with a digit behind the point. */
export const rate = (value: number): string => number(value, value < 10 ? 1 : 0);

export function bytes(value: number): string {
  const units = ["B", "KiB", "MiB", "GiB", "TiB"];
  let unit = 0;
  while (value >= 1024 && unit < units.length - 1) [value, unit] = [value / 1024, unit + 1];
  return `${number(value, value < 10 && unit > 0 ? 1 : 0)} ${units[unit]}`;
}

export function seconds(value: number): string {
  if (value < 0.001) return `${number(value * 1e6)} µs`;
  if (value < 1) return `${number(value * 1000, value < 0.01 ? 1 : 0)} ms`;
  if (value < 120) return `${number(value, value < 10 ? 1 : 0)} s`;
  if (value < 7200) return `${number(value / 60)} min`;
  if (value < 172_800) return `${number(value / 3600)} h`;
  return `${number(value / 86_400)} d`;
}

/** The time of day with milliseconds, in the reader's zone. */
export const clock = (at: string | number): string => {
  const date = new Date(at);
  return `${date.toLocaleTimeString(language.get(), { hour12: false })}.${String(date.getMilliseconds()).padStart(3, "0")}`;
};

export const ago = (at: string | number): string => seconds(Math.max(0, (Date.now() - new Date(at).getTime()) / 1000));

export const json = (value: unknown): string => (typeof value === "string" ? value : JSON.stringify(value));
