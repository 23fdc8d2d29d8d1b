// Tokens as an application makes them.

import { createHmac } from "node:crypto";
import { SECRET } from "./gateway";

/** A JWT (HS256) of these claims. */
export function token(claims: object, secret = SECRET): string {
  const part = (value: object) => Buffer.from(JSON.stringify(value)).toString("base64url");
  const signed = `${part({ alg: "HS256", typ: "JWT" })}.${part(claims)}`;
  return `${signed}.${createHmac("sha256", secret).update(signed).digest("base64url")}`;
}

/** Seconds since 1970, so many from now. */
export const inSeconds = (seconds: number) => Math.floor(Date.now() / 1000) + seconds;
