// What the router stored and the gateway told. Pure: the same events in any order, or twice, make the same inbox.

/** A row of `mensajes`. */
export interface Message {
  id: number;
  conversacion_id: number;
  wamid: string;
  mensaje: string | null;
  remitente_tipo: "user" | "agent" | "bot" | "system";
  tipo: string;
  timestamp: string;
  estado: State | null;
  raw: { demo?: number };
}

export type State = "sent" | "delivered" | "read" | "played" | "failed";

/** The event `conversation:updated`: the row of `conversaciones`, and the last that was said. */
export interface Conversation {
  id: number;
  telefono: string;
  area: string;
  nombre: string | null;
  etiquetas: string[] | null;
  ts_ultimo_mensaje: string;
  ultimo_mensaje: string | null;
  ultimo_tipo: string;
}

/** The event `message:status`. */
export interface Status {
  id: number;
  wamid: string;
  estado: State;
}

export interface Inbox {
  /** The one with the newest message first. */
  conversations: Conversation[];
  /** By conversation, oldest first. */
  messages: Record<number, Message[]>;
  /** What is known of messages, by their id: it may be told before its message. */
  states: Record<number, State>;
}

export const EMPTY: Inbox = { conversations: [], messages: {}, states: {} };

export type Change =
  { kind: "message"; message: Message } | { kind: "conversation"; conversation: Conversation } | { kind: "status"; status: Status };

export function change(inbox: Inbox, change: Change): Inbox {
  switch (change.kind) {
    case "message":
      return withMessage(inbox, change.message);
    case "conversation":
      return withConversation(inbox, change.conversation);
    case "status":
      return withState(inbox, change.status.id, change.status.estado);
  }
}

const ORDER: (State | null)[] = [null, "sent", "failed", "delivered", "read", "played"];

/** A state only goes forward, in whatever order it is told. */
function withState(inbox: Inbox, id: number, state: State | null): Inbox {
  if (!state || ORDER.indexOf(state) <= ORDER.indexOf(inbox.states[id] ?? null)) return inbox;
  return { ...inbox, states: { ...inbox.states, [id]: state } };
}

function withMessage(inbox: Inbox, message: Message): Inbox {
  const before = inbox.messages[message.conversacion_id] ?? [];
  if (before.some(({ id }) => id === message.id)) return inbox;
  const messages = { ...inbox.messages, [message.conversacion_id]: [...before, message].sort((a, b) => a.id - b.id) };
  return withState({ ...inbox, messages }, message.id, message.estado);
}

function withConversation(inbox: Inbox, conversation: Conversation): Inbox {
  const before = inbox.conversations.find(({ id }) => id === conversation.id);
  if (before && at(conversation) < at(before)) return inbox;
  const others = inbox.conversations.filter(({ id }) => id !== conversation.id);
  return { ...inbox, conversations: [conversation, ...others].sort((a, b) => at(b) - at(a)) };
}

function at({ ts_ultimo_mensaje }: Conversation): number {
  return Date.parse(ts_ultimo_mensaje);
}
