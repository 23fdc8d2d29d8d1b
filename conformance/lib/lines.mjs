// How a test steers a driver: one JSON command a line on stdin, one JSON line on stdout for whatever happens.
// Bytes are {"base64": "..."} in both directions. The driver ends when its stdin does.
import { createInterface } from "node:readline";

export function say(line) {
  process.stdout.write(`${JSON.stringify(line)}\n`);
}

// A value from a command, with its bytes as Buffers.
export function decode(value) {
  if (Array.isArray(value)) return value.map(decode);
  if (value === null || typeof value !== "object") return value;
  if (typeof value.base64 === "string" && Object.keys(value).length === 1) return Buffer.from(value.base64, "base64");
  return Object.fromEntries(Object.entries(value).map(([key, inner]) => [key, decode(inner)]));
}

// The way back; a function is the acknowledgement that the other side waits for.
export function encode(value) {
  if (typeof value === "function") return { acknowledge: true };
  if (value instanceof ArrayBuffer || ArrayBuffer.isView(value)) return { base64: Buffer.from(value).toString("base64") };
  if (Array.isArray(value)) return value.map(encode);
  if (value === null || typeof value !== "object") return value;
  return Object.fromEntries(Object.entries(value).map(([key, inner]) => [key, encode(inner)]));
}

// Runs the commands in their order, each to its end; `commands` is a table by the word of `do`.
export async function obey(commands) {
  say({ on: "ready" });
  for await (const line of createInterface({ input: process.stdin })) {
    if (!line.trim()) continue;
    try {
      const command = JSON.parse(line);
      const obeyed = commands[command.do];
      if (!obeyed) throw new Error(`no such command: ${command.do}`);
      await obeyed(command);
    } catch (error) {
      say({ on: "error", message: String(error.message ?? error), command: line });
    }
  }
  process.exit(0);
}
