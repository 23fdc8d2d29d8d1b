// What went in and what came out: statements from the demo, arrivals from the page, brought together by their keys.
//
// A statement that a page of this kind is to see is "sent"; it is "seen" when its event arrives, whenever that is, and
// "missed" when the page has been connected, and nothing was down, for GRACE without it.

import type { Status } from "@pregon/client";
import type { Facts, RouteFact, Victim } from "../demo.js";

/** What the demo tells of each deed. */
export interface Statement {
  /** Its number, by which a page that comes back asks for what it did not hear. */
  n: number;
  example: string;
  /** When it was sent, ms since 1970 by the demo's clock. */
  at: number;
  /** The SQL or the message. */
  what: string;
  /** What the event carries, by which the two are brought together. */
  key: string;
  /** It makes no event at all: a condition of the trigger keeps it back. */
  quiet: boolean;
}

/** How an event came. */
export interface Arrival {
  channel: string;
  event?: string;
  /** It was brought after a break. */
  replayed?: boolean;
  /** Where the page knows better than the example's configuration. */
  route?: RouteFact;
}

export interface Line {
  statement: Statement;
  state: "waiting" | "seen" | "quiet" | "missed";
  replayed: boolean;
  /** From the sending of the statement to this page, ms. */
  millis?: number;
  route?: RouteFact;
}

export interface Figures {
  sent: number;
  seen: number;
  missed: number;
  /** Median of the last events that came live, ms. */
  median?: number;
  lines: Line[];
  away: Victim[];
}

/** ms that an event may take while all is well: PostgreSQL, Redis and the gateway are back by then after a kill. */
const GRACE = 10_000;
/** Lines that are shown, and arrivals that wait for word of their statement. */
const LINES = 8;
const UNMATCHED = 500;
const SAMPLES = 99;

export class StripStore {
  #figures: Figures = { sent: 0, seen: 0, missed: 0, lines: [], away: [] };
  readonly #open = new Map<string, Line>();
  readonly #early = new Map<string, Arrival & { at: number }>();
  readonly #took: number[] = [];
  readonly #heard = new Set<() => void>();
  #well = Infinity;
  #connected = false;
  /** The demo's clock minus this page's, ms. */
  ahead = 0;
  /** Whether a page of this kind is to see a statement; an administrator's page gets nothing of a seller's. */
  expects: (statement: Statement) => boolean = () => true;

  constructor(readonly facts: Facts) {}

  readonly subscribe = (heard: () => void): (() => void) => {
    this.#heard.add(heard);
    return () => void this.#heard.delete(heard);
  };
  readonly read = (): Figures => this.#figures;

  /** The page's part: the event with this key is on the screen. */
  arrived(key: string | number, arrival: Arrival): void {
    const at = performance.timeOrigin + performance.now();
    const line = this.#open.get(String(key));
    if (line) return this.#match(line, { ...arrival, at });
    this.#early.set(String(key), { ...arrival, at });
    if (this.#early.size > UNMATCHED) this.#early.delete(this.#early.keys().next().value!);
  }

  /** The demo's part. */
  stated(statement: Statement): void {
    const quiet = statement.quiet || !this.expects(statement);
    const line: Line = { statement, state: quiet ? "quiet" : "waiting", replayed: false };
    const lines = [line, ...this.#figures.lines].slice(0, LINES);
    this.#set({ lines, sent: this.#figures.sent + (quiet ? 0 : 1) });
    if (quiet) return;
    this.#open.set(statement.key, line);
    const early = this.#early.get(statement.key);
    if (!early) return;
    this.#early.delete(statement.key);
    this.#match(line, early);
  }

  /** How the page's own connection is. */
  status(status: Status): void {
    this.#connected = status === "connected";
    this.#mind();
  }

  /** What is down. */
  away(away: Victim[]): void {
    this.#set({ away });
    this.#mind();
  }

  /** What was said before `moment` (ms since 1970, this page's clock) is on the screen by another way: a report that was fetched after it. */
  covered(moment: number): void {
    for (const line of [...this.#open.values()]) {
      if (line.statement.at - this.ahead < moment) this.#match(line, { channel: "", replayed: true, at: moment });
    }
  }

  /** Called now and then: who waits for too long, while all is well, has missed something. */
  look(now = Date.now()): void {
    for (const line of this.#open.values()) {
      const since = Math.max(this.#well, line.statement.at - this.ahead);
      if (line.state !== "waiting" || now - since < GRACE) continue;
      this.#replace(line, { ...line, state: "missed" });
      this.#set({ missed: this.#figures.missed + 1 });
    }
  }

  #mind(): void {
    const well = this.#connected && this.#figures.away.length === 0;
    this.#well = well ? Math.min(this.#well, Date.now()) : Infinity;
  }

  #match(line: Line, arrival: Arrival & { at: number }): void {
    this.#open.delete(line.statement.key);
    const millis = Math.max(0, arrival.at + this.ahead - line.statement.at);
    // What was sent while something was down is brought by its coming back, not by the road that is measured.
    const replayed = arrival.replayed || line.statement.at - this.ahead < this.#well;
    this.#replace(line, { ...line, state: "seen", replayed, millis, route: arrival.route ?? matching(this.facts.routes, arrival) });
    if (!replayed) this.#took.push(millis);
    if (this.#took.length > SAMPLES) this.#took.shift();
    this.#set({
      seen: this.#figures.seen + 1,
      missed: this.#figures.missed - (line.state === "missed" ? 1 : 0),
      median: [...this.#took].sort((a, b) => a - b)[this.#took.length >> 1],
    });
  }

  #replace(before: Line, after: Line): void {
    if (this.#open.get(before.statement.key) === before) this.#open.set(before.statement.key, after);
    this.#set({ lines: this.#figures.lines.map((line) => (line === before ? after : line)) });
  }

  #set(change: Partial<Figures>): void {
    this.#figures = { ...this.#figures, ...change };
    for (const heard of this.#heard) heard();
  }
}

/** The route that made a channel's name of an event: `user_{user_id}` fits `user_7`. */
export function matching(routes: RouteFact[], arrival: Arrival): RouteFact | undefined {
  return routes.find(
    (route) => fits(route.to, arrival.channel) && (arrival.event === undefined || fits(route.event, arrival.event)),
  );
}

function fits(template: string, text: string): boolean {
  const parts = template.split(/\{[^}]*\}/).map((part) => part.replace(/[.*+?^${}()|[\]\\]/g, "\\$&"));
  return new RegExp(`^${parts.join(".+")}$`).test(text);
}
