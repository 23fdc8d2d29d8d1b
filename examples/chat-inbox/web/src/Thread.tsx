// The open conversation: it goes with the newest message, unless the reader has scrolled up.

import { clock, useLanguage, useText } from "@pregon/example-kit";
import { Composer, usePresence, useStickToEnd } from "@pregon/example-kit/chat";
import type { Socket } from "socket.io-client";
import type { Message } from "./inbox.js";
import { nameOf } from "./people.js";
import { useTyping } from "./typing.js";
import { WORDS } from "./words.js";

interface Props {
  socket: Socket;
  conversation: number;
  messages: Message[];
  me: string;
  send: (text: string) => Promise<void>;
}

export function Thread({ socket, conversation, messages, me, send }: Props) {
  const t = useText(WORDS);
  const { list, missed, onScroll, toEnd } = useStickToEnd(messages.length);
  const { typing, type, done } = useTyping(socket, conversation, me);
  const online = usePresence(socket, `presence_${conversation}`).has(`contact_${conversation}`);
  const name = nameOf(conversation);
  return (
    <section className="card thread" aria-labelledby="thread">
      <header>
        <h2 id="thread">
          <span className="visually-hidden">{t.conversation} </span>
          {name}
        </h2>
        <span className={online ? "badge good" : "badge"}>{online ? t.online : t.away}</span>
      </header>
      <div className="scroll" role="log" aria-label={`${t.conversation} ${name}`} tabIndex={0} ref={list} onScroll={onScroll}>
        <ol>
          {messages.map((message) => (
            <Bubble key={message.id} message={message} />
          ))}
        </ol>
      </div>
      {missed > 0 && (
        <button type="button" className="missed" onClick={toEnd}>
          {t.newMessages(missed)} ↓
        </button>
      )}
      <p className="typing" role="status">
        {typing && `${name} ${t.typing}`}
      </p>
      <Composer label={t.write} type={type} send={(text) => send(text).then(done)} />
    </section>
  );
}

function Bubble({ message }: { message: Message }) {
  const t = useText(WORDS);
  const [language] = useLanguage();
  return (
    <li className={message.sender === "user" ? "theirs" : "ours"} data-message={message.id}>
      {message.decrypt_error ? <em>{t.broken}</em> : message.message}
      <time dateTime={message.created_at}>{clock(message.created_at, language)}</time>
    </li>
  );
}
