#!/usr/bin/env bash
# The manual promises null from to_regclass for a name that is not found; we guessed that a name which the role cannot see is such a name. In PostgreSQL 18.4 a schema that is not there gives null, and one without USAGE raises 42501: a health
# check that asks so fails where it wanted an answer.
. "$(dirname "$0")/lib.sh"
with_postgres
with_sql
cat >steps.sql <<'SQL'
SELECT split_part(version(), ' on ', 1) AS version
CREATE ROLE reader
CREATE SCHEMA closed
CREATE TABLE closed.t (id int)
SET ROLE reader
SELECT to_regclass('nowhere.t')
SELECT to_regclass('closed.nothing')
SELECT to_regclass('closed.t')
SELECT count(*)::int AS "by the catalogue" FROM pg_class WHERE relname = 't'
SQL
expect '[{"version":"PostgreSQL 18.4"}]
[{"to_regclass":null}]
42501 permission denied for schema closed
42501 permission denied for schema closed
[{"by the catalogue":1}]' sql <steps.sql
