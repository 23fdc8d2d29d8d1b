// Where the gateway is: `pregon demo` says so at /demo/NAME.json; elsewhere the address of the page does (?gateway=…&token=…).

/** What a page may have killed. */
export type Victim = "postgres" | "redis" | "gateway";

/** A rule of the example's pregon.toml, as the strip shows it. */
export interface RouteFact {
  from: string;
  to: string;
  event: string;
}

export interface Facts {
  name: string;
  /** `http://127.0.0.1:PORT` */
  gateway: string;
  /** `ws://127.0.0.1:PORT` */
  ws: string;
  /** By role, in the order of the example; empty where it asks for none. */
  tokens: Record<string, string>;
  /** What a person types to make events: psql or redis-cli with its address. */
  shell?: string;
  routes: RouteFact[];
  /** What can be killed and comes back. */
  kill: Victim[];
  /** The gateway's dashboard. */
  adminUrl?: string;
  /** The page is the demo's own: there are deeds, a strip and buttons to kill. */
  live: boolean;
}

/** The facts of one example; nothing where nobody told a gateway. */
export async function demo(name: string, address = new URL(location.href)): Promise<Facts | undefined> {
  const gateway = address.searchParams.get("gateway");
  if (gateway) return elsewhere(name, gateway, address.searchParams.get("token"));
  const answer = await fetch(`/demo/${name}.json`).catch(() => undefined);
  if (!answer?.ok || !answer.headers.get("content-type")?.includes("json")) return undefined;
  return { ...(await answer.json()), live: true };
}

function elsewhere(name: string, address: string, token: string | null): Facts {
  const gateway = address.replace(/^ws/, "http").replace(/\/$/, "");
  return {
    name,
    gateway,
    ws: gateway.replace(/^http/, "ws"),
    tokens: token ? { own: token } : {},
    routes: [],
    kill: [],
    live: false,
  };
}
