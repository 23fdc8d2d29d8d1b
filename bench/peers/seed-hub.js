// How the marketplace of seed 002 is built today, in Node: Redis `events` and `ws:room:*` to a hub of WebSockets that
// looks at every client's role and rooms for every message.
//   REDIS_URL=… [JWT_SECRET=…] node seed-hub.js
// With JWT_SECRET a client needs ?token=; without it the query's own role and seller_id count. ?rooms=a,b joins.
// POST /api/publish publishes `data` to ws:room:bench, where a client is that names no rooms; a benchmark may as well
// publish by itself.
import { createHmac, timingSafeEqual } from "node:crypto";
import { createServer } from "node:http";
import { createClient } from "redis";
import { WebSocketServer } from "ws";
import { body } from "./body.js";

const secret = process.env.JWT_SECRET;
const clients = new Set();

function claims(query) {
  if (!secret) return { role: query.get("role"), seller_id: query.get("seller_id") };
  const [head, payload, signature] = (query.get("token") ?? "").split(".");
  const right = createHmac("sha256", secret).update(`${head}.${payload}`).digest();
  const given = Buffer.from(signature ?? "", "base64url");
  if (given.length !== right.length || !timingSafeEqual(given, right)) return null;
  return JSON.parse(Buffer.from(payload, "base64url"));
}

function stats(text) {
  let event;
  try {
    event = JSON.parse(text);
  } catch {
    return;
  }
  for (const { socket, role, seller } of clients) {
    const wanted =
      (event.type === "ADMIN_STATS_UPDATED" && role === "ADMIN") ||
      (event.type === "SELLER_STATS_UPDATED" && role === "SELLER" && seller === String(event.seller_id));
    if (wanted) socket.send(text);
  }
}

function room(text, channel) {
  const name = channel.slice("ws:room:".length);
  for (const { socket, rooms } of clients) if (rooms.has(name)) socket.send(text);
}

const redis = createClient({ url: process.env.REDIS_URL });
const subscriber = redis.duplicate();
for (const client of [redis, subscriber]) {
  client.on("error", (error) => console.error(error));
  await client.connect();
}
await subscriber.subscribe("events", stats);
await subscriber.pSubscribe("ws:room:*", room);

const server = createServer(async (request, response) => {
  const { data } = await body(request);
  await redis.publish("ws:room:bench", JSON.stringify(data));
  response.end("{}");
});
server.keepAliveTimeout = 0; // Publishers are idle while others have their turn.
const hub = new WebSocketServer({ noServer: true, perMessageDeflate: false });
server.on("upgrade", (request, stream, head) => {
  const query = new URL(request.url, "http://hub").searchParams;
  const verified = claims(query);
  if (!verified) return stream.end("HTTP/1.1 401 Unauthorized\r\nConnection: close\r\n\r\n");
  hub.handleUpgrade(request, stream, head, (socket) => {
    const rooms = new Set((query.get("rooms") ?? "bench").split(","));
    const client = { socket, role: verified.role, seller: String(verified.seller_id), rooms };
    clients.add(client);
    socket.on("close", () => clients.delete(client));
  });
});
server.listen(0, "127.0.0.1", 8192, () => console.log(`listening on http://127.0.0.1:${server.address().port}`));
