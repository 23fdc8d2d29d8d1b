#!/usr/bin/env bash
# The type `json` keeps the text that was written, so we guessed that json_populate_record puts it into a column of that type as it stands. In
# PostgreSQL 18.4 it does so for an object; a text at the top is decoded and written anew ("\u00f1" becomes "ñ"), and half of a
# surrogate pair, which the type takes, raises an error there.
. "$(dirname "$0")/lib.sh"
with_postgres
with_sql
cat >steps.sql <<'SQL'
SELECT split_part(version(), ' on ', 1) AS version
CREATE TYPE t AS (a json, b json)
SELECT a::text, b::text FROM (SELECT '"\u00f1"'::json AS a, '{"k":"\u00f1"}'::json AS b) AS written
SELECT a::text, b::text FROM json_populate_record(NULL::t, '{"a":"\u00f1","b":{"k":"\u00f1"}}')
SELECT '"cut \ud83d"'::json::text AS a
SELECT a::text FROM json_populate_record(NULL::t, '{"a":"cut \ud83d"}')
SQL
expect '[{"version":"PostgreSQL 18.4"}]
[{"a":"\"\\u00f1\"","b":"{\"k\":\"\\u00f1\"}"}]
[{"a":"\"ñ\"","b":"{\"k\":\"\\u00f1\"}"}]
[{"a":"\"cut \\ud83d\""}]
22P02 invalid input syntax for type json' sql <steps.sql
