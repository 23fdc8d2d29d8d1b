#!/usr/bin/env bash
# An API in Python reads with one of three drivers, and we guessed that they agree on dates and times that PostgreSQL has and Python has not. psycopg2
# 2.9.10 and asyncpg 0.30.0 make the last day of 9999 of `infinity`, which is then no more told from that day; psycopg 3.2.10 raises an error. The
# end of a day, 24:00, is its beginning in psycopg2 and an error in the two others. A month is thirty days in all three.
. "$(dirname "$0")/lib.sh"
with_pip 'psycopg[binary]==3.2.10' psycopg2-binary==2.9.10 asyncpg==0.30.0
with_postgres
cat >dates.py <<'PY'
import asyncio, asyncpg, os, psycopg, psycopg2

VALUES = ["'infinity'::date", "'9999-12-31'::date", "'24:00:00'::time", "'1 mon'::interval"]

def seen(read):
    try:
        value = read()
    except Exception as error:
        return f"raises {type(error).__name__}"
    return value.isoformat() if hasattr(value, "isoformat") else str(value)

three = psycopg.connect(autocommit=True)
two = psycopg2.connect("")
two.autocommit = True

def by_two(value):
    cursor = two.cursor()
    cursor.execute(f"SELECT {value}")
    return cursor.fetchone()[0]

async def by_asyncpg(value):
    connection = await asyncpg.connect(host=os.environ["PGHOST"], user="postgres", database="postgres")
    return await connection.fetchval(f"SELECT {value}")

for value in VALUES:
    print(value, "row_to_json:", three.execute(f"SELECT to_json({value})").fetchone()[0], end="; ")
    print("psycopg2:", seen(lambda: by_two(value)), end="; ")
    print("psycopg:", seen(lambda: three.execute(f"SELECT {value}").fetchone()[0]), end="; ")
    print("asyncpg:", seen(lambda: asyncio.run(by_asyncpg(value))))
PY
expect "'infinity'::date row_to_json: infinity; psycopg2: 9999-12-31; psycopg: raises DataError; asyncpg: 9999-12-31
'9999-12-31'::date row_to_json: 9999-12-31; psycopg2: 9999-12-31; psycopg: 9999-12-31; asyncpg: 9999-12-31
'24:00:00'::time row_to_json: 24:00:00; psycopg2: 00:00:00; psycopg: raises DataError; asyncpg: raises ValueError
'1 mon'::interval row_to_json: 1 mon; psycopg2: 30 days, 0:00:00; psycopg: 30 days, 0:00:00; asyncpg: 30 days, 0:00:00" python dates.py
