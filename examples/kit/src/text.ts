// Spanish and English: each component brings its words in both, the language is one for the page.

import { useSyncExternalStore } from "react";

export type Language = "es" | "en";

const KEY = "language";
const listeners = new Set<() => void>();
let present: Language = first();

function first(): Language {
  const kept = localStorage.getItem(KEY);
  if (kept === "es" || kept === "en") return kept;
  return navigator.language.toLowerCase().startsWith("es") ? "es" : "en";
}

function set(language: Language): void {
  present = language;
  localStorage.setItem(KEY, language);
  document.documentElement.lang = language;
  for (const heard of listeners) heard();
}

function subscribe(heard: () => void): () => void {
  listeners.add(heard);
  return () => void listeners.delete(heard);
}

document.documentElement.lang = present;

/** The language, and how to change it. */
export function useLanguage(): [Language, (language: Language) => void] {
  return [useSyncExternalStore(subscribe, () => present), set];
}

/** The words in the page's language: `const t = useText({ es: { hi: "hola" }, en: { hi: "hello" } })`. */
export function useText<T>(messages: { es: T; en: NoInfer<T> }): T {
  return messages[useLanguage()[0]];
}
