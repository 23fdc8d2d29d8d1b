// Sound and desktop notifications. A browser wants a click before either, so both begin silent.

import { useRef, useState } from "react";
import { membership, type Entry } from "./entry.js";

/** Two rising notes let in; two falling ones say: look at this one. */
const NOTES = { fine: [660, 880], look: [330, 220] };

export interface Alerts {
  sound: boolean;
  toggleSound(): void;
  desktop: NotificationPermission | "unsupported";
  askDesktop(): void;
  /** Tells of an entry. */
  tell(entry: Entry, title: string, body: string): void;
}

export function useAlerts(): Alerts {
  const audio = useRef<AudioContext>(undefined);
  const [sound, setSound] = useState(false);
  const [desktop, setDesktop] = useState<Alerts["desktop"]>(() =>
    "Notification" in window ? Notification.permission : "unsupported",
  );

  const toggleSound = () => {
    audio.current ??= new AudioContext();
    void audio.current.resume();
    if (!sound) play(audio.current, NOTES.fine);
    setSound(!sound);
  };
  const tell = (entry: Entry, title: string, body: string) => {
    const look = ["expired", "unknown"].includes(membership(entry));
    if (sound && audio.current) play(audio.current, look ? NOTES.look : NOTES.fine);
    if (desktop === "granted") new Notification(title, { body, tag: "entrada" });
  };
  const askDesktop = () => void Notification.requestPermission().then(setDesktop);
  return { sound, toggleSound, desktop, askDesktop, tell };
}

function play(audio: AudioContext, notes: number[]): void {
  notes.forEach((frequency, i) => {
    const [tone, volume] = [audio.createOscillator(), audio.createGain()];
    const begin = audio.currentTime + i * 0.13;
    tone.frequency.value = frequency;
    volume.gain.setValueAtTime(0.12, begin);
    volume.gain.exponentialRampToValueAtTime(0.001, begin + 0.22);
    tone.connect(volume).connect(audio.destination);
    tone.start(begin);
    tone.stop(begin + 0.25);
  });
}
