#!/usr/bin/env bash
# A channel named after a tenant's id is soon longer than 63 bytes. We guessed that LISTEN refuses it, or that all ways of notifying reach the
# listener. In PostgreSQL 18.4 LISTEN and NOTIFY cut the name (a notice), and pg_notify refuses it; postgres.js 3.4.9 says that it
# listens, and never calls its listener, because what comes has the cut name. Two tenants whose names begin alike share a channel.
. "$(dirname "$0")/lib.sh"
with_npm postgres@3.4.9 pg@8.23.1
with_postgres
cat >names.mjs <<'JS'
import postgres from "postgres";
import pg from "pg";
const names = ["1", "2"].map((n) => `conversation_of_tenant_00000000-0000-0000-0000-000000000000_number_${n}`);
const client = new pg.Client();
const heard = [];
client.on("notice", (notice) => console.log("notice:", notice.message.replace(/"[^"]*"/g, '"…"')));
client.on("notification", ({ channel, payload }) => heard.push(`pg heard "${payload}" on a name of ${channel.length} bytes`));
await client.connect();
await client.query(`LISTEN "${names[0]}"`);
const sql = postgres({ host: process.env.PGHOST, onnotice: () => {} });
await sql.listen(names[0], (payload) => heard.push(`postgres.js heard "${payload}"`));
const done = new Promise((resolve) => sql.listen("end", resolve));
await client.query("SELECT pg_notify($1, 'by pg_notify')", [names[0]]).catch(({ code, message }) => console.log("pg_notify:", code, message));
await client.query(`NOTIFY "${names[0]}", 'to the first'`);
await client.query(`NOTIFY "${names[1]}", 'to the second'`);
await client.query("NOTIFY \"end\"");
await done;
heard.forEach((line) => console.log(line));
process.exit(0);
JS
expect 'notice: identifier "…" will be truncated to "…"
pg_notify: 22023 channel name too long
notice: identifier "…" will be truncated to "…"
notice: identifier "…" will be truncated to "…"
pg heard "to the first" on a name of 63 bytes
pg heard "to the second" on a name of 63 bytes' node names.mjs
