// The unmodified @socket.io/redis-emitter: node emitters/redis.mjs redis://127.0.0.1:PORT [KEY]
// Commands are in driver.mjs; KEY is the emitter's option of that name.
import { Emitter } from "@socket.io/redis-emitter";
import { createClient } from "redis";
import { say } from "../lib/lines.mjs";
import { drive } from "./driver.mjs";

const [url, key] = process.argv.slice(2);
const client = createClient({ url });
client.on("error", (error) => say({ on: "error", message: error.message }));
await client.connect();
// Redis takes the commands of one connection in their order.
await drive(new Emitter(client, key ? { key } : {}), () => client.ping());
