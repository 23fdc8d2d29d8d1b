#!/usr/bin/env bash
# In the logical replication protocol a deleted row comes as K (the columns of the key) or as O (the whole old row), so we guessed that nulls in an O
# are nulls of the table. In PostgreSQL 18.4, with publish_via_partition_root and a root that has REPLICA IDENTITY FULL, a partition
# made with its own default identity logs only its key, and the message says O all the same: n is 10 in the table and null there.
. "$(dirname "$0")/lib.sh"
with_postgres -c wal_level=logical
with_sql
cat >steps.sql <<'SQL'
SELECT split_part(version(), ' on ', 1) AS version
CREATE TABLE t (id int PRIMARY KEY, n int) PARTITION BY LIST (id)
ALTER TABLE t REPLICA IDENTITY FULL
CREATE TABLE t_1 PARTITION OF t FOR VALUES IN (1)
CREATE PUBLICATION p FOR TABLE t WITH (publish_via_partition_root)
SELECT slot_name FROM pg_create_logical_replication_slot('s', 'pgoutput')
INSERT INTO t VALUES (1, 10)
SELECT n AS "in the table" FROM t
DELETE FROM t
SELECT encode(substring(data FROM 6), 'hex') AS "after D and the relation" FROM pg_logical_slot_get_binary_changes('s', NULL, NULL, 'proto_version', '1', 'publication_names', 'p') WHERE get_byte(data, 0) = ascii('D')
SQL
# 4f is O; then two columns: a text (74) of one byte, "1", and a null (6e).
expect '[{"version":"PostgreSQL 18.4"}]
[{"slot_name":"s"}]
[{"in the table":10}]
[{"after D and the relation":"4f00027400000001316e"}]' sql <steps.sql
