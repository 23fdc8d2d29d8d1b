// The demo's first page: the examples side by side, and what goes into each of them at this moment.

import { StrictMode, useEffect, useState } from "react";
import { createRoot } from "react-dom/client";
import { Shell, useText, type Facts, type Statement } from "@pregon/example-kit";
import "../kit/src/tokens.css";
import "../kit/src/kit.css";
import "./home.css";
import { words } from "./words.js";

type Example = Pick<Facts, "name" | "gateway" | "shell" | "adminUrl">;

function Home({ examples }: { examples: Example[] }) {
  const t = useText(words);
  const newest = useNewest();
  return (
    <Shell title={t.title} lead={t.lead}>
      <ul className="examples">
        {examples.map((example) => (
          <Card key={example.name} example={example} newest={newest[example.name]} />
        ))}
      </ul>
      <p className="faint end">{t.end}</p>
    </Shell>
  );
}

function Card({ example, newest }: { example: Example; newest: Statement | undefined }) {
  const t = useText(words);
  const about = t.about[example.name];
  return (
    <li className="card example">
      <h2>
        <a href={`/${example.name}/`}>{about?.title ?? example.name}</a>
      </h2>
      <p>{about?.text}</p>
      <p className="faint">{about?.with}</p>
      <div className="now">
        <p>{t.now}</p>
        <code key={newest?.n} className="arrives">
          {newest?.what ?? "…"}
        </code>
      </div>
      <dl>
        <dt>{t.gateway}</dt>
        <dd>
          <code>{example.gateway}</code>
        </dd>
        <dt>{t.own}</dt>
        <dd>
          <code>{example.shell}</code>
        </dd>
      </dl>
      <p className="row">
        <a className="button" href={`/${example.name}/`}>
          {t.open} <span className="visually-hidden">{about?.title ?? example.name}</span>
        </a>
        {example.adminUrl && (
          <a href={example.adminUrl}>
            {t.admin} <span className="visually-hidden">{about?.title ?? example.name}</span>
          </a>
        )}
      </p>
    </li>
  );
}

/** The newest statement of each example, while the page is seen. */
function useNewest(): Record<string, Statement> {
  const [newest, setNewest] = useState<Record<string, Statement>>({});
  useEffect(() => {
    let stream: EventSource | undefined;
    const seen = () => {
      stream?.close();
      if (document.visibilityState !== "visible") return;
      stream = new EventSource("/demo/strip");
      stream.onmessage = ({ data }) => {
        const statement: Statement = JSON.parse(data);
        setNewest((before) => ({ ...before, [statement.example]: statement }));
      };
    };
    seen();
    document.addEventListener("visibilitychange", seen);
    return () => {
      document.removeEventListener("visibilitychange", seen);
      stream?.close();
    };
  }, []);
  return newest;
}

const answer = await fetch("/demo.json");
createRoot(document.getElementById("root")!).render(
  <StrictMode>
    <Home examples={await answer.json()} />
  </StrictMode>,
);
