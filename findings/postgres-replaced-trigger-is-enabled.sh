#!/usr/bin/env bash
# We guessed that CREATE OR REPLACE TRIGGER keeps whether the trigger is enabled, as CREATE OR REPLACE FUNCTION keeps owner and rights. In
# PostgreSQL 18.4 a trigger that was disabled fires again after it, and one that was ENABLE ALWAYS (for rows that a subscription
# writes) fires for local writes only. ALTER TABLE … ENABLE TRIGGER ALL, which pg_restore --disable-triggers runs, does the latter too.
. "$(dirname "$0")/lib.sh"
with_postgres
with_sql
state="SELECT tgenabled FROM pg_trigger WHERE tgname = 'x'"
make="CREATE OR REPLACE TRIGGER x AFTER INSERT ON t FOR EACH ROW EXECUTE FUNCTION f()"
cat >steps.sql <<SQL
SELECT split_part(version(), ' on ', 1) AS version
CREATE TABLE t (id int)
CREATE FUNCTION f() RETURNS trigger LANGUAGE plpgsql AS 'BEGIN RETURN NULL; END'
$make
ALTER TABLE t DISABLE TRIGGER x
$state
$make
$state
ALTER TABLE t ENABLE ALWAYS TRIGGER x
$state
$make
$state
ALTER TABLE t ENABLE ALWAYS TRIGGER x
ALTER TABLE t ENABLE TRIGGER ALL
$state
SQL
expect '[{"version":"PostgreSQL 18.4"}]
[{"tgenabled":"D"}]
[{"tgenabled":"O"}]
[{"tgenabled":"A"}]
[{"tgenabled":"O"}]
[{"tgenabled":"O"}]' sql <steps.sql
