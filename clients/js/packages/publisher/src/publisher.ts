// Tells the gateway what has changed. What is told about must not fail because the telling did: nothing here rejects.

import { CHANNELS, chooseWire, type Channels, type PublisherOptions } from "./options.js";
import type { Message, Wire } from "./wire.js";

const TIMEOUT = 2_000;

export class Publisher {
  readonly #wire: Wire;
  readonly #redis: boolean;
  readonly #channels: Channels;
  readonly #timeout: number;
  readonly #onError: (error: Error, event: string) => void;

  constructor(options: PublisherOptions = {}) {
    const { wire, redis } = chooseWire(options, process.env);
    this.#wire = wire;
    this.#redis = redis;
    this.#channels = { ...CHANNELS, ...options.channels };
    this.#timeout = options.timeout ?? TIMEOUT;
    this.#onError = options.onError ?? ((error, event) => console.error(`pregon: ${event} was not published: ${error.message}`));
  }

  /** The statistics of one seller have changed. */
  async notifySellerStatsUpdated(sellerId: string | number, metadata?: object): Promise<boolean> {
    const type = "SELLER_STATS_UPDATED";
    const seller = String(sellerId ?? "");
    if (!seller) return this.#failed(new TypeError("it names no seller, so nobody would get it"), type);
    const channel = this.#redis ? this.#channels.events : this.#channels.seller(seller);
    return this.publish(channel, type, { type, seller_id: seller, metadata });
  }

  /** The statistics of the whole shop have changed. */
  async notifyAdminStatsUpdated(metadata?: object): Promise<boolean> {
    const type = "ADMIN_STATS_UPDATED";
    const channel = this.#redis ? this.#channels.events : this.#channels.admin;
    return this.publish(channel, type, { type, metadata });
  }

  /**
   * Publishes data on a channel: of the gateway over HTTP, of Redis over Redis, where the gateway's routes name the event. Resolves
   * to whether it was taken; why not is told to `onError`.
   */
  async publish(channel: string, event: string, data: unknown): Promise<boolean> {
    try {
      await this.#inTime({ channel, event, data: data ?? null });
      return true;
    } catch (error) {
      return this.#failed(error instanceof Error ? error : new Error(String(error)), event);
    }
  }

  /** Ends a connection that was made here. */
  close(): Promise<void> {
    return this.#wire.close();
  }

  async #inTime(message: Message): Promise<void> {
    const late = new AbortController();
    let timer: ReturnType<typeof setTimeout> | undefined;
    const end = new Promise<never>((_, reject) => {
      timer = setTimeout(() => {
        late.abort();
        reject(new Error(`it took longer than ${this.#timeout} ms`));
      }, this.#timeout);
    });
    try {
      await Promise.race([this.#wire.send(message, late.signal), end]);
    } finally {
      clearTimeout(timer);
    }
  }

  #failed(error: Error, event: string): false {
    this.#onError(error, event);
    return false;
  }
}
