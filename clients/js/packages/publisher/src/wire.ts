// The ways from a back end to the gateway.

import { randomUUID } from "node:crypto";

/** One thing to tell. */
export interface Message {
  channel: string;
  /** Over Redis the gateway's routes name the event. */
  event: string;
  data: unknown;
}

/** Takes a message, or rejects. */
export interface Wire {
  send(message: Message, signal: AbortSignal): Promise<void>;
  close(): Promise<void>;
}

/** What is used of a Redis client: that of `redis`, of `ioredis`, or another that has it. */
export interface RedisLike {
  publish(channel: string, message: string): Promise<unknown>;
}

/** Over a client that the application has, and closes. */
export function overClient(client: RedisLike): Wire {
  return {
    send: async ({ channel, data }) => void (await client.publish(channel, JSON.stringify(data))),
    close: async () => {},
  };
}

/** Over a connection of our own, made with the package `redis` for the first message, and again for the next one after it broke. */
export function overRedis(url: string, password: string | undefined): Wire {
  let made: Promise<RedisConnection> | undefined;
  const client = () => {
    const making = (made ??= connect(url, password, forget));
    making.catch(forget);
    return making;
  };
  const forget = () => (made = undefined);
  return {
    send: async ({ channel, data }) => void (await (await client()).publish(channel, JSON.stringify(data))),
    async close() {
      const client = await made?.catch(() => undefined);
      forget();
      client?.destroy();
    },
  };
}

interface RedisConnection extends RedisLike {
  destroy(): void;
}

async function connect(url: string, password: string | undefined, broken: () => void): Promise<RedisConnection> {
  const { createClient } = await import("redis");
  // It does not come back by itself: the next message does that, and what cannot go out now fails now. A notification that comes
  // minutes late tells nobody anything.
  const client = createClient({
    url,
    socket: { reconnectStrategy: false },
    disableOfflineQueue: true,
    ...(password && { password }),
  });
  // Without a listener an error would end the process.
  client.on("error", broken);
  await client.connect();
  // A script that is done may end. Before it is connected the client does not pass this on.
  client.unref();
  return client;
}

/** Attempts at one message over HTTP; the gateway knows by its key that they are the same. */
const ATTEMPTS = 3;

/** Over the gateway's HTTP API. */
export function overHttp(url: string, apiKey: string): Wire {
  const address = new URL("api/publish", url.endsWith("/") ? url : `${url}/`);
  return {
    async send(message, signal) {
      const headers = { Authorization: `Bearer ${apiKey}`, "Content-Type": "application/json", "Idempotency-Key": randomUUID() };
      const request = { method: "POST", headers, body: JSON.stringify(message), signal };
      for (let attempt = 1; ; attempt++) {
        const response = await fetch(address, request).catch((error: unknown) => error as Error);
        if (!(response instanceof Error) && response.ok) return void (await response.arrayBuffer());
        const mayPass = response instanceof Error || response.status >= 500;
        if (!mayPass || attempt === ATTEMPTS || signal.aborted) throw await failure(response);
      }
    },
    close: async () => {},
  };
}

async function failure(response: Response | Error): Promise<Error> {
  if (response instanceof Error) return new Error("the gateway cannot be reached", { cause: response });
  const text = await response.text();
  return new Error(`the gateway answered ${response.status}: ${text.slice(0, 500)}`);
}
