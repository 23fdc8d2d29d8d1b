// The marketplace's back end, over a real Redis and over HTTP: who gets what is the table of examples/marketplace.

import {
  createPublisher,
  notifyAdminStatsUpdated,
  notifySellerStatsUpdated,
  closePublisher,
  type PublisherOptions,
} from "@pregon/publisher";
import { openBare } from "@pregon/client/bare";
import { spawnSync } from "node:child_process";
import { join } from "node:path";
import { createClient } from "redis";
import { expect, onTestFinished, test, vi } from "vitest";
import WebSocket from "ws";
import { client } from "../support/clients";
import { Gateway, repository, SECRET } from "../support/gateway";
import { Redis } from "../support/redis";
import { Relay } from "../support/relay";
import { token } from "../support/token";

const MARKETPLACE = join(repository, "examples/marketplace/pregon.toml");
const patiently = { timeout: 10_000, interval: 20 };

async function marketplace(password = "") {
  const redis = await Redis.start(password);
  const gateway = await Gateway.start(MARKETPLACE, {
    REDIS_ADDR: `127.0.0.1:${redis.port}`,
    REDIS_PASSWORD: password,
    JWT_SECRET: SECRET,
  });
  return { redis, gateway };
}

function publisher(options: PublisherOptions) {
  const errors: string[] = [];
  const made = createPublisher({
    timeout: 10_000,
    onError: (error, event) => errors.push(`${event}: ${error.message}`),
    ...options,
  });
  onTestFinished(() => made.close());
  return { made, errors };
}

/** A dashboard with these claims: what it hears. */
async function dashboard(gateway: Gateway, claims: object): Promise<string[]> {
  const heard: string[] = [];
  const url = `${gateway.url.replace("http", "ws")}/ws`;
  const socket = openBare({ url, token: token(claims), WebSocket, onMessage: (text) => heard.push(text) });
  onTestFinished(() => socket.close());
  await vi.waitFor(() => expect(socket.status).toBe("connected"), patiently);
  return heard;
}

async function dashboards(gateway: Gateway) {
  const claims = [{ role: "ADMIN" }, { role: "SELLER", seller_id: 123 }, { role: "SELLER", seller_id: "124" }, { role: "CLIENT" }];
  // A client of the shop may connect where it has a room; here it has none, and none of the others' channels.
  return Promise.all(claims.map((claims) => dashboard(gateway, claims)));
}

const seller = { type: "SELLER_STATS_UPDATED", seller_id: "123", metadata: { order_id: 456, status: "delivered" } };
const admin = { type: "ADMIN_STATS_UPDATED", metadata: { order_id: 456, action: "order_created" } };

async function everyoneGetsTheirs(gateway: Gateway, { made, errors }: ReturnType<typeof publisher>) {
  const all = await dashboards(gateway);
  expect(await made.notifySellerStatsUpdated("123", seller.metadata)).toBe(true);
  expect(await made.notifyAdminStatsUpdated(admin.metadata)).toBe(true);
  expect(await made.notifySellerStatsUpdated(124)).toBe(true);
  const other = { type: "SELLER_STATS_UPDATED", seller_id: "124" };
  await vi.waitFor(
    () => expect(all.map((heard) => heard.map((text) => JSON.parse(text)))).toEqual([[admin], [seller], [other], []]),
    patiently,
  );
  expect(errors).toEqual([]);
}

test("over Redis the table of the marketplace holds", async () => {
  const { redis, gateway } = await marketplace();
  await everyoneGetsTheirs(gateway, publisher({ redisUrl: redis.url }));
});

test("over a client that the application has", async () => {
  const { redis, gateway } = await marketplace();
  const own = await createClient({ url: redis.url }).connect();
  onTestFinished(() => own.destroy());
  await everyoneGetsTheirs(gateway, publisher({ redis: own }));
});

test("over HTTP the same table holds", async () => {
  const { gateway } = await marketplace();
  await everyoneGetsTheirs(gateway, publisher({ url: gateway.url, apiKey: Gateway.key }));
});

test("the functions of the service work from its environment, with a password too", async () => {
  const { redis, gateway } = await marketplace("s3cret");
  vi.stubEnv("REDIS_ADDR", `127.0.0.1:${redis.port}`);
  vi.stubEnv("REDIS_PASSWORD", "s3cret");
  onTestFinished(async () => {
    vi.unstubAllEnvs();
    await closePublisher();
  });
  const heard = await dashboard(gateway, { role: "SELLER", seller_id: "123" });
  expect(await notifySellerStatsUpdated("123", seller.metadata)).toBe(true);
  expect(await notifyAdminStatsUpdated()).toBe(true);
  await vi.waitFor(() => expect(heard).toEqual([JSON.stringify(seller)]), patiently);
});

test("the full client follows what the role gets, by the one name for all", async () => {
  const { redis, gateway } = await marketplace();
  const { made } = publisher({ redisUrl: redis.url });
  const me = client(`${gateway.url.replace("http", "ws")}/connect`, { token: token({ sub: 1, role: "SELLER", seller_id: 123 }) });
  const heard: unknown[] = [];
  me.channel("events").on("SELLER_STATS_UPDATED", (event) => heard.push(event));
  await me.channel("events").ready();
  await made.notifySellerStatsUpdated(124);
  await made.notifySellerStatsUpdated(123, seller.metadata);
  await vi.waitFor(() => expect(heard).toEqual([seller]), patiently);
});

test("a Redis that is away costs the order no more than the timeout, and works when it is back", async () => {
  const { redis, gateway } = await marketplace();
  const { made, errors } = publisher({ redisUrl: redis.url, timeout: 2_000 });
  const heard = await dashboard(gateway, { role: "ADMIN" });
  expect(await made.notifyAdminStatsUpdated({ n: 1 })).toBe(true);
  await redis.stop();
  await vi.waitFor(async () => expect(await made.notifyAdminStatsUpdated({ n: 2 })).toBe(false), patiently);
  expect(errors[0]).toMatch(/^ADMIN_STATS_UPDATED: /);
  await redis.run();
  await vi.waitFor(async () => {
    await made.notifyAdminStatsUpdated({ n: 3 });
    expect(heard.map((text) => JSON.parse(text).metadata.n)).toContain(3);
  }, patiently);
});

test("what cannot be told is told to the service, and nothing is thrown", async () => {
  const { gateway } = await marketplace();
  const wrong = publisher({ url: gateway.url, apiKey: "another key" });
  expect(await wrong.made.notifyAdminStatsUpdated()).toBe(false);
  expect(wrong.errors[0]).toMatch(/401/);
  expect(wrong.errors[0]).not.toContain("another key");
  const { made, errors } = publisher({ url: gateway.url, apiKey: Gateway.key });
  expect(await made.notifySellerStatsUpdated("")).toBe(false);
  expect(errors[0]).toMatch(/names no seller/);
  expect(() => createPublisher({ url: gateway.url })).toThrow(/PREGON_API_KEY/);
});

test("a connection that breaks under a message does not publish it twice", async () => {
  const { gateway } = await marketplace();
  const relay = await Relay.to(gateway.port);
  relay.swallowAnswers = 1;
  const heard = await dashboard(gateway, { role: "ADMIN" });
  const { made, errors } = publisher({ url: relay.url, apiKey: Gateway.key });
  expect(await made.notifyAdminStatsUpdated({ n: 1 })).toBe(true);
  expect(await made.notifyAdminStatsUpdated({ n: 2 })).toBe(true);
  await vi.waitFor(() => expect(heard.map((text) => JSON.parse(text).metadata.n)).toEqual([1, 2]), patiently);
  expect([errors, relay.connections > 1]).toEqual([[], true]);
});

test("a script that has told its news may end, with or without a Redis", async () => {
  const redis = await Redis.start();
  const script = `
    const { createPublisher } = await import(${JSON.stringify(join(repository, "clients/js/packages/publisher/dist/index.js"))});
    console.log(await createPublisher({ timeout: 10_000 }).notifyAdminStatsUpdated({ from: "a script" }));`;
  const run = (url: string) =>
    spawnSync(process.execPath, ["--input-type=module", "-e", script], {
      env: { ...process.env, REDIS_URL: url },
      timeout: 10_000,
      encoding: "utf8",
    });
  expect(run(redis.url)).toMatchObject({ stdout: "true\n", status: 0 });
  await redis.stop();
  expect(run(redis.url)).toMatchObject({ stdout: "false\n", status: 0 });
});
