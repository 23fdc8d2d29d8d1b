// Commands under way: each has a number, which its reply carries, and a time in which that must come.

import { PregonError } from "./error.js";

/** What a reply carries beside its number. */
export type Reply = Record<string, any>;

export type Done = (outcome: Reply | PregonError) => void;

export class Replies {
  #next = 1;
  readonly #waiting = new Map<number, { done: Done; timer: ReturnType<typeof setTimeout> }>();

  readonly #timeout: number;

  constructor(timeout: number) {
    this.#timeout = timeout;
  }

  /** The number for a command. `done` is called while the reply is being read, so that what comes behind it finds its effects. */
  expect(done: Done): number {
    const id = this.#next++;
    const late = () => this.#end(id, new PregonError(0, "timeout", "the gateway did not answer in time"));
    this.#waiting.set(id, { done, timer: setTimeout(late, this.#timeout) });
    return id;
  }

  /** A reply has come. */
  take(frame: Reply): void {
    this.#end(frame.id, frame.type === "ok" ? frame : new PregonError(frame.code, frame.name, frame.message));
  }

  /** No more replies will come. */
  drop(): void {
    for (const id of [...this.#waiting.keys()])
      this.#end(id, new PregonError(0, "disconnected", "the connection ended before the answer came"));
  }

  #end(id: number, outcome: Reply | PregonError): void {
    const command = this.#waiting.get(id);
    this.#waiting.delete(id);
    clearTimeout(command?.timer);
    command?.done(outcome);
  }
}
