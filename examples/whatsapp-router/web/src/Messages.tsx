// The messages of one conversation, seen from one of its ends.

import { clock, useLanguage, useText } from "@pregon/example-kit";
import { useStickToEnd } from "@pregon/example-kit/chat";
import type { Inbox, Message } from "./inbox.js";
import { Ticks } from "./Ticks.js";
import { WORDS } from "./words.js";

interface Props {
  label: string;
  inbox: Inbox;
  messages: Message[];
  /** Whose end this is. */
  side: "phone" | "agent";
}

export function Messages({ label, inbox, messages, side }: Props) {
  const t = useText(WORDS);
  const { list, missed, onScroll, toEnd } = useStickToEnd(messages.length);
  return (
    <>
      <div className="scroll" role="log" aria-label={label} tabIndex={0} ref={list} onScroll={onScroll}>
        <ol>
          {messages.map((message) => (
            <Bubble key={message.id} message={message} state={inbox.states[message.id]} side={side} />
          ))}
        </ol>
      </div>
      {missed > 0 && (
        <button type="button" className="missed" onClick={toEnd}>
          {t.newMessages(missed)} ↓
        </button>
      )}
    </>
  );
}

function Bubble({ message, state, side }: { message: Message; state: Inbox["states"][number] | undefined; side: Props["side"] }) {
  const t = useText(WORDS);
  const [language] = useLanguage();
  const ofPhone = message.remitente_tipo === "user";
  const ours = ofPhone === (side === "phone");
  return (
    <li className={ours ? "ours" : "theirs"} data-wamid={message.wamid}>
      {message.mensaje ?? t.kind(message.tipo)}
      <span className="foot">
        <time dateTime={message.timestamp}>{clock(message.timestamp, language)}</time>
        {/* What the telephone sent was stored, or it would not be here. */}
        {ours && <Ticks state={ofPhone ? "delivered" : state} />}
      </span>
    </li>
  );
}
