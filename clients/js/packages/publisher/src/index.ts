// @pregon/publisher: from a back end that stays as it is to the gateway.

import type { PublisherOptions } from "./options.js";
import { Publisher } from "./publisher.js";

export type { Channels, PublisherOptions } from "./options.js";
export type { Publisher } from "./publisher.js";
export type { RedisLike } from "./wire.js";

/** A publisher of your own, for several gateways or a client that you have. */
export function createPublisher(options: PublisherOptions = {}): Publisher {
  return new Publisher(options);
}

let shared: Publisher | undefined;

/** Tells by the publisher of the environment, made when it is first needed. An environment that names none harms nobody else either. */
async function tell(notify: (publisher: Publisher) => Promise<boolean>): Promise<boolean> {
  try {
    return await notify((shared ??= new Publisher()));
  } catch (error) {
    console.error("pregon: nothing is published:", error instanceof Error ? error.message : error);
    return false;
  }
}

/** Tells the seller's dashboards that its statistics have changed. Resolves to whether the gateway, or Redis, took it. */
export function notifySellerStatsUpdated(sellerId: string | number, metadata?: object): Promise<boolean> {
  return tell((publisher) => publisher.notifySellerStatsUpdated(sellerId, metadata));
}

/** Tells the administrators' dashboards that the shop's statistics have changed. Resolves to whether the gateway, or Redis, took it. */
export function notifyAdminStatsUpdated(metadata?: object): Promise<boolean> {
  return tell((publisher) => publisher.notifyAdminStatsUpdated(metadata));
}

/** Ends the connection that the two functions above have made. */
export async function closePublisher(): Promise<void> {
  await shared?.close();
  shared = undefined;
}
