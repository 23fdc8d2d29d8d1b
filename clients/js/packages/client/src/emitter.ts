// Handlers by name. One that throws does not keep the others from hearing.

export type Handler = (...args: any[]) => void;

export class Emitter {
  readonly #handlers = new Map<string, Set<{ handler: Handler }>>();

  /** How many handlers there are. */
  size = 0;

  /** Adds a handler; the result takes it away. The same function added twice is heard twice. */
  on(name: string, handler: Handler): () => void {
    const set = this.#handlers.get(name) ?? new Set();
    this.#handlers.set(name, set);
    const entry = { handler };
    set.add(entry);
    this.size += 1;
    return () => {
      if (set.delete(entry)) this.size -= 1;
    };
  }

  emit(name: string, ...args: unknown[]): void {
    for (const { handler } of [...(this.#handlers.get(name) ?? [])]) {
      try {
        handler(...args);
      } catch (error) {
        // It appears where the page looks for errors, and stops nothing here.
        setTimeout(() => {
          throw error;
        });
      }
    }
  }
}
