// An entry as the gateway brings it: the row of registro_entradas, and the member from the route's `enrich`.

export interface Entry {
  id_entrada: number;
  id_miembro: number | null;
  tipo_acceso: string;
  fecha_entrada: string;
  nombre?: string | null;
  plan?: string | null;
  /** `2026-12-31` */
  fecha_vencimiento?: string | null;
}

export type Membership = "valid" | "ending" | "expired" | "unknown";

/** Days before its end in which a membership is to be renewed. */
const SOON = 5;
const DAY = 86_400_000;

/** Days that the membership has still to go; the day itself counts. */
export function daysLeft(entry: Entry): number {
  const end = new Date(`${entry.fecha_vencimiento}T23:59:59`);
  return Math.floor((end.getTime() - new Date(entry.fecha_entrada).getTime()) / DAY);
}

/** How the membership was when its member came in. */
export function membership(entry: Entry): Membership {
  if (!entry.nombre || !entry.fecha_vencimiento) return "unknown";
  const days = daysLeft(entry);
  if (days < 0) return "expired";
  return days <= SOON ? "ending" : "valid";
}
