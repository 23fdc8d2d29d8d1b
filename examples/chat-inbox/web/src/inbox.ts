// What the gateway tells, as the inbox keeps it. Pure: the same events in any order, or twice, make the same inbox, so that what is
// sent again after a break does no harm.

/** A row of `messages`, its text decrypted by the gateway. */
export interface Message {
  id: number;
  conversation_id: number;
  sender: string;
  message: string | null;
  decrypt_error?: boolean;
  created_at: string;
}

/** The event `conversation:updated`. */
export interface Conversation {
  id: number;
  user_id: number;
  last_message: string | null;
  last_message_at: string | null;
}

export interface Inbox {
  conversations: Conversation[];
  /** By conversation, oldest first. */
  messages: Record<number, Message[]>;
  /** By conversation, the id of the newest message that was read. */
  read: Record<number, number>;
}

export const EMPTY: Inbox = { conversations: [], messages: {}, read: {} };

export type Change =
  | { kind: "message"; message: Message }
  | { kind: "conversation"; conversation: Conversation }
  | { kind: "read"; conversation: number };

export function change(inbox: Inbox, change: Change): Inbox {
  switch (change.kind) {
    case "message":
      return withMessage(inbox, change.message);
    case "conversation":
      return withConversation(inbox, change.conversation);
    case "read":
      return { ...inbox, read: { ...inbox.read, [change.conversation]: newest(inbox, change.conversation) } };
  }
}

/** How many messages of the other side nobody has looked at. */
export function unread(inbox: Inbox, conversation: number): number {
  const read = inbox.read[conversation] ?? 0;
  return (inbox.messages[conversation] ?? []).filter(({ id, sender }) => sender === "user" && id > read).length;
}

function newest(inbox: Inbox, conversation: number): number {
  return inbox.messages[conversation]?.at(-1)?.id ?? 0;
}

function withMessage(inbox: Inbox, message: Message): Inbox {
  const before = inbox.messages[message.conversation_id] ?? [];
  if (before.some(({ id }) => id === message.id)) return inbox;
  const after = [...before, message].sort((a, b) => a.id - b.id);
  return { ...inbox, messages: { ...inbox.messages, [message.conversation_id]: after } };
}

/** The conversation with the newest message comes first. */
function withConversation(inbox: Inbox, conversation: Conversation): Inbox {
  const before = inbox.conversations.find(({ id }) => id === conversation.id);
  if (before && at(conversation) < at(before)) return inbox;
  const others = inbox.conversations.filter(({ id }) => id !== conversation.id);
  return { ...inbox, conversations: [conversation, ...others].sort((a, b) => at(b) - at(a)) };
}

function at({ last_message_at }: Conversation): number {
  return last_message_at ? Date.parse(last_message_at) : 0;
}
