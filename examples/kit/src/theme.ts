// Light and dark: the system's choice until the reader makes one.

import { useState } from "react";

export type Theme = "system" | "light" | "dark";

const KEY = "theme";
const THEMES: Theme[] = ["system", "light", "dark"];

function kept(): Theme {
  const found = localStorage.getItem(KEY) as Theme | null;
  return found && THEMES.includes(found) ? found : "system";
}

function apply(theme: Theme): void {
  if (theme === "system") delete document.documentElement.dataset.theme;
  else document.documentElement.dataset.theme = theme;
}

apply(kept());

/** The choice, and what changes it to the next. */
export function useTheme(): [Theme, () => void] {
  const [theme, setTheme] = useState(kept);
  const next = () => {
    const chosen = THEMES[(THEMES.indexOf(theme) + 1) % THEMES.length]!;
    localStorage.setItem(KEY, chosen);
    apply(chosen);
    setTheme(chosen);
  };
  return [theme, next];
}
