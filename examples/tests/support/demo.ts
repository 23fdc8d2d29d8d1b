// The demo as it is shipped: `pregon demo` from target/release or PREGON_BIN, with the pages that the binary carries. While pages are
// written, PREGON_PAGES=dist takes those of the folder instead, which no new binary has to be built for.

import { spawn, type ChildProcess } from "node:child_process";
import { join } from "node:path";
import { preview } from "vite";

export const repository = join(import.meta.dirname, "../../..");

export interface Facts {
  name: string;
  gateway: string;
  /** Address of its PostgreSQL database. */
  database: string;
  tokens: Record<string, string>;
}

export class Demo {
  private constructor(
    readonly url: string,
    private readonly process: ChildProcess,
  ) {}

  /** Starts one; `quiet` leaves all deeds to the test. */
  static async start({ quiet = false } = {}): Promise<Demo> {
    const binary = process.env.PREGON_BIN ?? join(repository, "target/release/pregon");
    const child = spawn(binary, ["demo", "--port", "0", ...(quiet ? ["--quiet"] : [])], { stdio: ["ignore", "pipe", "pipe"] });
    let said = "";
    const url = await new Promise<string>((resolve, reject) => {
      const hear = (text: Buffer) => {
        said += text;
        const found = said.match(/pregón demo: (\S+)/);
        if (found) resolve(found[1]!);
      };
      child.stdout.on("data", hear);
      child.stderr.on("data", hear);
      child.once("error", reject);
      child.once("exit", (code) => reject(new Error(`pregon demo ended with ${code}:\n${said}`)));
    });
    return new Demo(process.env.PREGON_PAGES ? await pages(url) : url, child);
  }

  /** Ends it in order; how it ended is part of the test. */
  async stop(): Promise<number | null> {
    if (this.process.exitCode !== null) return this.process.exitCode;
    const ended = new Promise<number | null>((resolve) => this.process.once("exit", resolve));
    this.process.kill("SIGINT");
    return ended;
  }

  async facts(name: string): Promise<Facts> {
    return (await fetch(`${this.url}/demo/${name}.json`)).json() as Promise<Facts>;
  }

  /** Does a deed, as a page would. */
  async deed(name: string, kind: string, body: object = {}): Promise<void> {
    const answer = await fetch(`${this.url}/demo/${name}/deed/${kind}`, { method: "POST", body: JSON.stringify(body) });
    if (answer.status !== 204) throw new Error(`${answer.status}: ${await answer.text()}`);
  }
}

/** Serves the folder's pages before a demo. */
async function pages(demo: string): Promise<string> {
  const root = join(repository, "examples");
  // The demo compares Origin with Host.
  const proxy = { "/demo": { target: demo, changeOrigin: false } };
  const server = await preview({ root, configFile: join(root, "vite.config.ts"), preview: { port: 0, proxy } });
  return server.resolvedUrls!.local[0]!.replace(/\/$/, "");
}
