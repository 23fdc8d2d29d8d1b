// The list: the conversation with the newest message first, with what nobody has read.

import { Avatar, clock, useLanguage, useText } from "@pregon/example-kit";
import { useFollow, type Hear } from "@pregon/example-kit/chat";
import type { Socket } from "socket.io-client";
import { unread, type Conversation, type Inbox } from "./inbox.js";
import { nameOf } from "./people.js";
import { WORDS } from "./words.js";

interface Props {
  socket: Socket;
  inbox: Inbox;
  open: number | undefined;
  choose: (conversation: number) => void;
  hear: Hear;
  gap: () => void;
}

export function Conversations(props: Props) {
  const t = useText(WORDS);
  const { conversations } = props.inbox;
  return (
    <nav className="card conversations" aria-label={t.conversations}>
      <h2>{t.conversations}</h2>
      {conversations.length === 0 && <p className="faint">{t.waiting}</p>}
      <ul>
        {conversations.map((conversation) => (
          <Line key={conversation.id} conversation={conversation} {...props} />
        ))}
      </ul>
    </nav>
  );
}

/** As long as a conversation is in the list, its messages are followed: it opens at once, and its count is exact. */
function Line({ conversation, socket, inbox, open, choose, hear, gap }: Props & { conversation: Conversation }) {
  const t = useText(WORDS);
  const [language] = useLanguage();
  const { id, last_message, last_message_at } = conversation;
  useFollow(socket, `conversation_${id}`, hear, { gap });
  const count = unread(inbox, id);
  return (
    <li>
      <button type="button" aria-current={id === open} onClick={() => choose(id)}>
        <Avatar name={nameOf(id)} size={40} />
        <span className="name">{nameOf(id)}</span>
        <span className="time">{last_message_at && clock(last_message_at, language)}</span>
        <span className="last">{last_message ?? t.nothing}</span>
        {count > 0 && (
          <span className="count">
            {count} <span className="visually-hidden">{t.unread}</span>
          </span>
        )}
      </button>
    </li>
  );
}
