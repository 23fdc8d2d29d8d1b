// Child processes of a test: started with a folder of their own, their words kept, ended with the test.

import { spawn, type ChildProcess } from "node:child_process";
import { mkdtempSync, rmSync } from "node:fs";
import { createServer } from "node:net";
import { tmpdir } from "node:os";
import { join } from "node:path";

export class Child {
  #process: ChildProcess;
  #lines = "";
  #ended: Promise<void>;

  constructor(command: string, args: string[], options: { cwd: string; env?: NodeJS.ProcessEnv }) {
    this.#process = spawn(command, args, { ...options, stdio: ["ignore", "pipe", "pipe"] });
    this.#process.stdout?.on("data", (text) => (this.#lines += text));
    this.#process.stderr?.on("data", (text) => (this.#lines += text));
    this.#ended = new Promise((resolve) => {
      this.#process.once("exit", () => resolve());
      this.#process.once("error", (error) => ((this.#lines += error), resolve()));
    });
  }

  get log(): string {
    return this.#lines;
  }

  /** Waits for a line; what the process said is in the error. */
  async said(pattern: RegExp): Promise<RegExpMatchArray> {
    for (let tries = 0; tries < 400; tries++) {
      const found = this.#lines.match(pattern);
      if (found) return found;
      const ended = await Promise.race([this.#ended.then(() => true), pause(25).then(() => false)]);
      if (ended) break;
    }
    throw new Error(`no ${pattern} in:\n${this.#lines}`);
  }

  /** Waits for it to end by itself, so long. */
  async ends(ms: number): Promise<void> {
    await Promise.race([this.#ended, pause(ms)]);
  }

  async end(signal: NodeJS.Signals = "SIGTERM"): Promise<void> {
    this.#process.kill(signal);
    await this.#ended;
  }
}

/** Between two looks at a condition. */
export const pause = (ms: number) => new Promise((resolve) => setTimeout(resolve, ms));

/** A folder that goes with the test. */
export function scratch(name: string): { path: string; remove(): void } {
  const path = mkdtempSync(join(tmpdir(), `pregon-js-${name}-`));
  return { path, remove: () => rmSync(path, { recursive: true, force: true, maxRetries: 20, retryDelay: 50 }) };
}

/** A port that is free now. */
export async function freePort(): Promise<number> {
  const server = createServer();
  await new Promise<void>((resolve) => server.listen(0, "127.0.0.1", resolve));
  const { port } = server.address() as { port: number };
  await new Promise((resolve) => server.close(resolve));
  return port;
}
