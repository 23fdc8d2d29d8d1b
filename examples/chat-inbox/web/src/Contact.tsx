// The other end, so that one person can try both: it is present, types and writes with a token of its own.

import { useText } from "@pregon/example-kit";
import { Composer, usePresence, useSocket } from "@pregon/example-kit/chat";
import { nameOf } from "./people.js";
import { useTyping } from "./typing.js";
import { WORDS } from "./words.js";

interface Props {
  gateway: string;
  /** The contact's own: it may be present beside its conversation, and follow nothing else. */
  token: string;
  conversation: number;
  owner: string;
  send: (text: string) => Promise<void>;
}

export function Contact({ gateway, token, conversation, owner, send }: Props) {
  const t = useText(WORDS);
  const socket = useSocket(gateway, token);
  const { typing, type, done } = useTyping(socket, conversation, `contact_${conversation}`);
  const looked = usePresence(socket, `presence_${conversation}`).has(owner);
  return (
    <section className="card contact" aria-labelledby="contact">
      <h2 id="contact">{t.phone}</h2>
      <p className="faint">{t.phoneLead}</p>
      <p role="status">{typing ? t.agentTypes : looked ? t.agentHere : t.agentAway}</p>
      <Composer label={`${t.phoneWrite} ${nameOf(conversation)}`} type={type} send={(text) => send(text).then(done)} />
    </section>
  );
}
