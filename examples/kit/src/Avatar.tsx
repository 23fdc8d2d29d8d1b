// A face for a name, drawn and not fetched: the same name always looks the same.

import { useId } from "react";

const SKINS = ["#f3d2b3", "#e8b98f", "#c98f62", "#9c6a43", "#74492b"];
const HAIRS = ["#1f1712", "#382619", "#c9c2b8", "#6b3f22", "#8c2f24", "#b98a4b"];
/** Of the hairs, those that stand out from each skin. */
const FITTING = [6, 5, 3, 3, 3];
const GROUNDS = ["#d8e2dc", "#e6d3c4", "#cfdcec", "#e9d8e6", "#dfe3c3", "#f0dca8"];
const CLOTHES = ["#2f5d62", "#8a3b12", "#39507a", "#6d3b5e", "#55702f", "#99621e"];

/** FNV-1a. */
function hash(text: string): number {
  let value = 0x811c9dc5;
  for (const char of text) value = Math.imul(value ^ char.codePointAt(0)!, 0x01000193) >>> 0;
  return value;
}

const pick = (list: string[], seed: number, shift: number) => list[(seed >>> shift) % list.length];

/** Decoration beside a name that is written out. */
export function Avatar({ name, size = 48 }: { name: string; size?: number }) {
  const seed = hash(name);
  const clip = useId();
  const skin = pick(SKINS, seed, 3)!;
  const hair = pick(HAIRS.slice(0, FITTING[SKINS.indexOf(skin)]), seed, 7);
  return (
    <svg className="avatar" viewBox="0 0 64 64" width={size} height={size} aria-hidden="true" focusable="false">
      <clipPath id={clip}>
        <rect width="64" height="64" rx="20" />
      </clipPath>
      <g clipPath={`url(#${clip})`}>
        <rect width="64" height="64" fill={pick(GROUNDS, seed, 11)} />
        {(seed >>> 19) % 3 === 0 && <path d="M17 28c0-24 30-24 30 0v22H17z" fill={hair} />}
        <path d="M8 66c2-15 12-18 24-18s22 3 24 18z" fill={pick(CLOTHES, seed, 15)} />
        <rect x="27" y="38" width="10" height="13" rx="5" fill={skin} />
        <ellipse cx="32" cy="29" rx="12" ry="14" fill={skin} />
        <path d={HAIRCUTS[(seed >>> 23) % HAIRCUTS.length]} fill={hair} />
        <circle cx="27.5" cy="30" r="1.4" fill="#2b2118" />
        <circle cx="36.5" cy="30" r="1.4" fill="#2b2118" />
        <path d="M28 36.5q4 3 8 0" stroke="#2b2118" strokeWidth="1.3" fill="none" strokeLinecap="round" />
      </g>
    </svg>
  );
}

const HAIRCUTS = [
  "M19 30c-2-20 28-20 26 0-1-8-6-10-13-10s-12 2-13 10z",
  "M18 31c-3-22 30-24 28-2-3-5-9-8-16-11-4 4-9 6-12 13z",
  "M19 27c0-17 26-17 26 0-4-4-8-6-13-6s-9 2-13 6z",
  "M19 31c-4-21 26-25 27-1-4-3-6-7-8-11-6 5-14 5-19 12z",
];
