// The shop's page: totals, stock, and that kills lose no sale.

import type { Page } from "playwright-core";
import { expect, test } from "vitest";
import { findings } from "./support/browser";
import { stage } from "./support/stage";
import { counter, killed, until } from "./support/strip";

const on = stage();

const sell = (body: object = {}) => on.demo.deed("live-sales", "venta", body);
const shop = (options?: object) => on.page("/live-sales/", options);
const figures = (page: Page) =>
  page.evaluate(() => ({
    total: document.querySelector("[data-figure=total]")?.textContent,
    count: document.querySelector("[data-figure=count]")?.textContent,
    sales: [...document.querySelectorAll("[data-sale]")].map((row) => row.getAttribute("data-sale")),
  }));

test("two screens count the same, and say what runs low until it is restocked", async () => {
  const screens = await Promise.all([shop(), shop({ locale: "es-MX", colorScheme: "dark" })]);
  const [english, spanish] = screens.map(({ page }) => page) as [Page, Page];
  await sell({ producto: "Molletes", cantidad: 2 });
  await sell({ producto: "Enchiladas suizas", cantidad: 15 });
  for (const page of [english, spanish]) {
    await until(async () => expect(await figures(page)).toEqual({ total: "$1,808.00", count: "2", sales: ["2", "1"] }));
  }
  await english.locator(".low [data-product='Enchiladas suizas']", { hasText: "1 left" }).waitFor();
  const low = spanish.locator(".low [data-product='Enchiladas suizas']", { hasText: "queda 1" });
  await low.waitFor();
  for (const { page } of screens) expect(await findings(page)).toEqual([]);
  await english.getByRole("button", { name: "Restock Enchiladas suizas" }).click();
  await low.waitFor({ state: "detached" });
  await until(async () => expect(await counter(english)).toEqual({ sent: 3, seen: 3, missed: 0 }));
  // A screen that is opened later shows the same day.
  const later = await shop();
  await until(async () => expect(await figures(later.page)).toEqual(await figures(english)));
  for (const { errors, close } of [...screens, later]) {
    expect(errors).toEqual([]);
    await close();
  }
});

test("kills of the gateway and of PostgreSQL lose no sale", async () => {
  const screens = await Promise.all([shop(), shop()]);
  const [page, other] = screens.map(({ page }) => page) as [Page, Page];
  const before = Number((await figures(page)).count);
  await killed(page, "gateway", async () => {
    for (let i = 0; i < 4; i++) await sell();
  });
  await killed(other, "PostgreSQL", async () => {
    await page.locator(".light", { hasText: "PostgreSQL is away" }).waitFor();
  });
  await sell();
  for (const { page } of screens) {
    await until(async () => {
      expect(await counter(page)).toEqual({ sent: 5, seen: 5, missed: 0 });
      expect(Number((await figures(page)).count)).toBe(before + 5);
    });
  }
  expect(await figures(page)).toEqual(await figures(other));
  for (const { errors, close } of screens) {
    expect(errors).toEqual([]);
    await close();
  }
});
