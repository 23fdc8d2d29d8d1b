// The real gateway with a dashboard, in a folder of its own; and the traffic that the page shows.

import { spawn } from "node:child_process";
import { createHmac } from "node:crypto";
import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";

export const TOKEN = "un-token-de-operador";
const KEY = "llave-de-prueba";
const SECRET = "una-clave-solo-para-las-pruebas-de-la-pagina";

const CONFIG = `
[server]
listen = "127.0.0.1:0"
api_key = "${KEY}"
[auth]
secret = "${SECRET}"
join = ["user_{sub}"]
[[webhook]]
name = "pedidos"
path = "/hooks/pedidos"
secret = "secreto-de-pedidos"
[[route]]
from = "pedidos"
when = "message.total > 100"
to = ["tienda_{tienda}", "gerencia"]
event = "pedido:{estado}"
[[channel]]
name = "tienda_{id}"
subscribe = "channel.id in claims.tiendas"
[[channel]]
name = "gerencia"
subscribe = "claims.rol == 'gerente'"
`;

const base64 = (text) => Buffer.from(text).toString("base64url");

/** A signed token. */
export function token(claims) {
  const body = `${base64('{"alg":"HS256","typ":"JWT"}')}.${base64(JSON.stringify(claims))}`;
  return `${body}.${createHmac("sha256", SECRET).update(body).digest("base64url")}`;
}

export class Gateway {
  static async start() {
    const folder = mkdtempSync(join(tmpdir(), "pregon-dashboard-"));
    writeFileSync(join(folder, "pregon.toml"), CONFIG);
    const binary = process.env.PREGON_BIN ?? new URL("../../target/release/pregon", import.meta.url).pathname;
    const env = { PATH: process.env.PATH, PREGON_ADMIN_TOKEN: TOKEN, PREGON_DATA: join(folder, "data") };
    const child = spawn(binary, ["serve", "--config", join(folder, "pregon.toml")], { cwd: folder, env });
    const gateway = new Gateway(child, folder);
    await gateway.#listening();
    return gateway;
  }

  constructor(child, folder) {
    this.child = child;
    this.folder = folder;
    this.said = "";
    for (const pipe of [child.stdout, child.stderr]) pipe.on("data", (text) => (this.said += text));
  }

  #listening() {
    return new Promise((resolve, reject) => {
      const look = () => {
        const [, url] = this.said.match(/listening on (http:\S+)/) ?? [];
        if (url) resolve((this.url = url));
      };
      this.child.stdout.on("data", look);
      this.child.once("exit", (code) => reject(new Error(`the gateway ended with ${code}: ${this.said}`)));
    });
  }

  async stop() {
    const ended = new Promise((resolve) => this.child.once("exit", resolve));
    this.child.kill("SIGTERM");
    await ended;
    rmSync(this.folder, { recursive: true });
  }

  /** A delivery of the shop, as it signs them. */
  async order(order) {
    const body = JSON.stringify(order);
    const signature = createHmac("sha256", "secreto-de-pedidos").update(body).digest("hex");
    const headers = { "X-Signature-256": signature };
    const answer = await fetch(`${this.url}/hooks/pedidos`, { method: "POST", headers, body });
    if (!answer.ok) throw new Error(`${answer.status}: ${await answer.text()}`);
  }

  async admin(path) {
    const answer = await fetch(`${this.url}/admin/api/${path}`, { headers: { Authorization: `Bearer ${TOKEN}` } });
    return answer.json();
  }
}
