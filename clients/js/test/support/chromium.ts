// A real Chromium without a window, steered by its own protocol.

import { existsSync as exists } from "node:fs";
import { createServer } from "node:http";
import { onTestFinished } from "vitest";
import WebSocket from "ws";
import { Child, scratch } from "./process";

const NAMES = ["chromium", "chromium-browser", "google-chrome"];
const FLAGS = [
  "--headless=new",
  "--no-sandbox",
  "--disable-gpu",
  "--disable-dev-shm-usage",
  "--no-first-run",
  "--remote-debugging-port=0",
];

/** Files by path, with their text or where to read it. */
export type Site = (path: string) => { type: string; text: string } | undefined;

/** Serves a site for the test. */
export async function serve(site: Site): Promise<string> {
  const server = createServer((request, response) => {
    const found = site(new URL(request.url!, "http://x").pathname);
    if (found) response.writeHead(200, { "Content-Type": found.type }).end(found.text);
    else response.writeHead(404).end();
  });
  await new Promise<void>((resolve) => server.listen(0, "127.0.0.1", resolve));
  onTestFinished(() => void (server.closeAllConnections(), server.close()));
  return `http://127.0.0.1:${(server.address() as { port: number }).port}`;
}

/** A tab. */
export class Tab {
  #next = 1;
  readonly #waiting = new Map<number, (answer: any) => void>();
  /** What went wrong in the page. */
  readonly errors: string[] = [];

  private constructor(
    private readonly socket: WebSocket,
    private readonly session: string,
  ) {}

  /** Opens a browser with one tab; it ends with the test. */
  static async open(): Promise<Tab> {
    const folder = scratch("chromium");
    const name = NAMES.find((name) => process.env.PATH?.split(":").some((path) => exists(`${path}/${name}`)));
    if (!name) throw new Error("no Chromium: see scripts/setup");
    const child = new Child(name, [...FLAGS, `--user-data-dir=${folder.path}`, "about:blank"], {
      cwd: folder.path,
      env: process.env,
    });
    const [, address] = await child.said(/DevTools listening on (ws:\S+)/);
    const socket = new WebSocket(address!);
    await new Promise((resolve) => socket.once("open", resolve));
    const root = new Tab(socket, "");
    root.#listen();
    onTestFinished(async () => {
      // Killed, its helpers would still write into the folder.
      void root.#ask("Browser.close").catch(() => {});
      await child.ends(5_000);
      await child.end("SIGKILL");
      socket.terminate();
      folder.remove();
    });
    const { targetId } = await root.#ask("Target.createTarget", { url: "about:blank" });
    const { sessionId } = await root.#ask("Target.attachToTarget", { targetId, flatten: true });
    const tab = new Tab(socket, sessionId);
    tab.#listen();
    for (const domain of ["Page", "Runtime"]) await tab.#ask(`${domain}.enable`);
    return tab;
  }

  async goto(url: string): Promise<void> {
    await this.#ask("Page.navigate", { url });
  }

  async reload(): Promise<void> {
    await this.#ask("Page.reload");
  }

  /** The value of an expression, or of the promise that it is. */
  async value(expression: string): Promise<any> {
    const { result, exceptionDetails } = await this.#ask("Runtime.evaluate", {
      expression,
      awaitPromise: true,
      returnByValue: true,
    });
    if (exceptionDetails) throw new Error(exceptionDetails.exception?.description ?? exceptionDetails.text);
    return result.value;
  }

  #listen(): void {
    this.socket.on("message", (text) => {
      const message = JSON.parse(String(text));
      if ((message.sessionId ?? "") !== this.session) return;
      if (message.method === "Runtime.exceptionThrown")
        this.errors.push(message.params.exceptionDetails.exception?.description ?? "?");
      this.#waiting.get(message.id)?.(message);
      this.#waiting.delete(message.id);
    });
  }

  async #ask(method: string, params: object = {}): Promise<any> {
    const id = this.#next++;
    const answer = new Promise<any>((resolve) => this.#waiting.set(id, resolve));
    this.socket.send(JSON.stringify({ id, method, params, ...(this.session && { sessionId: this.session }) }));
    const { result, error } = await answer;
    if (error) throw new Error(`${method}: ${error.message}`);
    return result;
  }
}
