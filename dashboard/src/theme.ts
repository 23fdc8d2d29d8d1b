// Dark or light: as the system says, unless the reader has chosen.

import { signal } from "./state";

export type Theme = "light" | "dark";

const system = matchMedia("(prefers-color-scheme: dark)");
const stored = localStorage.getItem("pregon.theme");
const of = (): Theme => {
  const kept = localStorage.getItem("pregon.theme");
  return kept === "light" || kept === "dark" ? kept : system.matches ? "dark" : "light";
};

export const theme = signal<Theme>(of());

function show(): void {
  document.documentElement.dataset.theme = of();
  theme.set(of());
}

export function toggleTheme(): void {
  localStorage.setItem("pregon.theme", theme.get() === "dark" ? "light" : "dark");
  show();
}

system.addEventListener("change", show);
if (stored !== null || document.documentElement.dataset.theme === undefined) show();
