// The inbox's page: order, counts, place in a conversation, typing, presence; and that kills lose no message.

import type { Page } from "playwright-core";
import { expect, test } from "vitest";
import { findings } from "./support/browser";
import { stage } from "./support/stage";
import { counter, killed, until } from "./support/strip";

const on = stage();

const say = (conversation_id: number, message: string, sender = "user") =>
  on.demo.deed("chat-inbox", "mensaje", { conversation_id, sender, message });
const inbox = (options?: object) => on.page("/chat-inbox/", options);
const names = (page: Page) => page.locator(".conversations .name").allTextContents();
const line = (page: Page, name: string) => page.locator(".conversations button", { hasText: name });
const texts = (page: Page) => page.locator("[data-message]").evaluateAll((all) => all.map((one) => one.firstChild?.textContent));

test("two screens, in two languages: order, counts, decrypted texts, answers", async () => {
  const screens = await Promise.all([inbox(), inbox({ locale: "es-MX", colorScheme: "dark" })]);
  const [english, spanish] = screens.map(({ page }) => page) as [Page, Page];
  await say(1, "¿Abren los domingos?");
  await say(2, "Hola, ñandú 🙂");
  await say(1, "¿Y los lunes?");
  for (const page of [english, spanish]) {
    await until(async () => expect(await names(page)).toEqual(["Ximena Robles", "Iñaki Etxeberria"]));
    await until(async () => expect((await line(page, "Ximena").locator(".count").textContent())?.trim()).toMatch(/^2 /));
  }
  await line(english, "Iñaki").click();
  await until(async () => expect(await texts(english)).toEqual(["Hola, ñandú 🙂"]));
  await line(english, "Iñaki").locator(".count").waitFor({ state: "detached" });
  // What nobody has read here is still new over there.
  expect((await line(spanish, "Iñaki").locator(".count").textContent())?.trim()).toBe("1 sin leer");
  await line(spanish, "Iñaki").click();
  await english.getByRole("textbox", { name: "Your answer" }).fill("Buenas tardes");
  await english.keyboard.press("Enter");
  for (const page of [english, spanish]) {
    await until(async () => expect(await texts(page)).toEqual(["Hola, ñandú 🙂", "Buenas tardes"]));
    await until(async () => expect(await names(page)).toEqual(["Iñaki Etxeberria", "Ximena Robles"]));
  }
  expect(await findings(english)).toEqual([]);
  for (const { errors, close } of screens) {
    expect(errors).toEqual([]);
    await close();
  }
});

test("the contact is there, types, and is seen to", async () => {
  const { page, errors, close } = await inbox();
  await say(3, "Hola");
  await line(page, "Guadalupe").click();
  await page.locator(".thread .badge.good", { hasText: "online" }).waitFor();
  await page.getByText("Your message is being looked at.").waitFor();
  const contact = page.getByRole("textbox", { name: "Write as Guadalupe Ordóñez" });
  await contact.pressSequentially("¿Hay");
  await page.locator(".typing", { hasText: "Guadalupe Ordóñez is typing…" }).waitFor();
  await contact.fill("¿Hay lugar?");
  await contact.press("Enter");
  await until(async () => expect(await texts(page)).toEqual(["Hola", "¿Hay lugar?"]));
  await until(async () => expect(await page.locator(".typing").textContent()).toBe(""));
  await page.getByRole("textbox", { name: "Your answer" }).pressSequentially("Sí");
  await page.locator(".contact", { hasText: "Somebody is writing an answer…" }).waitFor();
  await page.keyboard.press("Enter");
  await page.locator(".contact", { hasText: "Your message is being looked at." }).waitFor();
  expect(errors).toEqual([]);
  await close();
});

test("a conversation stays at its end, or where the reader has scrolled to", async () => {
  const { page, errors, close } = await inbox({ viewport: { width: 1360, height: 620 } });
  for (let i = 1; i <= 25; i++) await say(4, `mensaje ${i}`);
  await line(page, "Martín").click();
  const scroll = page.locator(".thread .scroll");
  const distance = () => scroll.evaluate((box) => box.scrollHeight - box.scrollTop - box.clientHeight);
  await until(async () => expect((await texts(page)).length).toBe(25));
  expect(await distance()).toBeLessThan(2);
  await say(4, "el último");
  await page.getByText("el último").last().waitFor();
  await until(async () => expect(await distance()).toBeLessThan(2));
  await scroll.hover();
  await page.mouse.wheel(0, -5_000);
  await until(async () => expect(await scroll.evaluate((box) => box.scrollTop)).toBe(0));
  await say(4, "y otro");
  await page.getByRole("button", { name: "1 new message" }).waitFor();
  expect(await scroll.evaluate((box) => box.scrollTop)).toBe(0);
  await page.getByRole("button", { name: "1 new message" }).click();
  await until(async () => expect(await distance()).toBeLessThan(2));
  expect(errors).toEqual([]);
  await close();
});

test("kills of the gateway and of PostgreSQL lose no message", async () => {
  const screens = await Promise.all([inbox(), inbox()]);
  const [page, other] = screens.map(({ page }) => page) as [Page, Page];
  await say(5, "antes");
  await line(page, "Lucía").click();
  await page.locator("[data-message]", { hasText: "antes" }).waitFor();
  await killed(page, "gateway", async () => {
    await page.locator(".light[data-colour=yellow]").waitFor();
    for (let i = 1; i <= 4; i++) await say(5, `sin gateway ${i}`);
    await on.demo.deed("chat-inbox", "conversacion");
  });
  const said = ["antes", ...[1, 2, 3, 4].map((i) => `sin gateway ${i}`)];
  await until(async () => expect(await texts(page)).toEqual(said));
  // A conversation that began meanwhile is in the list.
  await line(page, "Tomás").waitFor();
  await killed(other, "PostgreSQL", async () => {
    await page.locator(".light", { hasText: "PostgreSQL is away" }).waitFor();
    await page.getByRole("textbox", { name: "Your answer" }).fill("se queda");
    await page.getByRole("textbox", { name: "Your answer" }).press("Enter");
    await page.locator(".composer [role=alert]").first().waitFor();
  });
  // What could not be sent is still on the line.
  await page.getByRole("textbox", { name: "Your answer" }).press("Enter");
  await until(async () => expect(await texts(page)).toEqual([...said, "se queda"]));
  for (const { page } of screens) {
    await until(async () => expect(await counter(page)).toEqual({ sent: 6, seen: 6, missed: 0 }));
    expect(await page.locator("[role=alert].notice").count()).toBe(0);
  }
  const own = /503 \(Service Unavailable\)/;
  for (const { errors, close } of screens) {
    expect(errors.filter((error) => !own.test(error))).toEqual([]);
    await close();
  }
});

test("on a telephone nothing is cut off", async () => {
  const { page, close } = await inbox({ viewport: { width: 360, height: 740 } });
  await say(1, "un texto bastante largo para una pantalla tan angosta como esta");
  await line(page, "Ximena").click();
  await page.locator("[data-message]").first().waitFor();
  expect(await page.evaluate(() => document.documentElement.scrollWidth)).toBeLessThanOrEqual(360);
  await close();
});
