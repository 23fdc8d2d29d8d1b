// The dashboards' own hook against examples/marketplace, a real Redis and the publisher of the back end.

import { createPublisher } from "@pregon/publisher";
import { useWebSocket, type StatsEvent } from "@pregon/react";
import { join } from "node:path";
import { useState } from "react";
import { renderToString } from "react-dom/server";
import { beforeEach, expect, onTestFinished, test, vi } from "vitest";
import { Gateway, repository, SECRET } from "../support/gateway";
import { Redis } from "../support/redis";
import { Relay } from "../support/relay";
import { token } from "../support/token";
import { render } from "./render";
import { Noted } from "./socket";

const patiently = { timeout: 10_000, interval: 20 };

beforeEach(() => {
  Noted.sockets = [];
});

async function marketplace() {
  const redis = await Redis.start();
  const env = { REDIS_URL: redis.url, JWT_SECRET: SECRET };
  const gateway = await Gateway.start(join(repository, "examples/marketplace/pregon.toml"), env);
  const relay = await Relay.to(gateway.port);
  const backend = createPublisher({ redisUrl: redis.url, timeout: 10_000 });
  onTestFinished(() => backend.close());
  return { backend, relay, url: relay.url.replace("http", "ws") };
}

const seller = token({ sub: 5, role: "SELLER", seller_id: 123 });
const logged = () => vi.spyOn(console, "log").mockImplementation(() => {});

test("a seller's dashboard refetches when its own statistics change, and its light is green", async () => {
  const { backend, url } = await marketplace();
  const refetched: StatsEvent[] = [];
  const Analytics = () => {
    const { isConnected } = useWebSocket({
      token: seller,
      url,
      onStatsUpdate: (event) => {
        if (event.type === "SELLER_STATS_UPDATED" && event.seller_id === "123") refetched.push(event);
      },
      WebSocket: Noted,
    });
    return <p>{isConnected ? "green" : "yellow"}</p>;
  };
  const page = render(<Analytics />);
  await vi.waitFor(() => expect(page.text()).toBe("green"), patiently);
  await backend.notifyAdminStatsUpdated({ order_id: 1 });
  await backend.notifySellerStatsUpdated("124", { order_id: 2 });
  await backend.notifySellerStatsUpdated("123", { order_id: 3 });
  await vi.waitFor(
    () => expect(refetched).toEqual([{ type: "SELLER_STATS_UPDATED", seller_id: "123", metadata: { order_id: 3 } }]),
    patiently,
  );
});

test("components share one socket, which comes back, and each is told of every connection", async () => {
  const { url, relay } = await marketplace();
  const connects: string[] = [];
  const One = ({ name }: { name: string }) => (
    <p>{String(useWebSocket({ token: seller, url, onConnect: () => connects.push(name), WebSocket: Noted }).isConnected)}</p>
  );
  const page = render(
    <>
      <One name="a" />
      <One name="b" />
    </>,
  );
  await vi.waitFor(() => expect(page.text()).toBe("truetrue"), patiently);
  expect([Noted.to(url).length, connects.sort()]).toEqual([1, ["a", "b"]]);
  relay.down = true;
  relay.cut();
  await vi.waitFor(() => expect(page.text()).toBe("falsefalse"), patiently);
  relay.down = false;
  await vi.waitFor(() => expect(connects.sort()).toEqual(["a", "a", "b", "b"]), patiently);
  page.remove();
  await vi.waitFor(() => expect(Noted.to(url).at(-1)?.readyState).toBeGreaterThan(1), patiently);
});

test("without a token nothing is connected; with one it is, and without it again it is not", async () => {
  const { url } = await marketplace();
  let login: (token: string | null) => void = () => {};
  const Light = () => {
    const [present, setPresent] = useState<string | null>(null);
    login = setPresent;
    return <p>{String(useWebSocket({ token: present, url, WebSocket: Noted }).isConnected)}</p>;
  };
  const page = render(<Light />);
  await vi.waitFor(() => expect(page.text()).toBe("false"), patiently);
  expect(Noted.to(url)).toHaveLength(0);
  login(seller);
  await vi.waitFor(() => expect(page.text()).toBe("true"), patiently);
  login(null);
  await vi.waitFor(() => expect(page.text()).toBe("false"), patiently);
});

test("debug tells the console what happens, and never the token", async () => {
  const { backend, url } = await marketplace();
  const log = logged();
  onTestFinished(() => log.mockRestore());
  const Light = () => <p>{String(useWebSocket({ token: seller, url, debug: true }).isConnected)}</p>;
  const page = render(<Light />);
  await vi.waitFor(() => expect(page.text()).toBe("true"), patiently);
  await backend.notifySellerStatsUpdated(123);
  const lines = () =>
    log.mock.calls.map((words) => words.map((word) => (typeof word === "string" ? word : JSON.stringify(word))).join(" "));
  await vi.waitFor(
    () => expect(lines()).toContain('[WebSocket] Message received: {"type":"SELLER_STATS_UPDATED","seller_id":"123"}'),
    patiently,
  );
  expect(lines()).toContain(`[WebSocket] Connecting to: ${url}/ws?token=...`);
  expect(lines()).toContain("[WebSocket] Connected");
  expect(lines().join()).not.toContain(seller);
});

test("the address comes from the build; on a server nothing happens", async () => {
  const { url } = await marketplace();
  vi.stubEnv("VITE_WS_URL", url);
  onTestFinished(() => void vi.unstubAllEnvs());
  const Light = () => <p>{String(useWebSocket({ token: seller, WebSocket: Noted }).isConnected)}</p>;
  expect(renderToString(<Light />)).toBe("<p>false</p>");
  expect(Noted.to(url)).toHaveLength(0);
  const page = render(<Light />);
  await vi.waitFor(() => expect(page.text()).toBe("true"), patiently);
});
