// The turnstile's page: two tills, what they tell, and that kills of the gateway and of PostgreSQL lose nothing.

import type { Page } from "playwright-core";
import { expect, test } from "vitest";
import { findings } from "./support/browser";
import { stage } from "./support/stage";
import { counter, killed, patiently, until } from "./support/strip";

const on = stage();

const enter = (body: object = {}) => on.demo.deed("turnstile", "entrada", body);
const till = (options?: object) => on.page("/turnstile/", options);
/** Keys of the entries on a page, the newest first. */
const shown = (page: Page) =>
  page
    .locator(".newest [data-entry], .entries [data-entry]")
    .evaluateAll((all) => all.map((one) => Number(one.getAttribute("data-entry"))));

test("two tills, in two languages, see who comes in and how the membership is", async () => {
  const tills = await Promise.all([till(), till({ locale: "es-MX", colorScheme: "dark" })]);
  const [english, spanish] = tills.map(({ page }) => page) as [Page, Page];
  await enter({ id_miembro: 3 });
  for (const page of [english, spanish]) await page.locator(".newest-name", { hasText: "Guadalupe Ordóñez" }).waitFor();
  await english.getByText("ends soon · ends in 3 days").waitFor();
  await spanish.getByText("por vencer · vence en 3 días").waitFor();
  await english.getByRole("button", { name: "membership has expired" }).click();
  for (const page of [english, spanish]) await page.locator(".newest[data-membership=expired]").waitFor();
  await enter({ id_miembro: 777 });
  await spanish.locator(".newest-name", { hasText: "Miembro desconocido" }).waitFor();
  await until(async () => expect(await shown(english)).toEqual(await shown(spanish)));
  expect(await english.locator(".away").count()).toBe(0);
  for (const { page, errors, close } of tills) {
    expect(await findings(page)).toEqual([]);
    expect(errors).toEqual([]);
    await close();
  }
});

test("kills of the gateway and of PostgreSQL lose nothing, and the light tells", async () => {
  const tills = await Promise.all([till(), till()]);
  const [page, other] = tills.map(({ page }) => page) as [Page, Page];
  await enter();
  await page.locator("[data-counter=seen] dd", { hasText: "1" }).waitFor();

  await killed(page, "gateway", async () => {
    await page.locator(".light[data-colour=yellow]").waitFor();
    for (let i = 0; i < 5; i++) await enter();
  });
  await page.getByRole("heading", { name: "5 entries while you were away" }).waitFor(patiently);
  await page.locator("[data-status=connected][data-colour=green]").waitFor(patiently);

  await killed(page, "PostgreSQL", async () => {
    // The gateway is there, and the light says what is not.
    await other.locator(".light", { hasText: "PostgreSQL is away" }).waitFor();
    await expect(enter()).rejects.toThrow("503");
  });
  await enter();
  for (const { page } of tills) {
    await until(async () => expect(await counter(page)).toEqual({ sent: 7, seen: 7, missed: 0 }));
  }
  expect(await shown(page)).toEqual(await shown(other));
  await page.getByRole("button", { name: "Got it" }).click();
  expect(await page.locator(".away").count()).toBe(0);
  for (const { errors, close } of tills) {
    // The deed that failed was the test's own.
    expect(errors).toEqual([]);
    await close();
  }
});

test("a till that was closed shows what it missed", async () => {
  const { page, errors, close } = await till();
  await enter();
  await page.locator("[data-counter=seen] dd", { hasText: "1" }).waitFor();
  await page.goto("about:blank");
  for (let i = 0; i < 2; i++) await enter();
  await page.goto(`${on.demo.url}/turnstile/`);
  await page.getByRole("heading", { name: "2 entries while you were away" }).waitFor();
  expect(errors).toEqual([]);
  await close();
});

test("sound and notifications wait for a click, then tell of who comes in", async () => {
  const { page, errors, close } = await till();
  // A desktop is what a browser without a window lacks; the rest is the page's own.
  await page.evaluate(() => {
    const told: string[] = ((globalThis as any).told = []);
    (globalThis as any).Notification = class {
      static permission = "default";
      static requestPermission = async () => "granted";
      constructor(title: string) {
        told.push(title);
      }
    };
  });
  await enter({ id_miembro: 1 });
  await page.locator(".newest-name", { hasText: "Ximena Robles" }).waitFor();
  const sound = page.getByRole("button", { name: "Sound" });
  expect(await sound.getAttribute("aria-pressed")).toBe("false");
  await sound.focus();
  await page.keyboard.press("Space");
  expect(await sound.getAttribute("aria-pressed")).toBe("true");
  await page.getByRole("button", { name: "Desktop notifications" }).click();
  await page.locator("button[aria-pressed=true]", { hasText: "Desktop" }).waitFor();
  await enter({ id_miembro: 2 });
  await until(async () => expect(await page.evaluate(() => (globalThis as any).told)).toEqual(["Iñaki Etxeberria"]));
  expect(errors).toEqual([]);
  await close();
});

test("on a phone nothing is cut off", async () => {
  const { page, close } = await till({ viewport: { width: 360, height: 740 } });
  await enter({ vencida: true });
  await page.locator(".newest[data-membership=expired]").waitFor();
  expect(await page.evaluate(() => document.documentElement.scrollWidth)).toBeLessThanOrEqual(360);
  await close();
});
