// The addresses of a gateway, from whatever address of it was given.

/**
 * The socket's and the stream's address. `https://host/base` has both below it; `wss://host/path` is the socket itself, and the
 * stream lies beside it.
 */
export function urls(given: string | undefined): { ws: URL; sse: URL } {
  const page = globalThis.location?.href;
  if (!given && !page) throw new TypeError("createClient: give the gateway's url; there is no page to take it from");
  const { protocol, host, pathname } = new URL(given ?? "/", page);
  const secure = /^(https|wss):$/.test(protocol) ? "s" : "";
  const path = pathname.replace(/\/+$/, "");
  const own = protocol.startsWith("ws") && path !== "";
  return {
    ws: new URL(`ws${secure}://${host}${own ? path : `${path}/ws`}`),
    sse: new URL(`http${secure}://${host}${own ? path.replace(/[^/]*$/, "sse") : `${path}/sse`}`),
  };
}
