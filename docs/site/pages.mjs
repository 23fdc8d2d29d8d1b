// The order of the site. A page of docs/ that is not here comes under "More", so that a new page is never lost.

const pages = (...names) => names.map((name) => (name.includes("/") || /^[A-Z]/.test(name) ? name : `docs/${name}.md`));

export const SECTIONS = [
  { title: "Start", pages: pages("README.md", "README.es.md", "quick-start", "listen") },
  {
    title: "Examples",
    pages: ["live-sales", "turnstile", "chat-inbox", "marketplace", "whatsapp-router"].map(
      (name) => `examples/${name}/README.md`,
    ),
  },
  { title: "Sources", pages: pages("postgres", "changing-a-table", "outbox", "switchover", "wal", "parity", "redis", "publish", "webhooks", "router", "emitters") },
  { title: "Routes and rights", pages: pages("routes-and-rights", "encryption") },
  { title: "Protocols", pages: pages("protocol", "socketio", "codes", "asyncapi") },
  {
    title: "Clients",
    pages: pages("clients", ...["client", "react", "publisher"].map((name) => `clients/js/packages/${name}/README.md`)),
  },
  { title: "Running it", pages: pages("deployment", "nodes", "operations", "dashboard", "sizing", "log", "security", "config") },
  {
    title: "Moving here",
    pages: pages("from-listen", "from-socketio-redis", "from-supabase-realtime", "from-centrifugo"),
  },
  { title: "The project", pages: pages("ARCHITECTURE.md", "CONTRIBUTING.md", "SECURITY.md", "CHANGELOG.md") },
];
