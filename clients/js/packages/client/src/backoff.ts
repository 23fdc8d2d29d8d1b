// How long to wait before the next attempt: a random part of a time that doubles ("full jitter").
// When a gateway restarts, all its clients come back; the whole range spreads them best.

export class Backoff {
  #failures = 0;

  readonly #min: number;
  readonly #max: number;

  constructor(min = 500, max = 20_000) {
    this.#min = min;
    this.#max = max;
  }

  /** Milliseconds to wait now; more the next time. */
  next(): number {
    const most = Math.min(this.#max, this.#min * 2 ** this.#failures);
    this.#failures += 1;
    return Math.random() * most;
  }

  reset(): void {
    this.#failures = 0;
  }
}
