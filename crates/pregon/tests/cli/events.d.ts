// Written by `pregon types` from the configuration and the database: do not edit.

/** A row of public.pedidos. */
export interface Pedidos {
  /** bigint: exact up to 9007199254740991 (2^53 - 1); for larger ones send it as text (`as_text` of the route) */
  id: number;
  /** numeric: JSON.parse keeps 15 to 17 digits and no trailing zeros; for money send it as text (`as_text` of the route) */
  total: number;
  estado: "open" | "it's \"done\"";
  tags: (string | null)[] | null;
  pagado: boolean | null;
  extra: any;
  lugar: any;
  creado: string;
  historia: ("open" | "it's \"done\"" | null)[];
  "con espacio": string | null;
}

/** A row of public.mensajes. */
export interface Mensajes {
  id: number;
  sender: string;
}

/** A row of public.mensajes. */
export interface Row2Avisos {
  id: number;
  sender: string;
}

/** Events by name: `createClient<Events>(…)`. */
export interface Events {
  "order:insert": Pedidos;
  total: { doble: any; id: Pedidos["id"] };
  [event: `estado:${string}`]: { id: Pedidos["id"]; estado: Pedidos["estado"] };
  "order:update": Pedidos;
  "order:delete": Pedidos;
  insert: Mensajes | Row2Avisos;
  delete: Mensajes;
  truncate: null;
  message: any;
}
