// A telephone. What WhatsApp does for a real one, the demo does for this: it posts what is written as a signed webhook, and tells that a
// message has arrived or was read. What agents answer comes here by the gateway, with the token of a supervisor.

import { useText, type Facts } from "@pregon/example-kit";
import { Composer, useSocket } from "@pregon/example-kit/chat";
import { useEffect, useRef } from "react";
import type { Inbox, Message } from "./inbox.js";
import { Messages } from "./Messages.js";
import { PEOPLE, type Person } from "./people.js";
import { useInbox } from "./useInbox.js";
import { WORDS } from "./words.js";

/** WhatsApp, as far as this page needs it. */
export interface WhatsApp {
  write(person: Person, text: string): Promise<unknown>;
  status(wamid: string, telefono: string, status: "delivered" | "read"): Promise<unknown>;
}

interface Props {
  facts: Facts;
  areas: string[];
  whatsapp: WhatsApp;
  person: Person;
  choose: (person: Person) => void;
}

export function Phone({ facts, areas, whatsapp, person, choose }: Props) {
  const t = useText(WORDS);
  const socket = useSocket(facts.gateway, facts.tokens.todas ?? "");
  const { inbox } = useInbox(socket, areas);
  const conversation = inbox.conversations.find(({ telefono }) => telefono === person.telefono);
  const messages = (conversation && inbox.messages[conversation.id]) ?? [];
  useReceipts(messages, inbox, person, whatsapp);
  return (
    <section className="phone" aria-labelledby="phone">
      <h2 id="phone" className="visually-hidden">
        {t.phone}
      </h2>
      <header>
        <label>
          <span>{t.person}</span>
          <select value={person.telefono} onChange={(event) => choose(PEOPLE.find((one) => one.telefono === event.target.value)!)}>
            {PEOPLE.map(({ telefono, nombre }) => (
              <option key={telefono} value={telefono}>
                {nombre}
              </option>
            ))}
          </select>
        </label>
      </header>
      <Messages key={person.telefono} label={`${t.conversation} ${t.business}`} inbox={inbox} messages={messages} side="phone" />
      <Composer label={`${t.phoneWrite} ${person.nombre}`} send={(text) => whatsapp.write(person, text)} />
      <p className="hint">{t.hint}</p>
    </section>
  );
}

/** The telephone that shows a message tells that it was read. */
function useReceipts(messages: Message[], inbox: Inbox, person: Person, whatsapp: WhatsApp): void {
  const told = useRef(new Set<string>());
  useEffect(() => {
    for (const { id, wamid, remitente_tipo } of messages) {
      const known = inbox.states[id];
      if (remitente_tipo === "user" || known === "read" || told.current.has(wamid)) continue;
      told.current.add(wamid);
      const tell = async () => {
        await whatsapp.status(wamid, person.telefono, "delivered");
        await whatsapp.status(wamid, person.telefono, "read");
      };
      // The router is away: the next change of the list tries again.
      tell().catch(() => told.current.delete(wamid));
    }
  }, [messages, inbox.states, person, whatsapp]);
}
