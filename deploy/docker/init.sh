#!/bin/sh
# Runs once, when the database is made: two tables to begin with, and the role of the gateway.
set -eu
psql -X -q -v ON_ERROR_STOP=1 -v password="$GATEWAY_PASSWORD" --username "${POSTGRES_USER:-postgres}" --dbname "$POSTGRES_DB" <<'SQL'
CREATE TABLE conversations (
    id       bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    user_id  text NOT NULL
);
CREATE TABLE messages (
    id               bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    conversation_id  bigint NOT NULL REFERENCES conversations,
    text             text NOT NULL,
    created_at       timestamptz NOT NULL DEFAULT now()
);

CREATE ROLE pregon_gateway LOGIN PASSWORD :'password';
-- Whoever may connect may also LISTEN and NOTIFY (docs/postgres.md), so nobody may who need not.
REVOKE CONNECT ON DATABASE :"DBNAME" FROM PUBLIC;
GRANT CONNECT ON DATABASE :"DBNAME" TO pregon_gateway;
-- What [[channel]] allow_sql asks. What watches need, pregón grants when it installs them.
GRANT SELECT ON conversations TO pregon_gateway;
SQL
