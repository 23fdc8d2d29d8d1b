// The connection as a light and a word: green, yellow while it comes back, red when it does not.

import type { Status } from "@pregon/client";
import { useText } from "./text.js";

const COLOURS: Record<Status, "green" | "yellow" | "red"> = {
  idle: "yellow",
  connecting: "yellow",
  connected: "green",
  reconnecting: "yellow",
  offline: "red",
  denied: "red",
  closed: "red",
};

const es: Record<Status, string> = {
  idle: "conectando…",
  connecting: "conectando…",
  connected: "en vivo",
  reconnecting: "reconectando…",
  offline: "sin red",
  denied: "acceso denegado",
  closed: "cerrado",
};
const en: Record<Status, string> = {
  idle: "connecting…",
  connecting: "connecting…",
  connected: "live",
  reconnecting: "reconnecting…",
  offline: "no network",
  denied: "access denied",
  closed: "closed",
};

/** `away` names what is down behind a gateway that still answers. */
export function Light({ status, away = [] }: { status: Status; away?: string[] }) {
  const words = useText({
    es: { status: es, away: (what: string) => `sin ${what}` },
    en: { status: en, away: (what: string) => `${what} is away` },
  });
  const waits = status === "connected" && away.length > 0;
  return (
    <p className="light" role="status" data-colour={waits ? "yellow" : COLOURS[status]} data-status={status}>
      <span className="light-dot" aria-hidden="true" />
      {waits ? words.away(away.join(", ")) : words.status[status]}
    </p>
  );
}
