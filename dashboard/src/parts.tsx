// The small pieces that every tab is built of.

import type { ComponentChildren } from "preact";
import { useEffect, useRef, useState } from "preact/hooks";
import { ago, clock } from "./format";
import { t } from "./i18n";

export function Card(props: {
  title: string;
  note?: string;
  children: ComponentChildren;
  wide?: boolean;
  actions?: ComponentChildren;
}) {
  return (
    <section class={props.wide ? "card wide" : "card"}>
      <header>
        <h2>{props.title}</h2>
        {props.note && <span class="muted">{props.note}</span>}
        {props.actions && <span class="actions">{props.actions}</span>}
      </header>
      {props.children}
    </section>
  );
}

export function Figure(props: { title: string; value: string; note?: string; alarm?: boolean }) {
  return (
    <div class={props.alarm ? "figure alarm" : "figure"}>
      <dt>{props.title}</dt>
      <dd>
        <strong>{props.value}</strong>
        {props.note && <span class="muted">{props.note}</span>}
      </dd>
    </div>
  );
}

export interface Column<Row> {
  title: string;
  of: (row: Row) => ComponentChildren;
  numeric?: boolean;
}

/** A table that can be scrolled by keyboard where it is wider than the screen. */
export function Table<Row>(props: {
  caption: string;
  columns: Column<Row>[];
  rows: Row[];
  id: (row: Row) => string;
  empty: string;
}) {
  if (props.rows.length === 0) return <p class="muted empty">{props.empty}</p>;
  return (
    <div class="scroll" tabIndex={0} role="group" aria-label={props.caption}>
      <table>
        <caption class="hidden">{props.caption}</caption>
        <thead>
          <tr>
            {props.columns.map((column) => (
              <th key={column.title} scope="col" class={column.numeric ? "numeric" : undefined}>
                {column.title}
              </th>
            ))}
          </tr>
        </thead>
        <tbody>
          {props.rows.map((row) => (
            <tr key={props.id(row)}>
              {props.columns.map((column) => (
                <td key={column.title} class={column.numeric ? "numeric" : undefined}>
                  {column.of(row)}
                </td>
              ))}
            </tr>
          ))}
        </tbody>
      </table>
    </div>
  );
}

export function Badge(props: { kind: "good" | "bad" | "warn" | "plain"; children: ComponentChildren }) {
  return <span class={`badge ${props.kind}`}>{props.children}</span>;
}

export function Field(props: {
  label: string;
  value: string;
  set: (value: string) => void;
  placeholder?: string;
  list?: string[];
  wide?: boolean;
}) {
  const id = `list-${props.label.replace(/\W/g, "")}`;
  return (
    <label class={props.wide ? "field wide" : "field"}>
      <span>{props.label}</span>
      <input
        value={props.value}
        placeholder={props.placeholder}
        list={props.list && id}
        autocomplete="off"
        spellcheck={false}
        onInput={(event) => props.set(event.currentTarget.value)}
      />
      {props.list && (
        <datalist id={id}>
          {props.list.map((name) => (
            <option key={name} value={name} />
          ))}
        </datalist>
      )}
    </label>
  );
}

export function Select(props: { label: string; value: string; set: (value: string) => void; options: [string, string][] }) {
  return (
    <label class="field">
      <span>{props.label}</span>
      <select value={props.value} onChange={(event) => props.set(event.currentTarget.value)}>
        {props.options.map(([value, text]) => (
          <option key={value} value={value}>
            {text}
          </option>
        ))}
      </select>
    </label>
  );
}

export function Area(props: { label: string; value: string; set: (value: string) => void; rows?: number }) {
  return (
    <label class="field wide">
      <span>{props.label}</span>
      <textarea
        rows={props.rows ?? 4}
        spellcheck={false}
        value={props.value}
        onInput={(event) => props.set(event.currentTarget.value)}
      />
    </label>
  );
}

/** What went wrong, or well, told to everybody. */
export function Notice(props: { text: string; bad?: boolean }) {
  return (
    <p class={props.bad ? "notice bad" : "notice"} role={props.bad ? "alert" : "status"}>
      {props.text}
    </p>
  );
}

export function When(props: { at: string | number | null | undefined }) {
  if (props.at === null || props.at === undefined) return <>—</>;
  return (
    <time dateTime={new Date(props.at).toISOString()} title={ago(props.at)}>
      {clock(props.at)}
    </time>
  );
}

/** Asks before something is done that cannot be undone. */
export function Ask(props: { text: string; confirm: () => void; cancel: () => void }) {
  const dialog = useRef<HTMLDialogElement>(null);
  useEffect(() => {
    const shown = dialog.current!;
    shown.showModal();
    return () => shown.close();
  }, []);
  return (
    <dialog ref={dialog} onCancel={props.cancel} aria-label={props.text}>
      <p>{props.text}</p>
      <div class="row">
        <button type="button" class="danger" onClick={props.confirm}>
          {t("Confirm")}
        </button>
        <button type="button" onClick={props.cancel}>
          {t("Cancel")}
        </button>
      </div>
    </dialog>
  );
}

/** Runs something that may fail; gives what it said. */
export function useTask(): { busy: boolean; error: string; run: (task: () => Promise<void>) => Promise<void> } {
  const [busy, setBusy] = useState(false);
  const [error, setError] = useState("");
  const run = async (task: () => Promise<void>) => {
    setBusy(true);
    setError("");
    try {
      await task();
    } catch (failed) {
      setError(failed instanceof Error ? failed.message : String(failed));
    }
    setBusy(false);
  };
  return { busy, error, run };
}
