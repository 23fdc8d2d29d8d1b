// The gateway's answers. The token is kept for this tab alone and travels in a header, never in an address.

const KEY = "pregon.admin";

/** Takes the token of `#token=…` out of the address, so that no history keeps it. */
export function tokenFromAddress(): void {
  const token = new URLSearchParams(location.hash.slice(1)).get("token");
  if (token === null) return;
  keepToken(token);
  history.replaceState(null, "", location.pathname);
}

export const token = (): string => sessionStorage.getItem(KEY) ?? "";
export const keepToken = (token: string): void => sessionStorage.setItem(KEY, token);
export const forgetToken = (): void => sessionStorage.removeItem(KEY);

/** Why there is no answer. */
export class Refused extends Error {
  constructor(
    readonly status: number,
    message: string,
  ) {
    super(message);
  }
}

async function ask(path: string, init: RequestInit = {}): Promise<Response> {
  const headers = { ...init.headers, Authorization: `Bearer ${token()}` };
  const response = await fetch(`/admin/api/${path}`, { ...init, headers, cache: "no-store" });
  if (response.ok) return response;
  const body: unknown = await response.json().catch(() => null);
  const message = (body as { message?: string } | null)?.message ?? response.statusText;
  throw new Refused(response.status, message);
}

type Query = Record<string, string | undefined>;

const address = (path: string, query: Query): string => {
  const given = Object.entries(query).filter((pair): pair is [string, string] => !!pair[1]);
  return given.length > 0 ? `${path}?${new URLSearchParams(given)}` : path;
};

export async function get<T>(path: string, query: Query = {}): Promise<T> {
  return (await ask(address(path, query))).json() as Promise<T>;
}

export async function post<T>(path: string, body: unknown): Promise<T> {
  const headers = { "Content-Type": "application/json" };
  return (await ask(path, { method: "POST", headers, body: JSON.stringify(body) })).json() as Promise<T>;
}

/** Reads server-sent events until `signal`; an EventSource could not send the token. Returns when the stream ends. */
export async function stream(
  path: string,
  query: Query,
  signal: AbortSignal,
  take: (event: string, data: any) => void,
  opened: () => void = () => {},
): Promise<void> {
  const response = await ask(address(path, query), { signal });
  opened();
  const reader = response.body!.pipeThrough(new TextDecoderStream()).getReader();
  let rest = "";
  for (;;) {
    const { done, value } = await reader.read();
    if (done) return;
    const blocks = (rest + value).split("\n\n");
    rest = blocks.pop() ?? "";
    for (const block of blocks) {
      const field = (name: string) => block.match(new RegExp(`^${name}: ?(.*)$`, "m"))?.[1];
      const data = field("data");
      if (data !== undefined) take(field("event") ?? "message", JSON.parse(data));
    }
  }
}
