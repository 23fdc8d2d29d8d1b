#!/usr/bin/env bash
# A trigger function runs without EXECUTE for whoever writes the table, so we guessed that it also costs nothing to make a partition of a table with
# a row trigger. In PostgreSQL 18.4 the owner of the table cannot: CREATE TABLE … PARTITION OF and ATTACH PARTITION copy the trigger,
# and that asks for EXECUTE on its function (42501, with no function named). A job that makes next month's partition then fails.
. "$(dirname "$0")/lib.sh"
with_postgres
with_sql
cat >steps.sql <<'SQL'
SELECT split_part(version(), ' on ', 1) AS version
CREATE ROLE shop
CREATE SCHEMA shop AUTHORIZATION shop
GRANT USAGE ON SCHEMA public TO shop
CREATE FUNCTION audit() RETURNS trigger LANGUAGE plpgsql AS 'BEGIN RETURN NULL; END'
REVOKE EXECUTE ON FUNCTION audit FROM PUBLIC
CREATE TABLE shop.t (id int) PARTITION BY LIST (id)
CREATE TABLE shop.t_1 PARTITION OF shop.t FOR VALUES IN (1)
CREATE TABLE shop.t_2 (id int)
CREATE TRIGGER audit AFTER INSERT ON shop.t FOR EACH ROW EXECUTE FUNCTION audit()
ALTER TABLE shop.t OWNER TO shop
ALTER TABLE shop.t_1 OWNER TO shop
ALTER TABLE shop.t_2 OWNER TO shop
SET ROLE shop
INSERT INTO shop.t VALUES (1) RETURNING 'written' AS "a row"
CREATE TABLE shop.t_3 PARTITION OF shop.t FOR VALUES IN (3)
ALTER TABLE shop.t ATTACH PARTITION shop.t_2 FOR VALUES IN (2)
SQL
expect '[{"version":"PostgreSQL 18.4"}]
[{"a row":"written"}]
42501 permission denied for function
42501 permission denied for function' sql <steps.sql
