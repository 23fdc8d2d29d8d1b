// What the gateway answers; see docs/dashboard.md.

export interface Histogram {
  /** Upper bound in seconds (null: none) and how many were at most that. */
  buckets: [number | null, number][];
  sum: number;
  count: number;
}

export interface Source {
  name: string;
  kind: string;
  origin: string;
  up: boolean | null;
  events: number;
  routed: number;
  gaps: number;
}

export interface Route {
  route: string;
  from: string[];
  when: string | null;
  to: string[];
  event: string | null;
  enriches: boolean;
  hits: { published: number; passed: number; failed: number; nobody: number; last: number | null };
}

export interface Overview {
  at: string;
  node: {
    version: string;
    address: string;
    started: string;
    uptime: number;
    memory: number | null;
    ready: boolean;
    draining: boolean;
    verifies_tokens: boolean;
    revoked: number;
  };
  connections: {
    total: number;
    by_transport: Record<string, number>;
    behind: number;
    waiting_bytes: number;
    subscriptions: number;
    opened: number;
  };
  channels: { count: number; complete: boolean };
  rates: Record<"events" | "publications" | "deliveries" | "delivered_bytes" | "opened" | "replayed", number> | null;
  latency: Histogram;
  /** From the source's clock to the gateway, since the start. */
  capture: Histogram;
  counts: Record<string, number>;
  drops: Record<string, number>;
  /** By address and reason: those to which most was refused. */
  refused: Record<string, Record<string, number>>;
  attached: { name: string; up: boolean }[];
  sources: Source[];
  postgres: null | {
    capture: string;
    outbox: null | { rows: number; bytes: number; most: number; lag: number; stalled: number };
    slot: null | { name: string | null; retained: number; alarm: boolean };
  };
  routes: Route[];
  log: {
    kind: string;
    position: string;
    oldest: number;
    newest: number;
    window: { bytes: number; entries: number; most: number };
    disk: null | { bytes: number; segments: number; most: number };
    age: number;
    failures: number;
    sync: Histogram;
  };
}

export interface Session {
  session: string;
  user: string | null;
  transport: string;
  address?: string | null;
  opened: string;
  state?: string;
  channels: string[];
  followed: number;
  behind?: null | { queued: number; lag: number; replays: number; blocked: boolean; progress: string };
  closed?: string;
  code?: number;
  reason?: string;
  help?: string;
  verdict?: string;
  through?: string[];
  written?: string | null;
  had_it?: boolean;
}

export interface Entry {
  position: string;
  offset: number;
  time: string;
  channels: string[];
  event?: string;
  data?: unknown;
  excerpt?: string;
  bytes?: number;
  gap?: string;
  id?: string | null;
}

export interface Unrouted {
  number: number;
  source: string;
  op: string;
  time: string;
  row: unknown;
  old: unknown;
  message: unknown;
  cut: boolean;
}

export interface Rule {
  rule: string;
  when: string | null;
  publishes: boolean;
  reason: string;
  channels: string[];
  event: string | null;
  data: unknown;
}

export interface Step {
  step: string;
  outcome: "yes" | "no" | "unknown";
  at: string | null;
  text: string;
  more: any;
}

export interface Explanation {
  verdict: string;
  user: string;
  query: string;
  event: (Entry & Unrouted) | null;
  steps: Step[];
  sessions: Session[];
  closed: Session[];
}
