// The real gateway, from target/release/pregon or PREGON_BIN.

import { writeFileSync } from "node:fs";
import { join } from "node:path";
import { onTestFailed, onTestFinished } from "vitest";
import { Child, freePort, scratch } from "./process";

export const repository = join(import.meta.dirname, "../../../..");

export const SECRET = "a secret of thirty-two characters";
const KEY = "a key of back ends";

export class Gateway {
  #child: Child | undefined;

  private constructor(
    readonly port: number,
    private readonly config: string,
    private readonly folder: string,
    private readonly env: Record<string, string>,
  ) {}

  /** Starts one; it ends with the test. `config` is a text, or the path of a file. */
  static async start(config: string, env: Record<string, string> = {}): Promise<Gateway> {
    const folder = scratch("gateway");
    const file = config.endsWith(".toml") ? config : join(folder.path, "pregon.toml");
    if (file !== config) writeFileSync(file, config);
    const gateway = new Gateway(await freePort(), file, folder.path, env);
    onTestFailed(() => console.error(gateway.#child?.log));
    onTestFinished(async () => {
      await gateway.kill();
      folder.remove();
    });
    await gateway.run();
    return gateway;
  }

  get url(): string {
    return `http://127.0.0.1:${this.port}`;
  }

  /** Runs it, on the same port each time. */
  async run(): Promise<void> {
    const binary = process.env.PREGON_BIN ?? join(repository, "target/release/pregon");
    const { PATH, HOME } = process.env;
    const env = {
      PATH,
      HOME,
      PREGON_API_KEY: KEY,
      PREGON_DATA: join(this.folder, "data"),
      PREGON_LISTEN: `127.0.0.1:${this.port}`,
    };
    this.#child = new Child(binary, ["serve", "--config", this.config], { cwd: this.folder, env: { ...env, ...this.env } });
    await this.#child.said(/listening on http/);
    await this.ready();
  }

  async kill(signal: NodeJS.Signals = "SIGKILL"): Promise<void> {
    await this.#child?.end(signal);
  }

  /** As a back end does. */
  async publish(channel: string, event: string, data: unknown): Promise<string> {
    return (await this.publishAll([{ channel, event, data }]))[0]!;
  }

  /** Several at once. */
  async publishAll(publications: { channel: string; event: string; data: unknown }[]): Promise<string[]> {
    const response = await fetch(`${this.url}/api/publish`, {
      method: "POST",
      headers: { Authorization: `Bearer ${KEY}` },
      body: JSON.stringify(publications),
    });
    if (response.status !== 200) throw new Error(`${response.status}: ${await response.text()}`);
    return ((await response.json()) as { positions: string[] }).positions;
  }

  static readonly key = KEY;

  private async ready(): Promise<void> {
    for (;;) {
      const { status } = await fetch(`${this.url}/readyz`);
      if (status === 200) return;
      await new Promise((resolve) => setTimeout(resolve, 20));
    }
  }
}
