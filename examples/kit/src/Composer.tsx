// A line to write on: Enter sends, and what could not be sent stays.

import { useState, type FormEvent } from "react";
import { useText } from "./text.js";

const WORDS = {
  en: { send: "Send", notSent: "It could not be sent:" },
  es: { send: "Enviar", notSent: "No se pudo enviar:" },
};

export interface ComposerProps {
  label: string;
  send: (text: string) => Promise<unknown>;
  /** Called with every keystroke. */
  type?: () => void;
}

export function Composer({ label, send, type }: ComposerProps) {
  const t = useText(WORDS);
  const [text, setText] = useState("");
  const [error, setError] = useState("");
  const submit = async (event: FormEvent) => {
    event.preventDefault();
    if (!text.trim()) return;
    try {
      await send(text.trim());
      setText("");
      setError("");
    } catch (cause) {
      setError(`${t.notSent} ${cause instanceof Error ? cause.message : cause}`);
    }
  };
  return (
    <form className="composer" onSubmit={submit}>
      <input
        value={text}
        aria-label={label}
        placeholder={label}
        autoComplete="off"
        onChange={(event) => {
          setText(event.target.value);
          type?.();
        }}
      />
      <button type="submit">{t.send}</button>
      {error && <p role="alert">{error}</p>}
    </form>
  );
}
