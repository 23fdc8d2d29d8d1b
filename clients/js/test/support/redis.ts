// A real Redis of the test's own.

import { onTestFinished } from "vitest";
import { Child, freePort, scratch } from "./process";

export class Redis {
  #child: Child | undefined;

  private constructor(
    readonly port: number,
    private readonly folder: string,
    private readonly password: string,
  ) {}

  static async start(password = ""): Promise<Redis> {
    const folder = scratch("redis");
    const redis = new Redis(await freePort(), folder.path, password);
    onTestFinished(async () => {
      await redis.stop();
      folder.remove();
    });
    await redis.run();
    return redis;
  }

  get url(): string {
    return `redis://127.0.0.1:${this.port}`;
  }

  async run(): Promise<void> {
    const args = ["--port", `${this.port}`, "--bind", "127.0.0.1", "--save", "", "--appendonly", "no"];
    if (this.password) args.push("--requirepass", this.password);
    this.#child = new Child("redis-server", args, { cwd: this.folder });
    await this.#child.said(/Ready to accept connections/);
  }

  async stop(): Promise<void> {
    await this.#child?.end("SIGKILL");
  }
}
