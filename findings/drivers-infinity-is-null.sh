#!/usr/bin/env bash
# An API reads its rows with a driver, and events carry PostgreSQL's own JSON; we guessed that a date without an end comes out of both. With
# pg 8.23.1 and postgres.js 3.4.9 `infinity` (a price that is valid for ever) is null, as if there were none; so are infinite floats, and
# in postgres.js dates before Christ. A screen that merges both shows another row than the table's.
. "$(dirname "$0")/lib.sh"
with_npm postgres@3.4.9 pg@8.23.1
with_postgres
cat >dates.mjs <<'JS'
import postgres from "postgres";
import pg from "pg";
const query = `SELECT 'infinity'::timestamptz AS valid_until, '{-infinity}'::date[] AS days, 'Infinity'::float8 AS "limit", '0044-03-15 BC'::date AS ides`;
const sql = postgres({ host: process.env.PGHOST });
const client = new pg.Client();
await client.connect();
console.log("row_to_json:", (await client.query(`SELECT row_to_json(r)::text AS json FROM (${query}) AS r`)).rows[0].json);
console.log("pg 8.23.1:", JSON.stringify((await client.query(query)).rows[0]));
console.log("postgres.js 3.4.9:", JSON.stringify((await sql.unsafe(query))[0]));
process.exit(0);
JS
export TZ=UTC
expect 'row_to_json: {"valid_until":"infinity","days":["-infinity"],"limit":"Infinity","ides":"0044-03-15 BC"}
pg 8.23.1: {"valid_until":null,"days":[null],"limit":null,"ides":"-000043-03-15T00:00:00.000Z"}
postgres.js 3.4.9: {"valid_until":null,"days":[null],"limit":null,"ides":null}' node dates.mjs
