// The marketplace's four views: what each role hears, what it fetches, kills that lose nothing; and that the demo answers what the real
// report service does.

import { spawn } from "node:child_process";
import { createHmac } from "node:crypto";
import { join } from "node:path";
import { addTypenameToDocument } from "@apollo/client/utilities";
import type { Page } from "playwright-core";
import { expect, onTestFinished, test, vi } from "vitest";
import { print } from "graphql";
import { ADMIN, SELLER, SHOP } from "../marketplace/web/src/queries";
import { findings } from "./support/browser";
import { repository } from "./support/demo";
import { stage } from "./support/stage";
import { counter, killed, until } from "./support/strip";

const on = stage();

const view = (name: string, options?: object) => on.page(`/marketplace/#${name}`, options);
const order = (product: number, quantity = 1) => on.demo.deed("marketplace", "pedido", { product, quantity });
const orders = async (page: Page) => Number(await page.locator("[data-figure]").first().textContent());
const recent = (page: Page) =>
  page.locator("[data-order]").evaluateAll((all) => all.map((one) => Number(one.getAttribute("data-order"))));
/** Every report that a page fetched. */
function fetched(page: Page): string[] {
  const names: string[] = [];
  page.on("request", (request) => request.url().endsWith("/graphql") && names.push(request.postDataJSON().operationName));
  return names;
}

/** The real service, from examples/marketplace/report; it ends with the test. */
async function reports(env: Record<string, string>): Promise<string> {
  const cwd = join(repository, "examples/marketplace/report");
  const child = spawn(process.execPath, ["server.mjs"], { cwd, env: { ...process.env, PORT: "0", ...env } });
  onTestFinished(() => void child.kill());
  let said = "";
  return new Promise((resolve, reject) => {
    const hear = (text: Buffer) => {
      said += text;
      const found = said.match(/reports on (\S+)/);
      if (found) resolve(found[1]!);
    };
    child.stdout.on("data", hear);
    child.stderr.on("data", hear);
    child.once("exit", () => reject(new Error(said)));
  });
}

async function ask(url: string, token: string, body: object): Promise<{ data?: unknown; errors?: unknown[] }> {
  const headers = { Authorization: `Bearer ${token}`, "Content-Type": "application/json" };
  return (await fetch(url, { method: "POST", headers, body: JSON.stringify(body) })).json() as Promise<{
    data?: unknown;
    errors?: unknown[];
  }>;
}

/** What a token says, signed with the service's secret. */
function resigned(token: string, secret: string): string {
  const said = token.split(".").slice(0, 2).join(".");
  return `${said}.${createHmac("sha256", secret).update(said).digest("base64url")}`;
}

test("an order reaches its seller and the administrator, and nobody else", async () => {
  const screens = await Promise.all([
    view("store"),
    view("seller/7"),
    view("seller/42", { locale: "es-MX", colorScheme: "dark" }),
    view("admin"),
  ]);
  const [store, seven, fortyTwo, admin] = screens.map(({ page }) => page) as [Page, Page, Page, Page];
  await store.getByRole("textbox", { name: "Your name" }).fill("Rosa Quispe");
  await store.getByRole("button", { name: "Register" }).click();
  await store.getByText("Welcome, Rosa Quispe!").waitFor();
  await admin.locator(".newest li", { hasText: "Rosa Quispe" }).waitFor();
  await store.getByRole("button", { name: "Buy Bolso de tagua" }).click();
  await store.locator("[data-product='3'] [data-stock='15']").waitFor();
  for (const page of [seven, admin]) {
    await page.locator("[data-order]", { hasText: "Rosa Quispe" }).waitFor();
    await until(async () =>
      expect(await counter(page)).toEqual({ sent: page === admin ? 3 : 2, seen: page === admin ? 3 : 2, missed: 0 }),
    );
  }
  // The shelf is for everybody; the sale is not.
  await until(async () => expect(await counter(fortyTwo)).toEqual({ sent: 1, seen: 1, missed: 0 }));
  expect(await orders(fortyTwo)).toBe(0);
  expect(await recent(fortyTwo)).toEqual([]);
  for (const page of [store, admin]) expect(await findings(page)).toEqual([]);
  for (const { errors, close } of screens) {
    expect(errors).toEqual([]);
    await close();
  }
});

test("stock runs low until its seller has more; prices change at the shelf", async () => {
  const screens = await Promise.all([view("products/7"), view("seller/7"), view("store")]);
  const [products, seller, store] = screens.map(({ page }) => page) as [Page, Page, Page];
  await order(2, 5);
  const low = seller.locator(".low li", { hasText: "Hamaca de algodón" });
  await low.waitFor();
  await store.locator("[data-product='2']", { hasText: "only 4 left" }).waitFor();
  await products.getByRole("button", { name: "Ten more of Hamaca de algodón" }).click();
  await low.waitFor({ state: "detached" });
  await products.getByRole("button", { name: "Hamaca de algodón five per cent cheaper" }).click();
  await store.locator("[data-product='2']", { hasText: "$845.50" }).waitFor();
  // What is not there is not sold.
  await expect(order(2, 1_000)).rejects.toThrow("not enough");
  for (const page of [products, seller]) expect(await findings(page)).toEqual([]);
  for (const { errors, close } of screens) {
    expect(errors).toEqual([]);
    await close();
  }
});

test("kills of the gateway and of Redis leave no report old", async () => {
  const screens = await Promise.all([view("admin"), view("seller/42")]);
  const [admin, seller] = screens.map(({ page }) => page) as [Page, Page];
  const before = [await orders(admin), await orders(seller)] as const;
  const reports = fetched(admin);
  await killed(admin, "gateway", async () => {
    await admin.locator(".light[data-colour=yellow]").waitFor();
    for (let i = 0; i < 3; i++) await order(5);
  });
  await until(async () => expect(await orders(admin)).toBe(before[0] + 3));
  await until(async () => expect(await orders(seller)).toBe(before[1] + 3));
  expect(new Set(reports)).toEqual(new Set(["AdminReport"]));
  await killed(seller, "Redis", async () => {
    await admin.locator(".light", { hasText: "Redis is away" }).waitFor();
    // The order is in the shop's database; the service says it as soon as Redis is back.
    await order(6);
  });
  // The gateway hears Redis again when an order comes through. Each has some seconds: there is not enough for one at every look.
  await until(async () => {
    await order(6);
    const arrived = async () => expect(await orders(admin)).toBeGreaterThan(before[0] + 4);
    await vi.waitFor(arrived, { timeout: 3000, interval: 50 });
  });
  for (const { page } of screens) {
    await until(async () => {
      const { sent, seen, missed } = await counter(page);
      expect([sent - seen, missed]).toEqual([0, 0]);
    });
  }
  await until(async () => expect((await recent(admin))[0]).toBe((await recent(seller))[0]));
  for (const { errors, close } of screens) {
    expect(errors).toEqual([]);
    await close();
  }
});

test("the demo answers what the report service answers", async () => {
  const { tokens, database } = await on.demo.facts("marketplace");
  const secret = "a secret of the service";
  const service = await reports({ DATABASE_URL: database, JWT_SECRET: secret });
  const cases = [
    [SHOP, "customer"],
    [SELLER, "seller-7"],
    [SELLER, "seller-42"],
    [ADMIN, "admin"],
    [ADMIN, "seller-7"],
    [SELLER, "customer"],
  ] as const;
  for (const [document, role] of cases) {
    const { name } = document.definitions[0] as { name: { value: string } };
    const body = { operationName: name.value, query: print(addTypenameToDocument(document)) };
    const theirs = await ask(service, resigned(tokens[role]!, secret), body);
    const ours = await ask(`${on.demo.url}/demo/marketplace/graphql`, tokens[role]!, body);
    if (theirs.errors) expect(ours.errors, `${name.value} for ${role}`).toHaveLength(1);
    else expect(ours, `${name.value} for ${role}`).toEqual(theirs);
  }
  expect((await ask(service, tokens.admin!, { query: "{ shop { __typename } }" })).errors).toHaveLength(1);
});
