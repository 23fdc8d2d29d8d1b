// A link over server-sent events: for networks that let no WebSocket through. It reads with fetch, not with an EventSource:
// statuses can be seen, a token need not stand in the address, and Node and workers have it too.

import { FORBIDDEN, INVALID_TOKEN } from "./codes.js";
import { ABNORMAL, type Dial } from "./link.js";

/** What a refusal means, as the close code that a WebSocket would have had. Others than the gateway refuse too, and may let us through later. */
function closeCode(status: number, answer: string): number {
  if (!answer.includes('"error":')) return ABNORMAL;
  if (status === 401) return INVALID_TOKEN;
  return status === 403 ? FORBIDDEN : ABNORMAL;
}

/** A link over `GET url`. */
export function dialSse(url: string, headers: Record<string, string>, get: typeof fetch): Dial {
  return (events) => {
    const abort = new AbortController();
    const end = (code: number, reason: string) => {
      if (!abort.signal.aborted) {
        abort.abort();
        events.closed(code, reason);
      }
    };
    const request = { headers: { Accept: "text/event-stream", ...headers }, cache: "no-store", signal: abort.signal } as const;
    get(url, request)
      .then(async (response) => {
        if (response.status !== 200 || !response.body) {
          const answer = await response.text();
          return end(closeCode(response.status, answer), answer);
        }
        events.opened();
        const blocks = new Blocks((text) => abort.signal.aborted || events.message(text));
        const reader = response.body.getReader();
        for (let read = await reader.read(); !read.done; read = await reader.read()) blocks.push(read.value);
        end(ABNORMAL, "the stream ended");
      })
      .catch((error) => end(ABNORMAL, String(error)));
    return { close: () => abort.abort() };
  };
}

/** Puts the bytes of a stream together to blocks and yields their data (WHATWG HTML §9.2.6). */
export class Blocks {
  readonly #decoder = new TextDecoder();
  #rest = "";
  #data: string[] = [];

  readonly #yieldData: (data: string) => void;

  constructor(yieldData: (data: string) => void) {
    this.#yieldData = yieldData;
  }

  push(bytes: Uint8Array): void {
    const lines = (this.#rest + this.#decoder.decode(bytes, { stream: true })).split("\n");
    this.#rest = lines.pop() ?? "";
    for (const line of lines) this.#line(line.replace(/\r$/, ""));
  }

  #line(line: string): void {
    if (line.startsWith("data:")) {
      this.#data.push(line.slice(line[5] === " " ? 6 : 5));
    } else if (line === "" && this.#data.length > 0) {
      this.#yieldData(this.#data.join("\n"));
      this.#data = [];
    }
  }
}
