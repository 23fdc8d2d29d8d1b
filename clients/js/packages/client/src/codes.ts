// What the numbers of the gateway's table (docs/codes.md) ask of a client: to come back, or not to.

/** Close codes of WebSocket itself that will come again: our frames, not the network, are at fault. */
const BROKEN = [1002, 1007, 1009];

/** Whether a connection that was closed with `code` must not be made again. */
export function isTerminal(code: number): boolean {
  return (code >= 3500 && code < 4000) || BROKEN.includes(code);
}

/** Whether a command that was refused with `code` may be tried again later. */
export function mayRetry(code: number): boolean {
  return code >= 200 && code < 300;
}

/** Codes that the client itself looks for. */
export const BAD_POSITION = 105;
export const INVALID_TOKEN = 3500;
export const FORBIDDEN = 3503;

/** Our own, in the range that RFC 6455 §7.4.2 leaves to applications: the other side was not heard in time. */
export const SILENT = 4000;
