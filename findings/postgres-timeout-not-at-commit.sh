#!/usr/bin/env bash
# We guessed that statement_timeout bounds every statement, COMMIT too. In PostgreSQL 18.4 what runs while a transaction commits, deferred
# constraint triggers and deferred foreign keys, is not under it: with a limit of 200 ms a COMMIT takes the 1.5 s of its trigger, and so
# does an INSERT that commits by itself.
. "$(dirname "$0")/lib.sh"
with_postgres
with_sql
cat >steps.sql <<'SQL'
SELECT split_part(version(), ' on ', 1) AS version
CREATE TABLE t (id int, at timestamptz DEFAULT clock_timestamp())
CREATE TABLE took (what text, long_enough boolean)
CREATE FUNCTION slow() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN PERFORM pg_sleep(1.5); INSERT INTO took VALUES ('deferred trigger of row ' || NEW.id, clock_timestamp() - NEW.at > '1.4 s'); RETURN NULL; END $$
CREATE CONSTRAINT TRIGGER slow AFTER INSERT ON t DEFERRABLE INITIALLY DEFERRED FOR EACH ROW EXECUTE FUNCTION slow()
SET statement_timeout = '200ms'
SELECT pg_sleep(1.5)
INSERT INTO t VALUES (1)
BEGIN
INSERT INTO t VALUES (2)
COMMIT
SELECT what, long_enough FROM took ORDER BY what
SQL
expect '[{"version":"PostgreSQL 18.4"}]
57014 canceling statement due to statement timeout
[{"what":"deferred trigger of row 1","long_enough":true},{"what":"deferred trigger of row 2","long_enough":true}]' sql <steps.sql
