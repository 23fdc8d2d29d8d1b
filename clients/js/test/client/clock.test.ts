// What depends on time, under a fake clock: pauses, heartbeat, renewal of tokens, network and visibility.

import { type PregonError, type Status } from "@pregon/client";
import { readFileSync } from "node:fs";
import { join } from "node:path";
import { describe, expect, test, vi } from "vitest";
import { urls } from "../../packages/client/src/urls";
import { FakeSocket, faked, settle } from "../support/fake";
import { repository } from "../support/gateway";
import { token } from "../support/token";

const sockets = () => FakeSocket.all.length;
const random = (value: number) => vi.spyOn(Math, "random").mockReturnValue(value);

describe("pauses", () => {
  test("double up to twenty seconds, and are random from nothing on", async () => {
    random(1);
    const client = faked();
    client.connect();
    await settle();
    for (const pause of [500, 1000, 2000, 4000, 8000, 16_000, 20_000, 20_000]) {
      const before = sockets();
      FakeSocket.last.drop();
      await vi.advanceTimersByTimeAsync(pause - 1);
      expect(sockets()).toBe(before);
      await vi.advanceTimersByTimeAsync(1);
      expect(sockets()).toBe(before + 1);
    }
    random(0);
    FakeSocket.last.drop();
    await settle();
    expect(sockets()).toBe(10);
  });

  test("begin anew after a connection that lasted, not after one that broke at once", async () => {
    random(1);
    const client = faked();
    client.connect();
    await settle();
    FakeSocket.last.welcome().drop();
    await vi.advanceTimersByTimeAsync(500);
    FakeSocket.last.welcome().drop();
    await vi.advanceTimersByTimeAsync(999);
    expect(sockets()).toBe(2);
    await vi.advanceTimersByTimeAsync(1);
    FakeSocket.last.welcome();
    await vi.advanceTimersByTimeAsync(5_000);
    FakeSocket.last.drop();
    await vi.advanceTimersByTimeAsync(500);
    expect(sockets()).toBe(4);
  });
});

describe("codes", () => {
  const page = readFileSync(join(repository, "docs/codes.md"), "utf8");
  const rows = [...page.matchAll(/^\| (\d+) \| (\w+) \| (yes|no) \|/gm)].map(([, code, name, retry]) => ({
    code: Number(code),
    name: name!,
    retry: retry === "yes",
  }));

  test("the table is there", () => {
    expect(rows.length).toBeGreaterThan(25);
  });

  test.each(rows.filter(({ code }) => code >= 1000))(
    "after $code $name it does what the table says",
    async ({ code, name, retry }) => {
      const client = faked();
      client.connect();
      await settle();
      FakeSocket.last.welcome().drop(code, name);
      expect(client.status).toBe(retry ? "reconnecting" : "denied");
      await vi.advanceTimersByTimeAsync(60_000);
      expect(sockets() > 1).toBe(retry);
    },
  );

  test.each(rows.filter(({ code }) => code < 1000 && code !== 105))(
    "a subscription refused with $code $name does what the table says",
    async ({ code, name, retry }) => {
      const client = faked();
      const errors: PregonError[] = [];
      client.on("error", (error) => errors.push(error));
      const ready = client
        .channel("c")
        .ready()
        .catch((error) => error);
      await settle();
      const socket = FakeSocket.last.welcome();
      const asked = () => socket.sent.filter(({ type }) => type === "subscribe");
      socket.say({ id: asked()[0].id, type: "error", code, name, message: "no" });
      await vi.advanceTimersByTimeAsync(2_000);
      expect(asked()).toHaveLength(retry ? 2 : 1);
      expect(errors.map((error) => [error.code, error.channel, error.retry])).toEqual(retry ? [] : [[code, "c", false]]);
      if (!retry) expect(await ready).toMatchObject({ code, label: name });
    },
  );
});

describe("heartbeat", () => {
  test("a silent gateway is asked after thirty seconds and given up ten later", async () => {
    const client = faked();
    client.connect();
    await settle();
    const socket = FakeSocket.last.welcome();
    await vi.advanceTimersByTimeAsync(25_000);
    socket.say({ type: "ping", position: "e-1" });
    await vi.advanceTimersByTimeAsync(29_999);
    expect(socket.sent).toEqual([]);
    await vi.advanceTimersByTimeAsync(1);
    expect(socket.sent).toEqual([{ type: "ping" }]);
    socket.say({ type: "ok" });
    await vi.advanceTimersByTimeAsync(30_000);
    expect(socket.sent).toHaveLength(2);
    await vi.advanceTimersByTimeAsync(9_999);
    expect(client.status).toBe("connected");
    await vi.advanceTimersByTimeAsync(1);
    expect([client.status, socket.closed]).toEqual(["reconnecting", true]);
    await vi.advanceTimersByTimeAsync(1);
    expect(sockets()).toBe(2);
  });

  test("a connection that says nothing at first is given up after ten seconds", async () => {
    random(0);
    const client = faked();
    client.connect();
    await settle();
    FakeSocket.last.open();
    await vi.advanceTimersByTimeAsync(9_999);
    expect(sockets()).toBe(1);
    await vi.advanceTimersByTimeAsync(2);
    expect([FakeSocket.all[0]!.closed, sockets()]).toEqual([true, 2]);
  });

  test("a command without an answer is given up, and so are all when the connection breaks", async () => {
    const client = faked({ timeout: 1_000 });
    client.connect();
    await settle();
    FakeSocket.last.welcome();
    const late = client
      .channel("c")
      .publish("e", 1)
      .catch((error) => error.label);
    await vi.advanceTimersByTimeAsync(1_000);
    expect(await late).toBe("timeout");
    const broken = client
      .channel("c")
      .publish("e", 1)
      .catch((error) => error.label);
    await settle();
    FakeSocket.last.drop();
    expect(await broken).toBe("disconnected");
    await expect(client.channel("c").publish("e", 1)).rejects.toMatchObject({ label: "disconnected", retry: true });
  });
});

describe("surroundings", () => {
  function page() {
    const target = new EventTarget();
    const document = Object.assign(new EventTarget(), { visibilityState: "visible" });
    const navigator = { onLine: true };
    vi.stubGlobal("addEventListener", target.addEventListener.bind(target));
    vi.stubGlobal("removeEventListener", target.removeEventListener.bind(target));
    vi.stubGlobal("document", document);
    vi.stubGlobal("navigator", navigator);
    return { navigator, document, happens: (name: string, on: EventTarget = target) => on.dispatchEvent(new Event(name)) };
  }

  test.each(["online", "visibilitychange"])("%s ends the pause", async (name) => {
    random(1);
    const { happens, document } = page();
    const client = faked();
    client.connect();
    for (let failures = 0; failures < 6; failures++) {
      await vi.advanceTimersByTimeAsync(20_000);
      FakeSocket.last.drop();
    }
    const before = sockets();
    happens(name, name === "online" ? undefined : document);
    await settle();
    expect(sockets()).toBe(before + 1);
  });

  test("without a network the status says so", async () => {
    const { navigator } = page();
    const statuses: Status[] = [];
    const client = faked();
    client.on("status", (status) => statuses.push(status));
    client.connect();
    await settle();
    FakeSocket.last.welcome();
    navigator.onLine = false;
    FakeSocket.last.drop();
    navigator.onLine = true;
    await vi.advanceTimersByTimeAsync(500);
    FakeSocket.last.welcome();
    expect(statuses).toEqual(["connecting", "connected", "offline", "reconnecting", "connected"]);
  });

  test("after a change of network the link has five seconds to show that it lives", async () => {
    const { happens } = page();
    const client = faked();
    client.connect();
    await settle();
    const socket = FakeSocket.last.welcome();
    happens("offline");
    expect(socket.sent).toEqual([{ type: "ping" }]);
    socket.say({ type: "ok" });
    await vi.advanceTimersByTimeAsync(6_000);
    expect(client.status).toBe("connected");
    happens("online");
    await vi.advanceTimersByTimeAsync(5_001);
    expect([client.status, sockets()]).toEqual(["reconnecting", 2]);
  });

  test("a closed client listens to nothing any more", async () => {
    const { happens } = page();
    const client = faked();
    client.connect();
    await settle();
    client.close();
    happens("online");
    await vi.advanceTimersByTimeAsync(60_000);
    expect([client.status, sockets()]).toEqual(["closed", 1]);
    expect(vi.getTimerCount()).toBe(0);
  });
});

describe("tokens", () => {
  const ends = (seconds: number) => token({ sub: 1, exp: Math.floor(Date.now() / 1000) + seconds });
  const auths = () => FakeSocket.last.sent.filter(({ type }) => type === "auth").length;

  test("are renewed thirty seconds before their end, as often as a new one lasts longer", async () => {
    const fetched = vi.fn(() => ends(600));
    const client = faked({ token: fetched, heartbeat: 1e9 });
    client.connect();
    await settle();
    FakeSocket.last.welcome();
    await vi.advanceTimersByTimeAsync(569_000);
    expect(fetched).toHaveBeenCalledTimes(1);
    await vi.advanceTimersByTimeAsync(1_000);
    expect([fetched.mock.calls.length, auths(), sockets()]).toEqual([2, 2, 1]);
    const { id } = FakeSocket.last.sent.at(-1);
    FakeSocket.last.say({ id, type: "ok" });
    fetched.mockReturnValue(ends(600));
    await vi.advanceTimersByTimeAsync(570_000);
    expect(fetched).toHaveBeenCalledTimes(3);
    // The same again is not asked for again.
    await vi.advanceTimersByTimeAsync(3_600_000);
    expect(fetched).toHaveBeenCalledTimes(3);
  });

  test("that end in years, never, or before our clock began cause no renewals", async () => {
    for (const present of [ends(10 * 365 * 86_400), token({ sub: 1 }), ends(-3_600), "opaque"]) {
      const fetched = vi.fn(() => present);
      const client = faked({ token: fetched, heartbeat: 2e9 });
      client.connect();
      await settle();
      FakeSocket.last.welcome();
      await vi.advanceTimersByTimeAsync(20 * 86_400_000);
      expect(fetched).toHaveBeenCalledTimes(1);
      client.close();
    }
  });

  test("that cannot be had are asked for again after a pause", async () => {
    random(1);
    const fetched = vi.fn().mockRejectedValueOnce(new Error("no session")).mockResolvedValue(ends(600));
    const client = faked({ token: fetched });
    const errors: string[] = [];
    client.on("error", (error) => errors.push(error.message));
    client.connect();
    await settle();
    expect([sockets(), errors]).toEqual([0, ["no token could be had: Error: no session"]]);
    await vi.advanceTimersByTimeAsync(500);
    FakeSocket.last.welcome();
    await settle();
    expect(client.status).toBe("connected");
  });

  test("travel in the first message, never in the address", async () => {
    const client = faked({ token: "secret.of.mine" });
    client.connect();
    await settle();
    FakeSocket.last.welcome();
    expect(FakeSocket.last.url).toBe("wss://rt.example/ws");
    expect(FakeSocket.last.sent[0]).toMatchObject({ type: "auth", token: "secret.of.mine" });
  });
});

test("a WebSocket that hangs gives way to a stream in the same attempt", async () => {
  const fetched = vi.fn(() => new Promise<Response>(() => {}));
  const client = faked({ transports: ["ws", "sse"], fetch: fetched as typeof fetch });
  client.channel("a b").on("e", () => {});
  await vi.advanceTimersByTimeAsync(10_000);
  expect(FakeSocket.all[0]!.closed).toBe(true);
  expect(String((fetched.mock.calls as unknown[][])[0]![0])).toBe("https://rt.example/sse?format=protocol&channel=a+b");
});

test("a socket that cannot even be made, and a stranger's refusal, are tried again", async () => {
  random(0);
  class Forbidden {
    constructor() {
      throw new DOMException("insecure", "SecurityError");
    }
  }
  const fetched = vi.fn(async () => new Response("<h1>Forbidden</h1>", { status: 403 }));
  const client = faked({ transports: ["ws", "sse"], WebSocket: Forbidden as never, fetch: fetched as typeof fetch });
  client.channel("c").on("e", () => {});
  await vi.advanceTimersByTimeAsync(10);
  expect(fetched.mock.calls.length).toBeGreaterThan(2);
  expect(client.status).toBe("connecting");
});

test("a wrong address is told to whoever uses the client", () => {
  const client = faked({ url: "http://" });
  expect(() => client.channel("c").on("e", () => {})).toThrow(TypeError);
  expect(() => faked({ url: undefined as never }).connect()).toThrow(/give the gateway's url/);
});

test.each([
  ["https://rt.example", "wss://rt.example/ws", "https://rt.example/sse"],
  ["http://rt.example:8000/base/", "ws://rt.example:8000/base/ws", "http://rt.example:8000/base/sse"],
  ["wss://rt.example", "wss://rt.example/ws", "https://rt.example/sse"],
  ["ws://rt.example/a/connect?x=1", "ws://rt.example/a/connect", "http://rt.example/a/sse"],
])("%s is %s and %s", (given, ws, sse) => {
  expect(Object.values(urls(given)).map(String)).toEqual([ws, sse]);
});

test("positions are written at most once in a second, and when the client closes", async () => {
  const setItem = vi.fn();
  const client = faked({ storage: { getItem: () => null, setItem } });
  client.channel("c").on("e", () => {});
  await settle();
  const socket = FakeSocket.last.welcome();
  for (let n = 0; n < 100; n++) {
    socket.say({ type: "event", channel: "c", event: "e", data: n, position: `e-${n}`, time: "" });
    await vi.advanceTimersByTimeAsync(30);
  }
  expect(setItem.mock.calls.length).toBeLessThan(5);
  client.close();
  expect(JSON.parse(setItem.mock.lastCall![1])).toMatchObject({ everyone: "e-99" });
});

test("whatever comes, nothing breaks", async () => {
  const client = faked();
  const heard: unknown[] = [];
  client.channel("c").on("e", (data) => heard.push(data));
  await settle();
  const socket = FakeSocket.last.welcome();
  for (const frame of [
    "",
    "null",
    "[]",
    "7",
    '"x"',
    "{",
    "{}",
    { type: "?" },
    { type: "event" },
    { type: "gap" },
    { type: "ok", id: 99 },
    { type: "join" },
    { type: "error" },
  ])
    socket.say(frame);
  socket.say({ type: "event", channel: "c", event: "e", data: 1, position: "e-1", time: "" });
  expect([heard, client.status]).toEqual([[1], "connected"]);
});
