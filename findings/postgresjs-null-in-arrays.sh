#!/usr/bin/env bash
# An API that reads its rows with postgres.js answers beside our events, which carry PostgreSQL's own JSON. We guessed that arrays
# with a NULL come out alike. In postgres.js 3.4.9 a NULL in a text, uuid, bigint or numeric array is the text "NULL", which equals
# a real text "NULL"; in a boolean array it is false; an array of integers has null. pg 8.23.1 has null everywhere.
. "$(dirname "$0")/lib.sh"
with_npm postgres@3.4.9 pg@8.23.1
with_postgres
cat >arrays.mjs <<'JS'
import postgres from "postgres";
import pg from "pg";
const query = `SELECT ARRAY['x', NULL, 'NULL'] AS text, ARRAY[1, NULL]::bigint[] AS bigint, ARRAY[true, NULL] AS boolean, ARRAY[1, NULL] AS integer`;
const sql = postgres({ host: process.env.PGHOST });
const client = new pg.Client();
await client.connect();
console.log("to_json:", (await client.query(`SELECT row_to_json(r)::text AS json FROM (${query}) AS r`)).rows[0].json);
console.log("pg 8.23.1:", JSON.stringify((await client.query(query)).rows[0]));
console.log("postgres.js 3.4.9:", JSON.stringify((await sql.unsafe(query))[0]));
process.exit(0);
JS
expect 'to_json: {"text":["x",null,"NULL"],"bigint":[1,null],"boolean":[true,null],"integer":[1,null]}
pg 8.23.1: {"text":["x",null,"NULL"],"bigint":["1",null],"boolean":[true,null],"integer":[1,null]}
postgres.js 3.4.9: {"text":["x","NULL","NULL"],"bigint":["1","NULL"],"boolean":[true,false],"integer":[1,null]}' node arrays.mjs
