// Debian's Chromium, steered by playwright-core, and pages that keep what went wrong in them.

import { AxeBuilder } from "@axe-core/playwright";
import { existsSync } from "node:fs";
import { chromium, type Browser, type BrowserContextOptions, type Page } from "playwright-core";

const PLACES = ["chromium", "chromium-browser", "google-chrome"].map((name) => `/usr/bin/${name}`);

export async function launch(): Promise<Browser> {
  const executablePath = PLACES.find(existsSync);
  if (!executablePath) throw new Error("no Chromium: see scripts/setup");
  return chromium.launch({ executablePath, args: ["--no-sandbox", "--disable-dev-shm-usage"] });
}

export interface Seen {
  page: Page;
  /** Errors of the console and of scripts. What a browser says of a connection that was refused is not one: we kill gateways. */
  errors: string[];
  close(): Promise<void>;
}

/** Opens a page in a browser profile of its own. */
export async function open(browser: Browser, url: string, options: BrowserContextOptions = {}): Promise<Seen> {
  const context = await browser.newContext({ locale: "en-US", viewport: { width: 1360, height: 900 }, ...options });
  const page = await context.newPage();
  const errors: string[] = [];
  page.on("pageerror", (error) => errors.push(String(error)));
  page.on("console", (message) => {
    const broken = /net::ERR_CONNECTION_(REFUSED|RESET)|WebSocket connection to .* failed|ERR_INCOMPLETE_CHUNKED/;
    if (["error", "warning"].includes(message.type()) && !broken.test(message.text())) errors.push(message.text());
  });
  await page.goto(url);
  return { page, errors, close: () => context.close() };
}

/** Serious and critical findings, in the dark and in the light, as lines that can be read. */
export async function findings(page: Page): Promise<string[]> {
  const found: string[] = [];
  for (const colorScheme of ["light", "dark"] as const) {
    await page.emulateMedia({ colorScheme, reducedMotion: "reduce" });
    const { violations } = await new AxeBuilder({ page }).analyze();
    for (const { id, impact, help, nodes } of violations) {
      const where = nodes.slice(0, 3).map((node) => node.html.slice(0, 160));
      if (impact === "serious" || impact === "critical") found.push(`${colorScheme}: ${id}: ${help}: ${where.join(" | ")}`);
    }
  }
  return found;
}
