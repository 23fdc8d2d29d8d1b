// A telephone and the agents' inbox, side by side: between them pregon router, PostgreSQL and the gateway.

import { deed, Shell, useStrip, useText, type Facts, type Statement } from "@pregon/example-kit";
import { claimsOf, useSocket, useSocketStatus } from "@pregon/example-kit/chat";
import { useMemo, useRef, useState } from "react";
import { Agents } from "./Agents.js";
import { PEOPLE, type Person } from "./people.js";
import { Phone, type WhatsApp } from "./Phone.js";
import { WORDS } from "./words.js";

/** The areas of the example; an agent's token names one of them, or `todas`. */
const AREAS = ["general", "ventas"];

export function App({ facts }: { facts: Facts }) {
  const roles = Object.keys(facts.tokens);
  const asked = new URLSearchParams(location.search).get("role");
  const [role, setRole] = useState(roles.find((one) => one === (asked ?? "todas")) ?? roles[0] ?? "");
  // Another role is another person at another screen: nothing of the first is kept.
  return <Role key={role} facts={facts} role={role} roles={roles} setRole={setRole} />;
}

interface Props {
  facts: Facts;
  role: string;
  roles: string[];
  setRole: (role: string) => void;
}

function Role({ facts, role, roles, setRole }: Props) {
  const t = useText(WORDS);
  const token = facts.tokens[role] ?? "";
  const areas = useMemo(() => areasOf(token), [token]);
  const socket = useSocket(facts.gateway, token);
  const status = useSocketStatus(socket);
  const elsewhere = useRef<Set<string>>(new Set());
  const strip = useStrip(facts, status, (statement) => !isElsewhere(statement, elsewhere.current));
  const whatsapp = useMemo(() => whatsappOf(facts), [facts]);
  const [person, choose] = useState<Person>(PEOPLE[0]);
  const tools = roles.length > 1 && (
    <label className="role">
      {t.role}{" "}
      <select value={role} onChange={(event) => setRole(event.target.value)}>
        {roles.map((one) => (
          <option key={one} value={one}>
            {t.roles[one] ?? one}
          </option>
        ))}
      </select>
    </label>
  );
  return (
    <Shell title={t.title} lead={t.lead} facts={facts} status={status} strip={strip} tools={tools}>
      <div className="ends whatsapp">
        {facts.live && <Phone facts={facts} areas={AREAS} whatsapp={whatsapp} person={person} choose={choose} />}
        <Agents
          socket={socket}
          areas={areas}
          elsewhere={(telephones) => void (elsewhere.current = telephones)}
          arrived={(key, arrival) => strip.arrived(key, arrival)}
          reply={({ telefono }, texto) => deed(facts, "respuesta", { telefono, texto })}
        />
      </div>
    </Shell>
  );
}

function areasOf(token: string): string[] {
  const area = String(claimsOf(token).area ?? "");
  return area === "todas" ? AREAS : [area];
}

function whatsappOf(facts: Facts): WhatsApp {
  return {
    write: ({ telefono, nombre }, texto) => deed(facts, "mensaje", { telefono, nombre, texto }),
    status: (wamid, telefono, estado) => deed(facts, "estado", { wamid, telefono, estado }),
  };
}

/** What is said in a conversation of another area is not for this agent. */
function isElsewhere({ what }: Statement, telephones: Set<string>): boolean {
  return [...telephones].some((telephone) => what.includes(`"${telephone}"`));
}
