// A network between client and gateway that can be cut, silenced, and that may let no WebSocket through.

import { connect, createServer, type Server, type Socket } from "node:net";
import { onTestFinished } from "vitest";

export class Relay {
  readonly #sockets = new Set<Socket>();
  #server: Server;
  /** How many connections were made. */
  connections = 0;
  /** Refuses upgrades, as some company networks do. */
  blocksWebSockets = false;
  /** How many of them asked for a WebSocket. A browser opens others ahead of time, on which it may never ask for anything. */
  webSockets = 0;
  /** Ends new connections at once. */
  down = false;
  /** How many connections break when the gateway answers, so that the client does not learn what became of its request. */
  swallowAnswers = 0;

  private constructor(private readonly port: number) {
    this.#server = createServer((near) => this.#join(near));
  }

  static async to(port: number): Promise<Relay> {
    const relay = new Relay(port);
    await new Promise<void>((resolve) => relay.#server.listen(0, "127.0.0.1", resolve));
    onTestFinished(() => relay.close());
    return relay;
  }

  get url(): string {
    return `http://127.0.0.1:${(this.#server.address() as { port: number }).port}`;
  }

  /** Breaks every connection. */
  cut(): void {
    for (const socket of this.#sockets) socket.destroy();
  }

  /** Connections stay and nothing comes through any more, as after a change of network. New ones are not concerned. */
  silence(): void {
    for (const socket of this.#sockets) socket.pause().unpipe();
  }

  close(): Promise<void> {
    this.cut();
    return new Promise((resolve) => this.#server.close(() => resolve()));
  }

  #join(near: Socket): void {
    if (this.down) return void near.destroy();
    this.connections += 1;
    near.once("data", (head) => {
      const asksForWebSocket = /\r\nupgrade: websocket/i.test(head.toString("latin1"));
      if (asksForWebSocket) this.webSockets += 1;
      if (this.blocksWebSockets && asksForWebSocket) {
        near.end("HTTP/1.1 403 Forbidden\r\nContent-Length: 0\r\nConnection: close\r\n\r\n");
        return;
      }
      const far = connect(this.port, "127.0.0.1");
      for (const [socket, other] of [
        [near, far],
        [far, near],
      ] as const) {
        this.#sockets.add(socket);
        socket.on("error", () => other.destroy());
        socket.on("close", () => (this.#sockets.delete(socket), other.destroy()));
      }
      far.write(head);
      near.pipe(far);
      if (this.swallowAnswers > 0) {
        this.swallowAnswers -= 1;
        far.once("data", () => near.destroy());
      } else {
        far.pipe(near);
      }
    });
    near.on("error", () => {});
  }
}
