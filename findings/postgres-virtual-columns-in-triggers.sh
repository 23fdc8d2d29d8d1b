#!/usr/bin/env bash
# We guessed that a trigger sees a row as a query shows it. In PostgreSQL 18.4 a virtual generated column is NULL in NEW inside the function
# of an AFTER trigger, also in `to_json(NEW)`, without an error, while the WHEN condition of the same trigger sees its value. What a
# trigger copies into an audit table, an outbox or a notification says null where the table says 40.
. "$(dirname "$0")/lib.sh"
with_postgres
with_sql
cat >steps.sql <<'SQL'
SELECT split_part(version(), ' on ', 1) AS version
CREATE TABLE t (a int, b int GENERATED ALWAYS AS (a * 2) VIRTUAL)
CREATE TABLE audit (seen json)
CREATE FUNCTION copy() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN INSERT INTO audit VALUES (to_json(NEW)); RETURN NULL; END $$
CREATE TRIGGER copy AFTER INSERT ON t FOR EACH ROW WHEN (NEW.b = 40) EXECUTE FUNCTION copy()
INSERT INTO t VALUES (20)
SELECT row_to_json(t) AS "the table", seen AS "the trigger" FROM t, audit
SQL
expect '[{"version":"PostgreSQL 18.4"}]
[{"the table":{"a":20,"b":40},"the trigger":{"a":20,"b":null}}]' sql <steps.sql
