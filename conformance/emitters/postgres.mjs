// The unmodified @socket.io/postgres-emitter: node emitters/postgres.mjs postgres://… [CHANNEL-PREFIX]
// Commands are in driver.mjs. The table socket_io_attachments must be there, as the emitter's own manual says.
import { Emitter } from "@socket.io/postgres-emitter";
import pg from "pg";
import { say } from "../lib/lines.mjs";
import { drive } from "./driver.mjs";

const [connectionString, channelPrefix] = process.argv.slice(2);
const pool = new pg.Pool({ connectionString, max: 1 });
pool.on("error", (error) => say({ on: "error", message: error.message }));

// The emitter gives no promise and hides a failure, so its queries are watched on their way.
let running = [];
const watched = {
  query(...words) {
    const query = pool.query(...words);
    running.push(query);
    return query;
  },
};

async function taken() {
  while (running.length) {
    const queries = running;
    running = [];
    await Promise.all(queries);
    // A large payload is an insert first and a notification after it.
    await new Promise(setImmediate);
  }
}

await drive(new Emitter(watched, "/", channelPrefix ? { channelPrefix } : {}), taken);
