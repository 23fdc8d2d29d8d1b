// A token is renewed on the open connection before it ends, so that nobody notices.

import { expiry } from "./token.js";

/** Before the end of a token: this long, milliseconds, or a fifth of what is left of it, whichever is shorter. */
const LEAD = 30_000;

/** Longest time that a timer can have, milliseconds. */
const MOST = 2 ** 31 - 1;

export class Renewal {
  #timer: ReturnType<typeof setTimeout> | undefined;
  #ends = 0;

  readonly #renew: () => void;

  constructor(renew: () => void) {
    this.#renew = renew;
  }

  /** The connection has this token now. One that does not end later than the last is not worth asking for again. */
  watch(token: string | undefined): void {
    clearTimeout(this.#timer);
    const ends = token ? expiry(token) : undefined;
    if (!ends || ends <= this.#ends) return;
    this.#ends = ends;
    this.#wait(ends);
  }

  /** The connection is gone: the next begins with a token that is fetched for it. */
  stop(): void {
    clearTimeout(this.#timer);
    this.#ends = 0;
  }

  #wait(ends: number): void {
    const left = ends - Date.now();
    // The gateway has taken it, so it is our clock that is wrong: the gateway will say when it ends.
    if (left <= 0) return;
    const pause = left - Math.min(LEAD, left / 5);
    this.#timer = setTimeout(() => (pause > MOST ? this.#wait(ends) : this.#renew()), Math.min(pause, MOST));
  }
}
