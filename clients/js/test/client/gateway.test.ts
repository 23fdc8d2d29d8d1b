// The client against the real gateway: following, resuming, gaps, publishing, members, tokens.

import { PregonError, type Gap } from "@pregon/client";
import { describe, expect, test, vi } from "vitest";
import { client, collect, Tab } from "../support/clients";
import { Gateway, SECRET } from "../support/gateway";
import { Relay } from "../support/relay";
import { inSeconds, token } from "../support/token";

const OPEN = `
[[channel]]
name = "room_{id}"
publish = "true"
presence = true
volatile = ["typing"]

[[channel]]
name = "news"
`;

const GUARDED = `
[auth]
secret = "${SECRET}"
join = ["user_{sub}"]

[[channel]]
name = "room_{id}"
subscribe = "claims.rooms.exists(room, room == channel.id)"
publish = "true"
`;

const numbers = (events: { data: unknown }[]) => events.map(({ data }) => data);
const patiently = { timeout: 10_000, interval: 20 };

describe("following", () => {
  test("handlers hear their events with data and position, in order", async () => {
    const gateway = await Gateway.start(OPEN);
    const me = client(gateway.url);
    const all = collect(me, "news");
    const sales: unknown[] = [];
    const off = me.channel("news").on("sale", (data, { position, channel }) => sales.push([data, position, channel]));
    await me.channel("news").ready();
    const position = await gateway.publish("news", "sale", { id: 1 });
    await gateway.publish("news", "other", 2);
    await vi.waitFor(() => expect(numbers(all)).toEqual([{ id: 1 }, 2]), patiently);
    expect(sales).toEqual([[{ id: 1 }, position, "news"]]);
    off();
    await gateway.publish("news", "sale", 3);
    await vi.waitFor(() => expect(all).toHaveLength(3), patiently);
    expect(sales).toHaveLength(1);
  });

  test("the newest events come first when they are asked for", async () => {
    const gateway = await Gateway.start(OPEN);
    for (const n of [1, 2, 3]) await gateway.publish("news", "n", n);
    const me = client(gateway.url);
    const seen: unknown[] = [];
    me.channel("news", { last: 2 }).on("n", (data, event) => seen.push([data, event.replayed]));
    await vi.waitFor(
      () =>
        expect(seen).toEqual([
          [2, true],
          [3, true],
        ]),
      patiently,
    );
  });

  test("a channel is left after its last handler, and a redraw does not leave it", async () => {
    const gateway = await Gateway.start(OPEN);
    const [me, other] = [client(gateway.url), client(gateway.url)];
    await me.channel("room_1").ready();
    const watched = other.channel("room_1");
    const members = () => me.channel("room_1").presence();
    const off = watched.on("x", () => {});
    await vi.waitFor(async () => expect(await members()).toHaveLength(2), patiently);
    const told: string[] = [];
    me.channel("room_1").on("leave", () => told.push("leave"));
    me.channel("room_1").on("join", () => told.push("join"));
    off();
    const again = watched.on("x", () => {});
    await vi.waitFor(async () => expect(await members()).toHaveLength(2), patiently);
    again();
    await vi.waitFor(async () => expect(await members()).toHaveLength(1), patiently);
    expect(told).toEqual(["leave"]);
  });

  test("events that are not kept come each, though they share a position", async () => {
    const gateway = await Gateway.start(OPEN);
    const [me, other] = [client(gateway.url), client(gateway.url)];
    const heard = collect(me, "room_1");
    await Promise.all([me, other].map((client) => client.channel("room_1").ready()));
    for (const who of [1, 2, 3]) await other.channel("room_1").publish("typing", who);
    await vi.waitFor(() => expect(numbers(heard)).toEqual([1, 2, 3]), patiently);
    expect(new Set(heard.map(({ position }) => position)).size).toBe(1);
  });

  test("publishing reaches others, and is refused with the gateway's words where it is not allowed", async () => {
    const gateway = await Gateway.start(OPEN);
    const [me, other] = [client(gateway.url), client(gateway.url)];
    const heard = collect(other, "room_7");
    await other.channel("room_7").ready();
    const { position } = await me.channel("room_7").publish("message", { text: "hola" });
    await vi.waitFor(() => expect(heard).toMatchObject([{ event: "message", data: { text: "hola" }, position }]), patiently);
    const refused = await me
      .channel("news")
      .publish("message", 1)
      .catch((error) => error);
    expect(refused).toBeInstanceOf(PregonError);
    expect(refused).toMatchObject({ code: 103, label: "forbidden", retry: false });
  });
});

describe("coming back", () => {
  test("a cut connection resumes every channel: nothing is missed, nothing comes twice", async () => {
    const gateway = await Gateway.start(OPEN);
    const relay = await Relay.to(gateway.port);
    const me = client(relay.url);
    const gaps: Gap[] = [];
    const names = ["news", "room_1", "room_2"];
    const heard = names.map((name) => collect(me, name));
    for (const name of names) me.channel(name).on("gap", (gap) => gaps.push(gap));
    await Promise.all(names.map((name) => me.channel(name).ready()));
    for (let round = 0; round < 5; round++) {
      for (const name of names) await gateway.publish(name, "n", 2 * round);
      relay.down = true;
      relay.cut();
      for (const name of names) await gateway.publish(name, "n", 2 * round + 1);
      relay.down = false;
    }
    const expected = Array.from({ length: 10 }, (_, n) => n);
    await vi.waitFor(() => expect(heard.map(numbers)).toEqual([expected, expected, expected]), patiently);
    expect(gaps).toEqual([]);
  });

  test("a channel that the token joins keeps its order while much happens", async () => {
    const gateway = await Gateway.start(GUARDED);
    const relay = await Relay.to(gateway.port);
    const me = client(relay.url, { token: token({ sub: 7, rooms: ["a"] }) });
    const [mine, room] = [collect(me, "user_7"), collect(me, "room_a")];
    await Promise.all(["room_a", "user_7"].map((name) => me.channel(name).ready()));
    const count = 600;
    for (let n = 0; n < count; n++) {
      await gateway.publish(n % 3 ? "user_7" : "room_a", "n", n);
      if (n % 50 === 25) relay.cut();
    }
    const expected = (rest: (n: number) => boolean) => Array.from({ length: count }, (_, n) => n).filter(rest);
    await vi.waitFor(() => expect(mine.length + room.length).toBeGreaterThanOrEqual(count), patiently);
    expect(numbers(mine)).toEqual(expected((n) => n % 3 > 0));
    expect(numbers(room)).toEqual(expected((n) => n % 3 === 0));
  });

  test("a second break in the middle of the replays loses nothing of those that still waited", async () => {
    const gateway = await Gateway.start(OPEN);
    const relay = await Relay.to(gateway.port);
    const me = client(relay.url);
    const [first, second] = [collect(me, "room_1"), collect(me, "room_2")];
    await Promise.all(["room_1", "room_2"].map((name) => me.channel(name).ready()));
    relay.down = true;
    relay.cut();
    const filling = "x".repeat(2000);
    for (let n = 0; n < 400; n++) await gateway.publish(n % 2 ? "room_1" : "room_2", "n", [n, filling]);
    let cuts = 0;
    me.channel("room_1").on("n", () => {
      // In the middle of the first replay: the second has not begun.
      if (cuts < 3 && first.length > 40 * (cuts + 1)) {
        cuts += 1;
        relay.cut();
      }
    });
    relay.down = false;
    await vi.waitFor(() => expect([first.length, second.length]).toEqual([200, 200]), patiently);
    const order = (events: { data: unknown }[]) => events.map(({ data }) => (data as [number])[0]);
    expect(order(first)).toEqual(Array.from({ length: 200 }, (_, n) => 2 * n + 1));
    expect(order(second)).toEqual(Array.from({ length: 200 }, (_, n) => 2 * n));
    expect(cuts).toBe(3);
  });

  test("a silent network is noticed and replaced", async () => {
    const gateway = await Gateway.start(`[server]\nping = "200ms"\npong_timeout = "100ms"\n${OPEN}`);
    const relay = await Relay.to(gateway.port);
    const me = client(relay.url, { heartbeat: 400, timeout: 400 });
    const heard = collect(me, "news");
    await me.channel("news").ready();
    relay.silence();
    await gateway.publish("news", "n", 1);
    await vi.waitFor(() => expect(numbers(heard)).toEqual([1]), patiently);
    expect(relay.connections).toBeGreaterThan(1);
  });

  test("a gateway that keeps its log on disk may be killed: nothing is missed, nothing comes twice", async () => {
    const gateway = await Gateway.start(OPEN);
    const relay = await Relay.to(gateway.port);
    const me = client(relay.url);
    const heard = collect(me, "news");
    const gaps: Gap[] = [];
    me.channel("news").on("gap", (gap) => gaps.push(gap));
    await me.channel("news").ready();
    for (const n of [1, 3]) {
      await gateway.publish("news", "n", n);
      relay.down = true;
      relay.cut();
      await gateway.publish("news", "n", n + 1);
      await gateway.kill();
      await gateway.run();
      relay.down = false;
    }
    await vi.waitFor(() => expect(numbers(heard)).toEqual([1, 2, 3, 4]), patiently);
    expect(gaps).toEqual([]);
  });

  test("a restart of a gateway that keeps nothing is told as a gap, and later events arrive", async () => {
    const gateway = await Gateway.start(`[log]\nkind = "memory"\n${OPEN}`);
    const me = client(gateway.url);
    const heard = collect(me, "news");
    const gaps: Gap[] = [];
    me.channel("news").on("gap", (gap) => gaps.push(gap));
    await me.channel("news").ready();
    await gateway.publish("news", "n", 1);
    await vi.waitFor(() => expect(heard).toHaveLength(1), patiently);
    await gateway.kill();
    await gateway.run();
    await vi.waitFor(() => expect(gaps).toMatchObject([{ channel: "news", reason: "restart" }]), patiently);
    await gateway.publish("news", "n", 2);
    await vi.waitFor(() => expect(numbers(heard)).toEqual([1, 2]), patiently);
  });

  test("a reload of the page gets what came meanwhile, on the channels that it had followed", async () => {
    const gateway = await Gateway.start(OPEN);
    const tab = new Tab();
    const before = client(gateway.url, { storage: tab });
    const seen = collect(before, "news");
    await before.channel("news").ready();
    await gateway.publish("news", "n", 1);
    await vi.waitFor(() => expect(numbers(seen)).toEqual([1]), patiently);
    before.close();
    await gateway.publish("news", "n", 2);
    await gateway.publish("room_1", "n", 3);
    const after = client(gateway.url, { storage: tab });
    const [news, room] = [collect(after, "news"), collect(after, "room_1")];
    expect(await after.channel("news").ready()).toMatchObject({ recovered: true });
    await after.channel("room_1").ready();
    await gateway.publish("room_1", "n", 4);
    await vi.waitFor(() => expect(numbers(room)).toEqual([4]), patiently);
    expect(numbers(news)).toEqual([2]);
  });

  test("a page that begins with the newest events has them after a reload too, and resumes from then on", async () => {
    const gateway = await Gateway.start(OPEN);
    const relay = await Relay.to(gateway.port);
    const tab = new Tab();
    const load = (name: string) => {
      const page = client(relay.url, { storage: tab });
      const heard: unknown[] = [];
      page.channel(name, { last: 2 }).on("n", (data) => heard.push(data));
      return { page, heard };
    };
    for (const n of [1, 2, 3]) await gateway.publish("news", "n", n);
    const before = load("news");
    await vi.waitFor(() => expect(before.heard).toEqual([2, 3]), patiently);
    before.page.close();
    const after = load("news");
    await vi.waitFor(() => expect(after.heard).toEqual([2, 3]), patiently);
    relay.down = true;
    relay.cut();
    await gateway.publish("news", "n", 4);
    relay.down = false;
    await vi.waitFor(() => expect(after.heard).toEqual([2, 3, 4]), patiently);
  });

  test("a position that means nothing to the gateway is a gap, not an end", async () => {
    const gateway = await Gateway.start(OPEN);
    const tab = new Tab();
    tab.setItem(`pregon:${gateway.url}`, JSON.stringify({ everyone: "of another", own: {}, followed: ["news"] }));
    const me = client(gateway.url, { storage: tab });
    const gaps: Gap[] = [];
    me.channel("news").on("gap", (gap) => gaps.push(gap));
    expect(await me.channel("news").ready()).toMatchObject({ recovered: false });
    expect(gaps).toMatchObject([{ channel: "news", reason: "restart" }]);
  });
});

describe("tokens", () => {
  test("the token is fetched for every connection, and grants what it grants", async () => {
    const gateway = await Gateway.start(GUARDED);
    const relay = await Relay.to(gateway.port);
    const fetched = vi.fn(async () => token({ sub: 7, rooms: ["a"], exp: inSeconds(60) }));
    const me = client(relay.url, { token: fetched });
    const mine = collect(me, "user_7");
    await me.channel("user_7").ready();
    await expect(me.channel("room_b").ready()).rejects.toMatchObject({ code: 103, channel: "room_b" });
    await me.channel("room_a").ready();
    relay.cut();
    await vi.waitFor(() => expect(fetched).toHaveBeenCalledTimes(2), patiently);
    await gateway.publish("user_7", "n", 1);
    await vi.waitFor(() => expect(numbers(mine)).toEqual([1]), patiently);
    expect(me.status).toBe("connected");
  });

  test("a bad token is the end, told with its code, until the page connects again", async () => {
    const gateway = await Gateway.start(GUARDED);
    const relay = await Relay.to(gateway.port);
    let present = "not.a.token";
    const me = client(relay.url, { token: () => present });
    const statuses: string[] = [];
    me.on("status", (status) => statuses.push(status));
    await expect(me.ready()).rejects.toMatchObject({ code: 3500, retry: false });
    expect(me.status).toBe("denied");
    expect(relay.connections).toBe(1);
    present = token({ sub: 7 });
    await me.ready();
    expect(statuses).toEqual(["connecting", "denied", "connecting", "connected"]);
  });

  test("a fresh token keeps the connection when the former ends", async () => {
    const gateway = await Gateway.start(GUARDED.replace("[auth]", '[auth]\nleeway = "0s"'));
    const relay = await Relay.to(gateway.port);
    const fetched = vi.fn(() => token({ sub: 7, exp: inSeconds(3) }));
    const me = client(relay.url, { token: fetched });
    const mine = collect(me, "user_7");
    await me.channel("user_7").ready();
    await vi.waitFor(() => expect(fetched.mock.calls.length).toBeGreaterThan(2), patiently);
    await gateway.publish("user_7", "n", 1);
    await vi.waitFor(() => expect(numbers(mine)).toEqual([1]), patiently);
    expect(relay.connections).toBe(1);
  });

  test("a channel that a fresh token no longer grants is named", async () => {
    const gateway = await Gateway.start(GUARDED);
    let rooms = ["a", "b"];
    const me = client(gateway.url, { token: () => token({ sub: 7, rooms, exp: inSeconds(3) }) });
    const errors: PregonError[] = [];
    me.on("error", (error) => errors.push(error));
    const heard = collect(me, "room_b");
    await Promise.all(["room_a", "room_b"].map((name) => me.channel(name).ready()));
    rooms = ["b"];
    await vi.waitFor(() => expect(errors).toMatchObject([{ code: 103, channel: "room_a" }]), patiently);
    await expect(me.channel("room_a").ready()).rejects.toMatchObject({ code: 103 });
    await gateway.publish("room_b", "n", 1);
    await vi.waitFor(() => expect(numbers(heard)).toEqual([1]), patiently);
  });

  test("a token that nobody asked for does no harm", async () => {
    const gateway = await Gateway.start(OPEN);
    const me = client(gateway.url, { token: token({ sub: 7 }) });
    await me.channel("news").ready();
  });
});
