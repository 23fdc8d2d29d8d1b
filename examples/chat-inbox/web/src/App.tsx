// The inbox of one owner: list, open conversation and, in the demo, the contact at the other end.

import { deed, Shell, useStrip, useText, type Facts } from "@pregon/example-kit";
import { claimsOf, useFollow, useSocket, useSocketEvent, useSocketStatus } from "@pregon/example-kit/chat";
import { useEffect, useReducer, useState } from "react";
import type { Socket } from "socket.io-client";
import { Contact } from "./Contact.js";
import { Conversations } from "./Conversations.js";
import { change, EMPTY, type Conversation, type Message } from "./inbox.js";
import { Thread } from "./Thread.js";
import { WORDS } from "./words.js";

export function App({ facts }: { facts: Facts }) {
  const token = facts.tokens.owner ?? facts.tokens.own ?? "";
  const me = String(claimsOf(token).sub);
  const socket = useSocket(facts.gateway, token);
  const status = useSocketStatus(socket);
  const strip = useStrip(facts, status);
  const t = useText(WORDS);
  return (
    <Shell title={t.title} lead={t.lead} facts={facts} status={status} strip={strip}>
      <Inbox socket={socket} me={me} facts={facts} arrived={strip.arrived.bind(strip)} />
    </Shell>
  );
}

interface Props {
  socket: Socket;
  me: string;
  facts: Facts;
  arrived: (key: number, arrival: { channel: string; event: string; replayed: boolean }) => void;
}

function Inbox({ socket, me, facts, arrived }: Props) {
  const t = useText(WORDS);
  const [inbox, dispatch] = useReducer(change, EMPTY);
  const [open, setOpen] = useState<number>();
  const [gap, setGap] = useState(false);

  const hear = (event: string, data: unknown, replayed: boolean) => {
    if (event === "conversation:updated") dispatch({ kind: "conversation", conversation: data as Conversation });
    if (event !== "message:new") return;
    const message = data as Message;
    dispatch({ kind: "message", message });
    arrived(message.id, { channel: `conversation_${message.conversation_id}`, event, replayed });
  };
  const past = (event: string, data: unknown) => hear(event, data, true);
  const lost = () => setGap(true);
  useSocketEvent(socket, "message:new", (message) => hear("message:new", message, false));
  useSocketEvent(socket, "conversation:updated", (conversation) => hear("conversation:updated", conversation, false));
  useSocketEvent(socket, "gap", lost);
  // The owner is in this channel from the start; subscribing brings what was said before.
  useFollow(socket, `user_${me}`, past, { last: 200, gap: lost });

  const messages = (open && inbox.messages[open]) || [];
  const newest = messages.at(-1)?.id;
  useEffect(() => {
    if (open && newest) dispatch({ kind: "read", conversation: open });
  }, [open, newest]);

  const write = (sender: "user" | "agent") => (text: string) =>
    deed(facts, "mensaje", { conversation_id: open, sender, message: text });
  const contact = open && facts.tokens[`contact_${open}`];
  return (
    <>
      {gap && (
        <p role="alert" className="notice">
          {t.gap}
        </p>
      )}
      <div className="inbox">
        <Conversations socket={socket} inbox={inbox} open={open} choose={setOpen} hear={past} gap={lost} />
        {open ? (
          <Thread key={open} socket={socket} conversation={open} messages={messages} me={me} send={write("agent")} />
        ) : (
          <p className="card empty faint">{t.choose}</p>
        )}
        {contact && (
          <Contact
            key={`contact ${open}`}
            gateway={facts.gateway}
            token={contact}
            conversation={open}
            owner={me}
            send={write("user")}
          />
        )}
      </div>
    </>
  );
}
