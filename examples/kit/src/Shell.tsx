// The frame of a page: title, light, languages and colours above, the example in the middle, the strip beside it.

import type { Status } from "@pregon/client";
import { useEffect, type ReactNode } from "react";
import type { Facts } from "./demo.js";
import { Light } from "./Light.js";
import { Strip } from "./strip/Strip.js";
import type { StripStore } from "./strip/store.js";
import { useAway } from "./strip/useStrip.js";
import { useLanguage, useText } from "./text.js";
import { useTheme } from "./theme.js";

export interface ShellProps {
  title: string;
  /** One sentence below the title. */
  lead?: string;
  facts?: Facts;
  /** Without one there is no light. */
  status?: Status;
  /** Shown beside the example in the demo. */
  strip?: StripStore;
  /** More for the header, such as a choice of roles. */
  tools?: ReactNode;
  children: ReactNode;
}

export function Shell({ title, lead, facts, status, strip, tools, children }: ShellProps) {
  const t = useText({ es: { skip: "Ir al contenido" }, en: { skip: "Skip to content" } });
  const shown = facts?.live ? strip : undefined;
  useEffect(() => {
    document.title = `${title} · pregón`;
  }, [title]);
  return (
    <div className="shell">
      <a className="skip" href="#content">
        {t.skip}
      </a>
      <Header title={title} lead={lead} facts={facts} status={status} strip={strip} tools={tools} />
      <div className={shown ? "shell-body with-strip" : "shell-body"}>
        <main id="content" tabIndex={-1}>
          {children}
        </main>
        {shown && facts && <Strip strip={shown} facts={facts} />}
      </div>
    </div>
  );
}

function Header({ title, lead, facts, status, strip, tools }: Omit<ShellProps, "children">) {
  const t = useText({
    es: { home: "pregón, todos los ejemplos", admin: "tablero" },
    en: { home: "pregón, all examples", admin: "dashboard" },
  });
  const away = useAway(strip);
  return (
    <header className="shell-header">
      <a className="brand" href="/" aria-label={t.home}>
        <Horn /> <span>pregón</span>
      </a>
      <div className="shell-title">
        <h1>{title}</h1>
        {lead && <p>{lead}</p>}
      </div>
      <div className="shell-tools">
        {status && <Light status={status} away={away} />}
        {tools}
        {facts?.adminUrl && <a href={facts.adminUrl}>{t.admin}</a>}
        <Switches />
      </div>
    </header>
  );
}

/** Language and colours. */
function Switches() {
  const [language, setLanguage] = useLanguage();
  const [theme, nextTheme] = useTheme();
  const t = useText({
    es: { other: "English", theme: { system: "colores del sistema", light: "claro", dark: "oscuro" }, change: "Colores" },
    en: { other: "Español", theme: { system: "system colours", light: "light", dark: "dark" }, change: "Colours" },
  });
  const other = language === "es" ? "en" : "es";
  return (
    <>
      <button type="button" className="quiet" lang={other} onClick={() => setLanguage(other)}>
        {t.other}
      </button>
      <button
        type="button"
        className="quiet icon"
        aria-label={`${t.change}: ${t.theme[theme]}`}
        title={t.theme[theme]}
        onClick={nextTheme}
      >
        <span aria-hidden="true">{{ system: "◐", light: "☀", dark: "☾" }[theme]}</span>
      </button>
    </>
  );
}

/** The town crier's horn. */
function Horn() {
  return (
    <svg viewBox="0 0 24 24" width="26" height="26" aria-hidden="true">
      <path d="M3 9.5v5h4l9 5.5V4L7 9.5H3z" fill="currentColor" />
      <path d="M19 8.5a5 5 0 0 1 0 7" fill="none" stroke="currentColor" strokeWidth="2" strokeLinecap="round" />
    </svg>
  );
}
