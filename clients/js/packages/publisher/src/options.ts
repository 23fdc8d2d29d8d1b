// Where a publisher publishes: from its options, or from the environment that the service has already.

import { overClient, overHttp, overRedis, type RedisLike, type Wire } from "./wire.js";

export interface PublisherOptions {
  /** A connected Redis client of the application. */
  redis?: RedisLike;
  /** `redis://…`; the package `redis` is used. Default: `REDIS_URL`, or `REDIS_ADDR` and `REDIS_PASSWORD`. */
  redisUrl?: string;
  /** The gateway's address, to publish over HTTP. Default: `PREGON_URL`, which wins over Redis. */
  url?: string;
  /** Key of the gateway's API. Default: `PREGON_API_KEY`. */
  apiKey?: string;
  /** Names of channels, where they are not those of the example `marketplace`. */
  channels?: Partial<Channels>;
  /** Milliseconds that a message may take. Default 2,000: whoever waits for it has a customer waiting. */
  timeout?: number;
  /** What could not be told, and why. Default: `console.error`. */
  onError?: (error: Error, event: string) => void;
}

/** Which channels statistics go to. */
export interface Channels {
  /** Over Redis: the channel that the gateway listens to. */
  events: string;
  /** Over HTTP: that of the administrators. */
  admin: string;
  /** Over HTTP: that of one seller. */
  seller: (sellerId: string) => string;
}

export const CHANNELS: Channels = {
  events: "events",
  admin: "admin:ADMIN",
  seller: (sellerId) => `seller:SELLER:${sellerId}`,
};

/** The wire that the options, else the environment, name; and whether it is Redis. */
export function chooseWire(options: PublisherOptions, env: Record<string, string | undefined>): { wire: Wire; redis: boolean } {
  if (options.redis) return { wire: overClient(options.redis), redis: true };
  const url = options.redisUrl ? undefined : (options.url ?? env.PREGON_URL);
  if (url) {
    const apiKey = options.apiKey ?? env.PREGON_API_KEY;
    if (!apiKey) throw new TypeError("publishing over HTTP needs apiKey, or PREGON_API_KEY");
    return { wire: overHttp(url, apiKey), redis: false };
  }
  const redisUrl = options.redisUrl ?? env.REDIS_URL ?? (env.REDIS_ADDR && `redis://${env.REDIS_ADDR}`);
  if (!redisUrl) throw new TypeError("nowhere to publish: give redis, redisUrl or url, or set REDIS_URL or PREGON_URL");
  const password = options.redisUrl || env.REDIS_URL ? undefined : env.REDIS_PASSWORD;
  return { wire: overRedis(redisUrl, password || undefined), redis: true };
}
