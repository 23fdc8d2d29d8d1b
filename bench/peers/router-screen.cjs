// Sends signed messages to `pregon router` one after the other and waits for each on an agent's socket.io-client: milliseconds from
// the POST to the screen, as JSON {p50, p99, messages}. The commit lies between the two, so the way from it is shorter.
//   node router-screen.cjs WEBHOOK GATEWAY MESSAGES PER_SECOND
const { createHmac } = require("node:crypto");
const { setTimeout: sleep } = require("node:timers/promises");
const { io } = require("socket.io-client");

const [webhook, gateway, messages, rate] = process.argv.slice(2);
const SECRET = "s"; // Of the webhook.
const KEY = "una-clave-solo-para-medir-1234567890"; // Of the token.

function token(claims) {
  const parts = [{ alg: "HS256", typ: "JWT" }, claims].map((part) => Buffer.from(JSON.stringify(part)).toString("base64url"));
  return `${parts.join(".")}.${createHmac("sha256", KEY).update(parts.join(".")).digest("base64url")}`;
}

function delivery(text, number) {
  const message = { id: `wamid.${text}`, from: `52155${number % 50}`, timestamp: "1764000000", type: "text", text: { body: text } };
  const value = { messaging_product: "whatsapp", metadata: { phone_number_id: "109" }, messages: [message] };
  return JSON.stringify({ object: "whatsapp_business_account", entry: [{ id: "1", changes: [{ field: "messages", value }] }] });
}

async function post(body) {
  const signature = `sha256=${createHmac("sha256", SECRET).update(body).digest("hex")}`;
  const headers = { "content-type": "application/json", "x-hub-signature-256": signature };
  const answer = await fetch(webhook, { method: "POST", body, headers });
  if (answer.status !== 200) throw new Error(`${answer.status}: ${await answer.text()}`);
}

async function main() {
  const agent = io(gateway, { transports: ["websocket"], auth: { token: token({ sub: 1, area: "general" }) } });
  await new Promise((resolve, reject) => agent.once("connect", resolve).once("connect_error", reject));
  const waiting = new Map();
  agent.on("conversation:updated", (line) => waiting.get(line.ultimo_mensaje)?.(performance.now()));
  const times = [];
  for (let number = 0; number < Number(messages) + 50; number += 1) {
    const text = `m${number}`;
    const shown = new Promise((resolve) => waiting.set(text, resolve));
    const begun = performance.now();
    await post(delivery(text, number));
    const late = sleep(10_000, undefined, { ref: false }).then(() => Promise.reject(new Error(`${text} did not appear`)));
    const took = (await Promise.race([shown, late])) - begun;
    if (number >= 50) times.push(took); // The first ones warm caches, plans and sockets.
    await sleep(Math.max(0, 1000 / Number(rate) - (performance.now() - begun)));
  }
  times.sort((a, b) => a - b);
  const at = (part) => times[Math.floor(times.length * part)];
  console.log(JSON.stringify({ p50: at(0.5), p99: at(0.99), messages: times.length }));
  agent.close();
}

main().catch((error) => {
  console.error(error.message);
  process.exit(1);
});
