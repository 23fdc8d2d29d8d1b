// What the strip of a page says, and its buttons.

import type { Page } from "playwright-core";
import { expect, vi } from "vitest";

/** A part that was killed is back after two seconds, on a loaded machine some more. */
export const patiently = { timeout: 30_000 };

/** Waits until the expectations hold. */
export const until = (expectations: () => Promise<void>) => vi.waitFor(expectations, { ...patiently, interval: 50 });

export async function counter(page: Page): Promise<{ sent: number; seen: number; missed: number }> {
  const read = async (name: string) => Number(await page.locator(`[data-counter=${name}] dd`).textContent());
  return { sent: await read("sent"), seen: await read("seen"), missed: await read("missed") };
}

/** Presses a button that kills, does something meanwhile, and waits until the part is back and the light green. */
export async function killed(page: Page, name: string, meanwhile: () => Promise<void>): Promise<void> {
  await page.getByRole("button", { name: `Kill ${name}` }).click();
  await page.locator(".kill-said", { hasText: `${name} was killed` }).waitFor();
  await meanwhile();
  await page.locator(".kill-said", { hasText: `${name} is back` }).waitFor(patiently);
  await page.locator(".light[data-colour=green]").waitFor(patiently);
  expect(await page.locator(".kill-said").textContent()).toMatch(/\d/);
}
