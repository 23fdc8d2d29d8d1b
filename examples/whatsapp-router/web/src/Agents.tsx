// The inbox of an agent: the conversations of the areas that the token names, and the open one.

import { Avatar, clock, useLanguage, useText } from "@pregon/example-kit";
import { Composer } from "@pregon/example-kit/chat";
import { useEffect, useState } from "react";
import type { Socket } from "socket.io-client";
import type { Conversation, Inbox } from "./inbox.js";
import { Messages } from "./Messages.js";
import { useInbox, type Arrived } from "./useInbox.js";
import { WORDS } from "./words.js";

interface Props {
  socket: Socket;
  areas: string[];
  arrived: Arrived;
  /** Told of the telephones whose conversations are in other areas. */
  elsewhere: (telephones: Set<string>) => void;
  reply: (conversation: Conversation, text: string) => Promise<unknown>;
}

export function Agents({ socket, areas, arrived, elsewhere, reply }: Props) {
  const t = useText(WORDS);
  const { inbox, gap, elsewhere: gone } = useInbox(socket, areas, arrived);
  useEffect(() => {
    elsewhere(new Set(gone));
  }, [gone]);
  const [chosen, choose] = useState<number>();
  const open = inbox.conversations.find(({ id }) => id === chosen);
  return (
    <div className="agents">
      {gap && (
        <p role="alert" className="notice">
          {t.gap}
        </p>
      )}
      <List inbox={inbox} open={chosen} choose={choose} />
      {open ? (
        <Thread key={open.id} inbox={inbox} open={open} reply={reply} />
      ) : (
        <p className="card empty faint">{chosen ? t.other : t.choose}</p>
      )}
    </div>
  );
}

function List({ inbox, open, choose }: { inbox: Inbox; open: number | undefined; choose: (id: number) => void }) {
  const t = useText(WORDS);
  const [language] = useLanguage();
  return (
    <nav className="card conversations" aria-label={t.conversations}>
      {inbox.conversations.length === 0 && <p className="faint">{t.waiting}</p>}
      <ul>
        {inbox.conversations.map((conversation) => (
          <li key={conversation.id}>
            <button type="button" aria-current={conversation.id === open} onClick={() => choose(conversation.id)}>
              <Avatar name={conversation.nombre ?? conversation.telefono} size={40} />
              <span className="name">{conversation.nombre ?? conversation.telefono}</span>
              <span className="time">{clock(conversation.ts_ultimo_mensaje, language)}</span>
              <span className="last">{conversation.ultimo_mensaje ?? t.kind(conversation.ultimo_tipo)}</span>
              <span className="area">{[conversation.area, ...(conversation.etiquetas ?? [])].join(" · ")}</span>
            </button>
          </li>
        ))}
      </ul>
    </nav>
  );
}

function Thread({ inbox, open, reply }: { inbox: Inbox; open: Conversation; reply: Props["reply"] }) {
  const t = useText(WORDS);
  const name = open.nombre ?? open.telefono;
  return (
    <section className="card thread" aria-labelledby="thread">
      <h2 id="thread">{name}</h2>
      <Messages label={`${t.conversation} ${name}`} inbox={inbox} messages={inbox.messages[open.id] ?? []} side="agent" />
      <Composer label={t.reply} send={(text) => reply(open, text)} />
    </section>
  );
}
