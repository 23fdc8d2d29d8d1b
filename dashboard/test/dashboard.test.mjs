// The page in a real Chromium against the real gateway: every tab in two languages and two themes, by keyboard and on a telephone,
// without an error in the console and without a serious finding of axe.

import assert from "node:assert/strict";
import { existsSync, readFileSync } from "node:fs";
import { after, before, test } from "node:test";
import { chromium } from "playwright-core";
import { Gateway, TOKEN, token } from "./gateway.mjs";

const AXE = readFileSync(new URL("../node_modules/axe-core/axe.min.js", import.meta.url), "utf8");
const TABS = ["live", "sessions", "sources", "routes", "tail", "explain"];
const BROWSERS = ["/usr/bin/chromium", "/usr/bin/chromium-browser", "/usr/bin/google-chrome"];
/** What the documentation shows of them. */
const PICTURES = ["sessions-en", "routes-en", "tail-es"];
const IMAGES = new URL("../../docs/images/", import.meta.url).pathname;

let gateway, browser, clients, traffic;

before(async () => {
  gateway = await Gateway.start();
  const executablePath = process.env.PREGON_CHROMIUM ?? BROWSERS.find((path) => existsSync(path));
  browser = await chromium.launch({ executablePath, args: ["--no-sandbox", "--disable-dev-shm-usage"] });
  clients = await browser.newPage();
  await connect({ sub: "ana", rol: "gerente", tiendas: ["1"] }, ["gerencia", "tienda_1"]);
  await connect({ sub: "luis", tiendas: ["1", "2"] }, ["tienda_1", "tienda_2"]);
  await connect({ sub: "eva", tiendas: ["2"] }, ["tienda_2"]);
  let number = 0;
  traffic = setInterval(() => {
    number += 1;
    const order = { id: number, total: number % 5 === 0 ? 20 : 100 + number, tienda: (number % 2) + 1, estado: "nuevo" };
    gateway.order(order).catch(() => {}); // Some are under way when it stops.
  }, 40);
});

after(async () => {
  clearInterval(traffic);
  await browser?.close();
  await gateway?.stop();
});

/** A client in a page of its own, which follows these channels. */
const connect = (claims, channels) =>
  clients.evaluate(
    async ([url, channels]) => {
      const socket = new WebSocket(url);
      (globalThis.sockets ??= []).push(socket);
      await new Promise((resolve, reject) => Object.assign(socket, { onopen: resolve, onerror: reject }));
      for (const [id, channel] of channels.entries()) socket.send(JSON.stringify({ id: id + 1, type: "subscribe", channel }));
      await new Promise((resolve) => (socket.onmessage = ({ data }) => JSON.parse(data).id === channels.length && resolve()));
    },
    [`${gateway.url.replace("http", "ws")}/ws?token=${token(claims)}`, channels],
  );

/** The dashboard in a fresh tab, and everything that went wrong in it. */
async function open({ hash = `#token=${TOKEN}`, ...options } = {}) {
  const context = await browser.newContext({ locale: "en-GB", viewport: { width: 1280, height: 900 }, ...options });
  const page = await context.newPage();
  const errors = [];
  page.on("console", (message) => ["error", "warning"].includes(message.type()) && errors.push(message.text()));
  page.on("pageerror", (error) => errors.push(String(error)));
  await page.goto(`${gateway.url}/admin/${hash}`);
  return { page, errors, close: () => context.close() };
}

async function findings(page) {
  // What the page's own policy forbids, the debugger may do.
  await page.evaluate(AXE);
  const { violations } = await page.evaluate(() => axe.run(document, { resultTypes: ["violations"] }));
  return violations.map(({ id, impact, nodes }) => `${id} (${impact}): ${nodes.map(({ html }) => html.slice(0, 120)).join(" | ")}`);
}

async function picture(page, name) {
  if (process.env.UPDATE_SCREENSHOTS) await page.screenshot({ path: `${IMAGES}${name}.png` });
}

async function show(page, tab) {
  await page.click(`#tab-${tab}`);
  await page.waitForSelector(`#tab-${tab}[aria-selected=true]`);
  if (tab === "tail") await page.waitForSelector(".tail li .payload");
  if (tab === "sessions") await page.waitForSelector("td:has-text('ana')");
}

test("the token of the address opens it, and is in no address any more", async () => {
  const { page, errors, close } = await open();
  await page.waitForSelector(".figures");
  assert.equal(new URL(page.url()).hash, "");
  assert.deepEqual(await page.context().cookies(), []);
  await page.reload();
  await page.waitForSelector(".figures");
  await page.click("text=Sign out");
  await page.fill("input[type=password]", "una-adivinanza-mala");
  await page.click("text=Open");
  await page.waitForSelector("[role=alert]:has-text('wrong')");
  await page.fill("input[type=password]", TOKEN);
  await page.click("text=Open");
  await page.waitForSelector(".figures");
  // The browser itself says that a request was refused.
  assert.deepEqual(errors.filter((error) => !error.includes("401")), []);
  await close();
});

for (const [language, colorScheme] of [["en-GB", "light"], ["es-MX", "dark"]]) {
  test(`every tab is sound: ${language}, ${colorScheme}`, async () => {
    const { page, errors, close } = await open({ locale: language, colorScheme });
    await page.waitForSelector(".chart canvas");
    await page.waitForFunction(() => /[1-9]/.test(document.querySelectorAll(".figure strong")[3]?.textContent ?? ""));
    const short = language.slice(0, 2);
    assert.equal(await page.getAttribute("html", "lang"), short);
    for (const tab of TABS) {
      await show(page, tab);
      assert.deepEqual(await findings(page), [], tab);
      if (PICTURES.includes(`${tab}-${short}`)) await picture(page, `dashboard-${tab}-${short}`);
    }
    await show(page, "live");
    // Until the charts have something to show.
    if (process.env.UPDATE_SCREENSHOTS) await page.waitForTimeout(25_000);
    await picture(page, `dashboard-live-${short}`);
    assert.deepEqual(errors, []);
    await close();
  });
}

test("arrows move between the tabs, and a telephone shows all of it", async () => {
  const { page, errors, close } = await open({ viewport: { width: 390, height: 844 } });
  await page.waitForSelector(".figures");
  await picture(page, "dashboard-phone");
  await page.focus("#tab-live");
  for (const tab of ["sessions", "sources", "routes", "tail", "explain", "live"]) {
    await page.keyboard.press("ArrowRight");
    assert.equal(await page.evaluate(() => document.activeElement.id), `tab-${tab}`);
    await page.waitForSelector(`#panel[aria-labelledby=tab-${tab}]`);
    const [wide, screen] = await page.evaluate(() => [document.documentElement.scrollWidth, innerWidth]);
    assert.ok(wide <= screen, `${tab}: ${wide} of ${screen}`);
  }
  assert.deepEqual(errors, []);
  await close();
});

test("from the tail to the reason: who got an entry, who did not", async () => {
  const { page, errors, close } = await open();
  await show(page, "tail");
  await page.fill("label:has-text('Channel') input", "tienda_1");
  await page.click("button:has-text('Search')");
  const row = page.locator(".tail li", { hasText: "tienda_1" }).first();
  await row.waitFor();
  await page.click("button:has-text('Pause')");
  await row.locator("button").click();
  await page.fill("label:has-text('User') input", "luis");
  await page.click("button[type=submit]");
  await page.waitForSelector(".verdict.good:has-text('written')");
  assert.deepEqual(await findings(page), []);
  await picture(page, "dashboard-explain-en");
  await page.fill("label:has-text('User') input", "eva");
  await page.click("button[type=submit]");
  await page.waitForSelector(".verdict.bad:has-text('rights do not give')");
  assert.deepEqual(errors, []);
  await close();
});

test("what no rule took, and what a sample would become", async () => {
  const { page, errors, close } = await open();
  await show(page, "routes");
  await page.locator("button:has-text('Why?')").first().click();
  await page.fill("label:has-text('User') input", "luis");
  await page.click("button[type=submit]");
  await page.waitForSelector(".verdict.bad:has-text('no rule')");
  await page.waitForSelector("text=the condition is false");
  await show(page, "routes");
  await page.fill("textarea", '{"total": 500, "tienda": 9, "estado": "pagado"}');
  await page.click("button:text-is('Try')");
  await page.waitForSelector(".rules code:has-text('tienda_9')");
  assert.deepEqual(await findings(page), []);
  assert.deepEqual(errors, []);
  await close();
});

test("a user is revoked and restored, a session is ended, each after a question", async () => {
  const { page, errors, close } = await open();
  await connect({ sub: "mala", tiendas: [] }, ["user_mala"]);
  await show(page, "sessions");
  await page.fill("label:has-text('User') input", "mala");
  await page.click("button:has-text('Search')");
  await page.locator("tr", { hasText: "mala" }).getByRole("button", { name: /Revoke/ }).click();
  assert.deepEqual(await findings(page), []);
  await page.keyboard.press("Escape");
  assert.equal((await gateway.admin("revoke")).users.length, 0, "nothing without a yes");
  await page.locator("tr", { hasText: "mala" }).getByRole("button", { name: /Revoke/ }).click();
  await page.click("dialog button:has-text('Confirm')");
  await page.waitForSelector("[role=status]:has-text('sessions closed: 1')");
  await page.getByRole("button", { name: "Restore mala" }).click();
  await page.waitForSelector("text=Nobody is revoked.");
  await page.selectOption("label:has-text('State') select", "closed");
  await page.waitForSelector("td:has-text('revoked')");
  assert.deepEqual(errors, []);
  await close();
});
