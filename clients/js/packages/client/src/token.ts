// Tokens: getting one, and reading when it ends. Nothing is verified here; that is the gateway's part.

import type { Token } from "./types.js";

/** The present token, or `undefined` for none. */
export async function resolveToken(token: Token): Promise<string | undefined> {
  return (typeof token === "function" ? await token() : token) || undefined;
}

/** When a JWT ends, milliseconds since 1970; `undefined` if it does not, or is not one. */
export function expiry(token: string): number | undefined {
  try {
    const payload = token.split(".")[1]!.replace(/-/g, "+").replace(/_/g, "/");
    const { exp } = JSON.parse(atob(payload));
    return typeof exp === "number" ? exp * 1000 : undefined;
  } catch {
    return undefined;
  }
}
