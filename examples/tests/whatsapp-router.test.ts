// A telephone and the agents' inbox: webhooks in, answers and ticks back, areas, and kills that lose nothing.

import type { Page } from "playwright-core";
import { expect, test } from "vitest";
import { findings } from "./support/browser";
import { stage } from "./support/stage";
import { counter, killed, until } from "./support/strip";

const on = stage();

const screen = (role: string, options?: object) => on.page(`/whatsapp-router/?role=${role}`, options);
const ANA = "5215500000001";
const BETO = "5215500000002";
const write = (telefono: string, texto: string) => on.demo.deed("whatsapp-router", "mensaje", { telefono, texto });
const line = (page: Page, name: string) => page.locator(".agents .conversations button", { hasText: name });
const texts = (page: Page, side: ".phone" | ".agents") =>
  page.locator(`${side} [data-wamid]`).evaluateAll((all) => all.map((one) => one.firstChild?.textContent));

test("what a telephone sends is answered, and the answer is read", async () => {
  const screens = await Promise.all([screen("todas"), screen("general", { locale: "es-MX", colorScheme: "dark" })]);
  const [english, spanish] = screens.map(({ page }) => page) as [Page, Page];
  // Somebody who has never written: contact, conversation and message are made of one delivery.
  await english.getByLabel("Whose telephone").selectOption("Dora");
  await english.getByRole("textbox", { name: "Message from Dora" }).fill("¿Hacen envíos?");
  await english.keyboard.press("Enter");
  await line(spanish, "Dora").click();
  await until(async () => expect(await texts(spanish, ".agents")).toEqual(["¿Hacen envíos?"]));
  await until(async () => expect(await texts(english, ".phone")).toEqual(["¿Hacen envíos?"]));
  await spanish.getByRole("textbox", { name: "Su respuesta" }).fill("Sí, a todo el país");
  await spanish.keyboard.press("Enter");
  await until(async () => expect(await texts(english, ".phone")).toEqual(["¿Hacen envíos?", "Sí, a todo el país"]));
  // The telephone shows it, so that the agent sees that it was read.
  await spanish.locator(".agents .ours .ticks.read").waitFor();
  expect(await spanish.locator(".agents .ours .ticks").getAttribute("aria-label")).toBe("leído");
  expect(await findings(english)).toEqual([]);
  for (const { errors, close } of screens) {
    expect(errors).toEqual([]);
    await close();
  }
});

test("who asks for a price moves to sales, and comes back", async () => {
  const screens = await Promise.all([screen("general"), screen("ventas"), screen("todas")]);
  const [general, sales, all] = screens.map(({ page }) => page) as [Page, Page, Page];
  await write(ANA, "Hola");
  await line(general, "Ana").click();
  await until(async () => expect(await texts(general, ".agents")).toEqual(["Hola"]));
  expect(await line(sales, "Ana").count()).toBe(0);
  await write(ANA, "¿Qué precio tiene?");
  await line(sales, "Ana").waitFor();
  await general.getByText("This conversation has gone to another area.").waitFor();
  expect(await line(general, "Ana").count()).toBe(0);
  // What is said there is for sales alone.
  await write(ANA, "gracias");
  await line(sales, "Ana").click();
  await until(async () => expect(await texts(sales, ".agents")).toEqual(["Hola", "¿Qué precio tiene?", "gracias"]));
  await line(all, "Ana").locator(".area", { hasText: "ventas · precio" }).waitFor();
  await until(async () => expect(await counter(general)).toEqual({ sent: 2, seen: 2, missed: 0 }));
  await write(ANA, "ayuda por favor");
  await line(general, "Ana").waitFor();
  await line(sales, "Ana").waitFor({ state: "detached" });
  for (const { errors, close } of screens) {
    expect(errors).toEqual([]);
    await close();
  }
});

test("kills of the gateway and of PostgreSQL lose no message", async () => {
  const screens = await Promise.all([screen("todas"), screen("todas")]);
  const [page, other] = screens.map(({ page }) => page) as [Page, Page];
  await write(BETO, "antes");
  await line(page, "Beto").click();
  await page.locator(".agents [data-wamid]", { hasText: "antes" }).waitFor();
  await killed(page, "gateway", async () => {
    await page.locator(".light[data-colour=yellow]").waitFor();
    for (let i = 1; i <= 4; i++) await write(BETO, `sin gateway ${i}`);
  });
  const said = ["antes", ...[1, 2, 3, 4].map((i) => `sin gateway ${i}`)];
  await until(async () => expect(await texts(page, ".agents")).toEqual(said));
  await killed(other, "PostgreSQL", async () => {
    await page.locator(".light", { hasText: "PostgreSQL is away" }).waitFor();
    // The router takes nothing that it cannot keep; Meta would repeat it.
    await expect(write(BETO, "nadie lo guarda")).rejects.toThrow("503");
  });
  await until(async () => write(BETO, "después"));
  await until(async () => expect(await texts(page, ".agents")).toEqual([...said, "después"]));
  for (const { page, errors, close } of screens) {
    await until(async () => expect(await counter(page)).toEqual({ sent: 6, seen: 6, missed: 0 }));
    expect(await page.locator(".notice").count()).toBe(0);
    expect(errors).toEqual([]);
    await close();
  }
});

test("on a telephone nothing is cut off", async () => {
  const { page, close } = await screen("todas", { viewport: { width: 360, height: 740 } });
  await write(BETO, "un texto bastante largo para una pantalla tan angosta como esta");
  await line(page, "Beto").click();
  await page.locator(".agents [data-wamid]").first().waitFor();
  expect(await page.evaluate(() => document.documentElement.scrollWidth)).toBeLessThanOrEqual(360);
  await close();
});
