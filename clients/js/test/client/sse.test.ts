// Where no WebSocket comes through, the same client works over server-sent events.

import { createClient, type Gap } from "@pregon/client";
import { expect, onTestFinished, test, vi } from "vitest";
import { Blocks } from "../../packages/client/src/sse";
import { client, collect } from "../support/clients";
import { Gateway, SECRET } from "../support/gateway";
import { Relay } from "../support/relay";
import { token } from "../support/token";

const CONFIG = `
[server]
drain = "200ms"

[log]
kind = "memory"

[auth]
secret = "${SECRET}"
join = ["user_{sub}"]

[[channel]]
name = "mine"
follow = ["user_{sub}"]

[[channel]]
name = "room_{id}"
subscribe = "claims.rooms.exists(room, room == channel.id)"
publish = "true"
`;

const patiently = { timeout: 10_000, interval: 20 };
const numbers = (events: { data: unknown }[]) => events.map(({ data }) => data);
const me = { sub: 7, rooms: ["a", "b", "c"] };

async function blocked() {
  const gateway = await Gateway.start(CONFIG);
  const relay = await Relay.to(gateway.port);
  relay.blocksWebSockets = true;
  return { gateway, relay };
}

test("a blocked WebSocket gives way to a stream, which resumes every channel after a cut", async () => {
  const { gateway, relay } = await blocked();
  const mine = client(relay.url, { token: token(me) });
  const [a, b] = [collect(mine, "room_a"), collect(mine, "room_b")];
  const gaps: Gap[] = [];
  mine.channel("room_a").on("gap", (gap) => gaps.push(gap));
  await Promise.all(["room_a", "room_b"].map((name) => mine.channel(name).ready()));
  for (let n = 0; n < 6; n += 2) {
    await gateway.publish("room_a", "n", n);
    relay.down = true;
    relay.cut();
    await gateway.publish("room_b", "n", n);
    await gateway.publish("room_a", "n", n + 1);
    relay.down = false;
  }
  await vi.waitFor(
    () =>
      expect([a, b].map(numbers)).toEqual([
        [0, 1, 2, 3, 4, 5],
        [0, 2, 4],
      ]),
    patiently,
  );
  expect(a[0]).toMatchObject({ channel: "room_a", event: "n" });
  expect(gaps).toEqual([]);
});

test("a channel that is added begins now, and those that were there miss nothing", async () => {
  const { gateway, relay } = await blocked();
  const mine = client(relay.url, { token: token(me) });
  const a = collect(mine, "room_a");
  await mine.channel("room_a").ready();
  await gateway.publish("room_a", "n", 1);
  await vi.waitFor(() => expect(numbers(a)).toEqual([1]), patiently);
  await gateway.publish("room_b", "n", 2);
  const b = collect(mine, "room_b");
  await mine.channel("room_b").ready();
  await gateway.publish("room_b", "n", 3);
  await gateway.publish("room_a", "n", 4);
  await vi.waitFor(() => expect([a, b].map(numbers)).toEqual([[1, 4], [3]]), patiently);
});

test("one refused channel does not end the others; a bad token ends everything", async () => {
  const { gateway, relay } = await blocked();
  const mine = client(relay.url, { token: token(me) });
  const refused = mine
    .channel("room_x")
    .ready()
    .catch((error) => error);
  const a = collect(mine, "room_a");
  await mine.channel("room_a").ready();
  expect(await refused).toMatchObject({ code: 103, channel: "room_x" });
  await gateway.publish("room_a", "n", 1);
  await vi.waitFor(() => expect(numbers(a)).toEqual([1]), patiently);

  const other = client(relay.url, { token: "no.token.atall" });
  await expect(other.channel("room_a").ready()).rejects.toMatchObject({ retry: false });
  expect(other.status).toBe("denied");
});

test("a name that stands for other channels hears them, over both transports", async () => {
  const { gateway, relay } = await blocked();
  for (const url of [relay.url, gateway.url]) {
    const mine = client(url, { token: token(me) });
    const heard = collect(mine, "mine");
    await mine.channel("mine").ready();
    await gateway.publish("user_7", "n", url);
    await vi.waitFor(() => expect(heard).toMatchObject([{ channel: "user_7", data: url }]), patiently);
  }
});

test("publishing needs a WebSocket, and says so", async () => {
  const { relay } = await blocked();
  const mine = client(relay.url, { token: token(me) });
  await mine.channel("room_a").ready();
  await expect(mine.channel("room_a").publish("n", 1)).rejects.toMatchObject({ label: "one_way" });
});

test("Node 20 without a WebSocket class has streams", async () => {
  const gateway = await Gateway.start(CONFIG);
  const global = globalThis.WebSocket;
  vi.stubGlobal("WebSocket", undefined);
  onTestFinished(() => void vi.stubGlobal("WebSocket", global));
  const mine = createClient({ url: gateway.url, token: token(me) });
  onTestFinished(() => mine.close());
  await mine.channel("room_a").ready();
});

test("a gateway that stops and comes back is found again by stream", async () => {
  const { gateway, relay } = await blocked();
  const mine = client(relay.url, { token: token(me) });
  const a = collect(mine, "room_a");
  const gaps: Gap[] = [];
  mine.channel("room_a").on("gap", (gap) => gaps.push(gap));
  await mine.channel("room_a").ready();
  await gateway.kill("SIGTERM");
  await gateway.run();
  await vi.waitFor(() => expect(gaps).toMatchObject([{ channel: "room_a", reason: "restart" }]), patiently);
  await gateway.publish("room_a", "n", 1);
  await vi.waitFor(() => expect(numbers(a)).toEqual([1]), patiently);
});

test("blocks are read however their bytes are cut", () => {
  const bytes = new TextEncoder().encode(":\n\nretry: 5\n\nid: 1\ndata: señal\r\ndata:x\r\n\r\ndata: y\n\nid: 2\n\n");
  for (let size = 1; size < bytes.length; size++) {
    const found: string[] = [];
    const blocks = new Blocks((data) => found.push(data));
    for (let at = 0; at < bytes.length; at += size) blocks.push(bytes.subarray(at, at + size));
    expect(found).toEqual(["señal\nx", "y"]);
  }
});
