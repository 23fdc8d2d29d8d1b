// Pictures for the documentation, of a demo that has run for some minutes: PREGON_DEMO=http://127.0.0.1:8800 npm run screenshots
// Look at each of them before it is committed.

import { chromium } from "playwright-core";

const demo = process.env.PREGON_DEMO ?? "http://127.0.0.1:8800";
const images = new URL("../docs/images/", import.meta.url).pathname;

/** Name, page, what the browser is like, and what is done before. */
const SHOTS = [
  ["demo", "/", { locale: "en-US" }, busy],
  ["demo-es", "/", { locale: "es-MX", colorScheme: "dark" }, busy],
  ["live-sales", "/live-sales/", { locale: "en-US" }, seen(8)],
  ["live-sales-es", "/live-sales/", { locale: "es-MX", colorScheme: "dark" }, seen(8)],
  ["turnstile", "/turnstile/", { locale: "en-US" }, seen(5)],
  ["turnstile-killed", "/turnstile/", { locale: "es-MX", colorScheme: "dark" }, killed],
  ["chat-inbox-light", "/chat-inbox/", { locale: "en-US", viewport: { width: 1360, height: 900 } }, talking],
  ["chat-inbox-dark", "/chat-inbox/", { locale: "es-MX", colorScheme: "dark", viewport: { width: 1360, height: 900 } }, talking],
  ["whatsapp-router-light", "/whatsapp-router/", { locale: "en-US", viewport: { width: 1360, height: 900 } }, answering],
  ["whatsapp-router-dark", "/whatsapp-router/", { locale: "es-MX", colorScheme: "dark", viewport: { width: 1360, height: 900 } }, answering],
  ["marketplace-light", "/marketplace/#admin", { locale: "en-US", viewport: { width: 1360, height: 900 } }, seen(8)],
  ["marketplace-dark", "/marketplace/#seller/7", { locale: "es-MX", colorScheme: "dark", viewport: { width: 1360, height: 900 } }, seen(6)],
  ["marketplace-phone", "/marketplace/", { locale: "es-MX", viewport: { width: 390, height: 844 } }, seen(3)],
  ["turnstile-phone", "/turnstile/", { locale: "es-MX", viewport: { width: 390, height: 844 } }, seen(3)],
];

/** Waits until so many events came to the strip. */
function seen(count) {
  return (page) =>
    page.waitForFunction((count) => Number(document.querySelector("[data-counter=seen] dd")?.textContent) >= count, count, { timeout: 90_000 });
}

/** Waits until something happened in every example. */
function busy(page) {
  return page.waitForFunction(() => [...document.querySelectorAll(".example .now code")].every((code) => code.textContent !== "…"));
}

/** Opens a conversation and answers. */
async function talking(page) {
  await seen(8)(page);
  await page.locator(".conversations button").first().click();
  await page.locator(".thread .composer input").fill("Con gusto. ¿Le queda bien a las diez?");
  await page.locator(".thread .composer button").click();
  await page.locator(".thread .ours").last().waitFor();
}

/** Answers the person whose telephone is shown, who reads it. */
async function answering(page) {
  await seen(6)(page);
  await page.locator(".agents .conversations button", { hasText: "Ana" }).click();
  await page.locator(".agents .composer input").fill("Sí, hasta las dos de la tarde");
  await page.locator(".agents .composer button").click();
  await page.locator(".agents .ours .ticks.read").last().waitFor();
  await page.waitForFunction(() => document.querySelector(".agents .composer input")?.value === "");
}

/** Kills the gateway, and waits until what was missed is there. */
async function killed(page) {
  await seen(2)(page);
  await page.locator(".kill button").last().click();
  await page.locator(".away").waitFor({ timeout: 60_000 });
  await page.locator(".kill button:enabled").first().waitFor({ timeout: 60_000 });
}

const browser = await chromium.launch({ executablePath: "/usr/bin/chromium", args: ["--no-sandbox"] });
const wanted = process.argv.slice(2);
for (const [name, path, options, ready] of SHOTS.filter(([name]) => wanted.length === 0 || wanted.includes(name))) {
  const context = await browser.newContext({ viewport: { width: 1280, height: 800 }, reducedMotion: "reduce", ...options });
  const page = await context.newPage();
  await page.goto(demo + path);
  await ready(page);
  await page.evaluate(() => scrollTo(0, 0));
  await page.screenshot({ path: `${images}${name}.png` });
  await context.close();
}
await browser.close();
