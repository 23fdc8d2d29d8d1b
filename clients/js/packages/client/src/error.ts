// What can fail, with the gateway's number and name where it gave one.

import { isTerminal, mayRetry } from "./codes.js";

/** A refused command, a connection that ended, or a token that could not be had. */
export class PregonError extends Error {
  /**
   * @param code number of the gateway's table, 0 where the client itself gave up
   * @param label stable name beside the number, such as `forbidden`
   * @param channel the channel that it is about, where there is one
   */
  constructor(
    readonly code: number,
    readonly label: string,
    message: string,
    readonly channel?: string,
  ) {
    super(message);
    this.name = "PregonError";
  }

  /** Whether the same thing may succeed later. */
  get retry(): boolean {
    return this.code < 1000 ? this.code === 0 || mayRetry(this.code) : !isTerminal(this.code);
  }
}
