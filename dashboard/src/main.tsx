// The page: signs in, follows the gateway, and shows one tab at a time.

import { render, type ComponentChildren } from "preact";
import { useEffect, useRef, useState } from "preact/hooks";
import { get, keepToken, Refused, token, tokenFromAddress } from "./api";
import { Explain } from "./explain";
import { seconds } from "./format";
import { language, speak, t } from "./i18n";
import { Live } from "./live";
import { connection, follow, picture, signedIn, signOut, type Picture } from "./overview";
import { Badge, Notice, useTask } from "./parts";
import { Routes } from "./routes";
import { Sessions } from "./sessions";
import { Sources } from "./sources";
import { handed, useSignal } from "./state";
import { Tail } from "./tail";
import { theme, toggleTheme } from "./theme";
import "./style.css";

const TABS: [string, string, (picture: Picture) => ComponentChildren][] = [
  ["live", "Live", (now) => <Live picture={now} />],
  ["sessions", "Sessions", () => <Sessions />],
  ["sources", "Sources & log", (now) => <Sources picture={now} />],
  ["routes", "Routes", (now) => <Routes picture={now} />],
  ["tail", "Tail", (now) => <Tail picture={now} />],
  ["explain", "Explain", () => <Explain />],
];

const shown = () => TABS.find(([name]) => name === location.hash.slice(1))?.[0] ?? "live";

function App() {
  const inside = useSignal(signedIn);
  useSignal(language);
  return inside ? <Dashboard /> : <SignIn />;
}

function Preferences() {
  useSignal(theme);
  const other = language.get() === "es" ? "en" : "es";
  return (
    <>
      <button type="button" onClick={() => speak(other)} aria-label={other === "es" ? "ES, español" : "EN, English"} lang={other}>
        {other.toUpperCase()}
      </button>
      <button type="button" onClick={toggleTheme} aria-label={t("Theme")}>
        {theme.get() === "dark" ? "☀" : "☾"}
      </button>
    </>
  );
}

function Brand() {
  return (
    <p class="brand">
      <img src="/admin/icon.svg" alt="" width="28" height="28" /> pregón
    </p>
  );
}

function SignIn() {
  const [given, setGiven] = useState("");
  const task = useTask();
  const go = () =>
    task.run(async () => {
      keepToken(given.trim());
      try {
        await get("overview");
        signedIn.set(true);
      } catch (failed) {
        signOut();
        throw failed instanceof Refused && failed.status === 401 ? new Error(t("The token is wrong.")) : failed;
      }
    });
  return (
    <main class="signin">
      <div class="card">
        <header>
          <Brand />
          <span class="actions">
            <Preferences />
          </span>
        </header>
        <h1>{t("Dashboard")}</h1>
        <form onSubmit={(submit) => (submit.preventDefault(), void go())}>
          <label class="field wide">
            <span>{t("Token")}</span>
            <input
              type="password"
              value={given}
              autocomplete="current-password"
              required
              onInput={(event) => setGiven(event.currentTarget.value)}
            />
          </label>
          <p class="muted">{t("The token of [admin] or PREGON_ADMIN_TOKEN. It stays in this tab.")}</p>
          <button type="submit" disabled={task.busy}>
            {t("Open")}
          </button>
        </form>
        {task.error && <Notice bad text={task.error} />}
      </div>
    </main>
  );
}

function Dashboard() {
  const now = useSignal(picture);
  const hand = useSignal(handed);
  const [tab, setTab] = useState(shown());
  useEffect(() => {
    const stop = new AbortController();
    void follow(stop.signal);
    const moved = () => setTab(shown());
    addEventListener("hashchange", moved);
    return () => (stop.abort(), removeEventListener("hashchange", moved));
  }, []);
  useEffect(() => {
    if (hand) location.hash = hand.tab;
  }, [hand]);
  return (
    <>
      <header class="top">
        <Brand />
        <Status now={now} />
        <span class="actions">
          <Preferences />
          <button type="button" onClick={signOut}>
            {t("Sign out")}
          </button>
        </span>
      </header>
      <Tabs tab={tab} />
      <main>
        <h1 class="hidden">{t(TABS.find(([name]) => name === tab)![1])}</h1>
        <div id="panel" role="tabpanel" aria-labelledby={`tab-${tab}`}>
          {now ? TABS.find(([name]) => name === tab)![2](now) : <p class="muted empty">{t("reconnecting…")}</p>}
        </div>
      </main>
    </>
  );
}

function Status({ now }: { now: Picture | null }) {
  const link = useSignal(connection);
  const node = now?.now.node;
  return (
    <span class="status" role="status">
      <Badge kind={link === "open" ? "good" : "warn"}>{t(link === "open" ? "connected" : "reconnecting…")}</Badge>
      {node && (
        <>
          <Badge kind={node.draining ? "warn" : node.ready ? "good" : "bad"}>
            {t(node.draining ? "draining" : node.ready ? "ready" : "not ready")}
          </Badge>
          <span class="muted" aria-hidden="true">
            {node.version} · {node.address} · {t("up")} {seconds(node.uptime)}
          </span>
        </>
      )}
    </span>
  );
}

/** Arrows move between the tabs, as the pattern of WAI-ARIA says. */
function Tabs({ tab }: { tab: string }) {
  const list = useRef<HTMLDivElement>(null);
  useEffect(() => list.current?.querySelector(`#tab-${tab}`)?.scrollIntoView({ block: "nearest", inline: "center" }), [tab]);
  const move = (event: KeyboardEvent) => {
    const step = { ArrowRight: 1, ArrowLeft: -1 }[event.key];
    if (step === undefined) return;
    const at = TABS.findIndex(([name]) => name === tab);
    const next = TABS[(at + step + TABS.length) % TABS.length]![0];
    location.hash = next;
    list.current?.querySelector<HTMLElement>(`#tab-${next}`)?.focus();
  };
  return (
    <nav aria-label={t("Dashboard")}>
      <div class="tabs" role="tablist" ref={list} onKeyDown={move}>
        {TABS.map(([name, title]) => (
          <button
            key={name}
            type="button"
            role="tab"
            id={`tab-${name}`}
            aria-selected={name === tab}
            aria-controls="panel"
            tabIndex={name === tab ? 0 : -1}
            onClick={() => (location.hash = name)}
          >
            {t(title)}
          </button>
        ))}
      </div>
    </nav>
  );
}

tokenFromAddress();
signedIn.set(token() !== "");
document.documentElement.lang = language.get();
render(<App />, document.getElementById("app")!);
