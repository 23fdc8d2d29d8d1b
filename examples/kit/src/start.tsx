// Begins a page: asks where the gateway is, then shows the example, or how to tell it.

import { StrictMode, type ComponentType } from "react";
import { createRoot } from "react-dom/client";
import { demo, type Facts } from "./demo.js";
import { Shell } from "./Shell.js";
import { useText } from "./text.js";
import "./tokens.css";
import "./kit.css";
import "./strip/strip.css";

/** `start("turnstile", App)` in the example's main.tsx. */
export async function start(name: string, App: ComponentType<{ facts: Facts }>): Promise<void> {
  const root = createRoot(document.getElementById("root")!);
  const facts = await demo(name);
  root.render(<StrictMode>{facts ? <App facts={facts} /> : <NoGateway name={name} />}</StrictMode>);
}

function NoGateway({ name }: { name: string }) {
  const t = useText({
    es: { title: "¿Dónde está la pasarela?", demo: "Esta página vive en la demo:", own: "o habla con la suya:" },
    en: { title: "Where is the gateway?", demo: "This page lives in the demo:", own: "or it speaks to your own:" },
  });
  return (
    <Shell title={t.title}>
      <div className="card">
        <p>
          {t.demo} <code>pregon demo</code>
        </p>
        <p>
          {t.own} <code>/{name}/?gateway=http://127.0.0.1:8080&amp;token=…</code>
        </p>
      </div>
    </Shell>
  );
}
