// The entries of the log as they come.

import { useEffect, useState } from "preact/hooks";
import { stream } from "./api";
import { json, number } from "./format";
import { t } from "./i18n";
import type { Picture } from "./overview";
import { Badge, Card, Field, Notice, Select, When } from "./parts";
import { handed } from "./state";
import type { Entry } from "./types";

/** Lines that are kept on the page. */
const KEPT = 200;

type Line = { key: number; entry?: Entry; skipped?: number };

let lines = 0;

export function Tail({ picture: { now } }: { picture: Picture }) {
  const [running, setRunning] = useState(true);
  const [channel, setChannel] = useState("");
  const [event, setEvent] = useState("");
  const [source, setSource] = useState("");
  const [applied, setApplied] = useState({ channel: "", event: "", source: "" });
  const [list, setList] = useState<Line[]>([]);
  const [error, setError] = useState("");
  useEffect(() => {
    if (!running) return;
    const stop = new AbortController();
    setError("");
    const take = (kind: string, data: any) => {
      const line: Line = kind === "entry" ? { key: lines++, entry: data } : { key: lines++, skipped: data.entries };
      if (kind !== "begin") setList((before) => [line, ...before].slice(0, KEPT));
    };
    stream("tail", applied, stop.signal, take)
      .then(() => setRunning(false))
      .catch((failed: Error) => stop.signal.aborted || (setError(failed.message), setRunning(false)));
    return () => stop.abort();
  }, [running, applied]);
  const sources = now.sources.filter(({ kind }) => kind !== "publish").map(({ name }): [string, string] => [name, name]);
  return (
    <Card title={t("Tail")} note={t("What fields hold that the source keeps encrypted is not shown.")} wide>
      <form
        class="row"
        onSubmit={(submit) => {
          submit.preventDefault();
          setList([]);
          setApplied({ channel, event, source });
          setRunning(true);
        }}
      >
        <Field
          label={t("Channel")}
          value={channel}
          set={setChannel}
          placeholder={t("a part of the name, or a pattern such as room_{id}")}
          wide
        />
        <Field label={t("Event")} value={event} set={setEvent} />
        <Select label={t("Source")} value={source} set={setSource} options={[["", t("All sources")], ...sources]} />
        <button type="submit">{t("Search")}</button>
        <button type="button" aria-pressed={!running} onClick={() => setRunning(!running)}>
          {t(running ? "Pause" : "Start")}
        </button>
        <button type="button" onClick={() => setList([])}>
          {t("Clear")}
        </button>
      </form>
      {error && <Notice bad text={error} />}
      {list.length === 0 && <p class="muted empty">{t("Waiting for entries…")}</p>}
      <div class="tail" role="group" aria-label={t("Tail")} tabIndex={0}>
        <ol>
          {list.map((line) => (
            <li key={line.key}>
              {line.entry ? (
                <One entry={line.entry} />
              ) : (
                <span class="muted">
                  {number(line.skipped ?? 0)} {t("entries left out")}
                </span>
              )}
            </li>
          ))}
        </ol>
      </div>
    </Card>
  );
}

function One({ entry }: { entry: Entry }) {
  return (
    <>
      <span class="meta">
        <When at={entry.time} /> <code>{entry.position}</code>{" "}
        {entry.gap ? (
          <Badge kind="warn">
            {t("gap")}: {entry.gap}
          </Badge>
        ) : (
          <strong>{entry.event}</strong>
        )}
        <span class="chips">
          {entry.channels.map((name) => (
            <code key={name}>{name}</code>
          ))}
        </span>
        <button
          type="button"
          class="link"
          onClick={() => handed.set({ tab: "explain", values: { event: entry.position, channel: entry.channels[0] ?? "" } })}
        >
          {t("Why?")}
          <span class="hidden">
            {" "}
            {t("Explain this entry")} {entry.position}
          </span>
        </button>
      </span>
      {!entry.gap && <code class="payload">{entry.excerpt ?? json(entry.data)}</code>}
    </>
  );
}
