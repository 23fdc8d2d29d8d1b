//! C1 to C9: the server, the role and the connection.

use std::future::poll_fn;
use std::time::Duration;

use tokio_postgres::{AsyncMessage, Client};

use super::{Check, DoctorInput, Id};
use crate::connect::Settings;
use crate::install::Mode;

const VERSION: Id = Id("C1", "server");
const TLS: Id = Id("C2", "encryption");
const ROLE: Id = Id("C3", "role");
const TIMEOUTS: Id = Id("C4", "settings");
const FREE: Id = Id("C5", "free connections");
const LONG: Id = Id("C6", "long transactions");
const PREPARED: Id = Id("C7", "prepared transactions");
const IDENTITY: Id = Id("C8", "identity");
const POOLER: Id = Id("C9", "delivery");

/// How long a notification may take to come back.
const ROUND_TRIP: Duration = Duration::from_secs(2);

type Outcome = Result<Check, tokio_postgres::Error>;

pub(super) async fn run(client: &Client, input: &DoctorInput) -> Vec<Check> {
    vec![
        VERSION.settle(version(client, input).await),
        TLS.settle(tls(client).await),
        ROLE.settle(role(client, input).await),
        TIMEOUTS.settle(timeouts(client, input).await),
        FREE.settle(free_connections(client).await),
        LONG.settle(long_transactions(client).await),
        PREPARED.settle(prepared_transactions(client).await),
        IDENTITY.settle(identity(client).await),
        POOLER.settle(delivery(client, input).await),
    ]
}

/// The first minor releases in which LISTEN no longer fails after a truncated commit log.
const REPAIRED: [i32; 5] = [140_021, 150_016, 160_012, 170_008, 180_002];

async fn version(client: &Client, input: &DoctorInput) -> Outcome {
    const SQL: &str = "SELECT current_setting('server_version_num')::int, current_setting('server_version'),
        pg_is_in_recovery(), current_setting('server_encoding')";
    let row = client.query_one(SQL, &[]).await?;
    let (number, text): (i32, String) = (row.try_get(0)?, row.try_get(1)?);
    let encoding: String = row.try_get(3)?;
    if row.try_get(2)? {
        return Ok(VERSION.fail(
            format!("PostgreSQL {text} is a standby: LISTEN and triggers do not work there"),
            "connect to the primary",
        ));
    }
    if number < 140_000 && !input.target.watches.is_empty() {
        return Ok(VERSION.fail(
            format!("PostgreSQL {text} is too old for watches"),
            "upgrade to 14 or newer",
        ));
    }
    let repaired = REPAIRED.iter().find(|first| **first / 10_000 == number / 10_000);
    if repaired.is_some_and(|first| number < *first) {
        return Ok(VERSION.warn(
            format!("PostgreSQL {text}: LISTEN can fail with \"could not access status of transaction\""),
            "install the newest minor release",
        ));
    }
    if encoding != "UTF8" {
        return Ok(VERSION.warn(
            format!("the database is in {encoding}"),
            "characters outside of it cannot be published; prefer UTF8",
        ));
    }
    Ok(VERSION.ok(format!("PostgreSQL {text}, primary, {encoding}")))
}

async fn tls(client: &Client) -> Outcome {
    const SQL: &str = "SELECT s.ssl, coalesce(s.version, ''), coalesce(s.cipher, ''),
          inet_server_addr() IS NULL OR inet_server_addr() <<= '127.0.0.0/8' OR inet_server_addr() = '::1'
        FROM pg_stat_ssl s WHERE s.pid = pg_backend_pid()";
    let Some(row) = client.query_opt(SQL, &[]).await? else {
        return Ok(TLS.skip("the server does not say"));
    };
    if row.try_get(0)? {
        return Ok(TLS.ok(format!(
            "{} {}",
            row.try_get::<_, &str>(1)?,
            row.try_get::<_, &str>(2)?
        )));
    }
    if row.try_get(3)? {
        return Ok(TLS.ok("plain, on this machine"));
    }
    Ok(TLS.fail(
        "the connection is not encrypted",
        "use sslmode=verify-full in the connection string",
    ))
}

async fn role(client: &Client, input: &DoctorInput) -> Outcome {
    const SQL: &str =
        "SELECT rolname::text, rolsuper, rolreplication, rolbypassrls, rolcreaterole, rolconnlimit
        FROM pg_roles WHERE rolname = current_user";
    let row = client.query_one(SQL, &[]).await?;
    let name: String = row.try_get(0)?;
    let powers = ["SUPERUSER", "REPLICATION", "BYPASSRLS", "CREATEROLE"];
    let mut has = Vec::new();
    for (index, power) in powers.into_iter().enumerate() {
        // The one that reads the slot has to have it.
        let needed = power == "REPLICATION" && input.target.mode == Mode::Wal;
        if row.try_get(index + 1)? && !needed {
            has.push(power);
        }
    }
    let limit: i32 = row.try_get(5)?;
    if !has.is_empty() {
        return Ok(ROLE.warn(
            format!("{name} has {}, which the gateway does not need", has.join(", ")),
            "run the gateway with a plain LOGIN role, and set PREGON_ADMIN_URL for `pregon db apply`",
        ));
    }
    if (0..4).contains(&limit) {
        return Ok(ROLE.warn(
            format!("{name} may open {limit} connections"),
            format!("ALTER ROLE {name} CONNECTION LIMIT 8"),
        ));
    }
    Ok(ROLE.ok(name))
}

async fn timeouts(client: &Client, input: &DoctorInput) -> Outcome {
    // In milliseconds and seconds as pg_settings counts them, whatever unit the configuration file has.
    const SQL: &str =
        "SELECT name, coalesce(setting, '') FROM pg_settings WHERE name = ANY('{idle_session_timeout,
        max_prepared_transactions,tcp_user_timeout,session_replication_role}')";
    let mut findings = Vec::new();
    let mut fatal = false;
    for row in client.query(SQL, &[]).await? {
        let (name, value): (&str, &str) = (row.try_get(0)?, row.try_get(1)?);
        let number: u128 = value.parse().unwrap_or(0);
        match name {
            "idle_session_timeout" if number > 0 && number < 3 * input.heartbeat.as_millis() => {
                fatal = true;
                findings.push(format!(
                    "idle_session_timeout is {number} ms, which ends the listening connection"
                ));
            }
            "max_prepared_transactions"
                if number > 0 && !input.target.watches.is_empty() && input.target.mode == Mode::Notify =>
            {
                findings
                    .push("PREPARE TRANSACTION fails for transactions that touch a watched table".to_owned());
            }
            "session_replication_role" if value != "origin" => {
                findings.push(format!(
                    "session_replication_role is {value} for this role: its writes fire no triggers"
                ));
            }
            _ => {}
        }
    }
    let detail = findings.join("; ");
    Ok(if fatal {
        TIMEOUTS.fail(
            detail,
            "ALTER ROLE … SET idle_session_timeout = 0 for the gateway's role",
        )
    } else if findings.is_empty() {
        TIMEOUTS.ok("nothing stands in the way")
    } else {
        TIMEOUTS.warn(
            detail,
            "set max_prepared_transactions = 0 if nobody uses it; otherwise keep to it knowingly",
        )
    })
}

async fn free_connections(client: &Client) -> Outcome {
    const SQL: &str = "SELECT current_setting('max_connections')::bigint
        - current_setting('superuser_reserved_connections')::bigint - count(*)
        FROM pg_stat_activity WHERE backend_type = 'client backend' OR backend_type IS NULL";
    let free: i64 = client.query_one(SQL, &[]).await?.try_get(0)?;
    let detail = format!("{free} connections are free");
    Ok(match free {
        ..=2 => FREE.fail(
            detail,
            "raise max_connections, or put the application behind a pooler",
        ),
        3..=9 => FREE.warn(
            detail,
            "raise max_connections, or put the application behind a pooler",
        ),
        _ => FREE.ok(detail),
    })
}

async fn long_transactions(client: &Client) -> Outcome {
    const SQL: &str =
        "SELECT format('pid %s (%s, %s, %s s)', pid, coalesce(usename, '?'), coalesce(state, 'hidden'),
          extract(epoch FROM now() - xact_start)::int)
        FROM pg_stat_activity WHERE xact_start < now() - interval '60 s' AND backend_type = 'client backend'
         AND (backend_xid IS NOT NULL OR backend_xmin IS NOT NULL) ORDER BY xact_start LIMIT 5";
    let list = texts(client, SQL).await?;
    Ok(if list.is_empty() {
        LONG.ok("none is older than a minute")
    } else {
        LONG.warn(
            list.join(", "),
            "end them: they hold back vacuum, keep their own notifications back and block DDL on their tables",
        )
    })
}

async fn prepared_transactions(client: &Client) -> Outcome {
    const SQL: &str = "SELECT gid FROM pg_prepared_xacts WHERE prepared < now() - interval '60 s' ORDER BY prepared LIMIT 5";
    let list = texts(client, SQL).await?;
    Ok(if list.is_empty() {
        PREPARED.ok("none is forgotten")
    } else {
        PREPARED.warn(
            format!("prepared for more than a minute: {}", list.join(", ")),
            "COMMIT PREPARED or ROLLBACK PREPARED with that name",
        )
    })
}

async fn identity(client: &Client) -> Outcome {
    const SQL: &str = "SELECT format('system %s, database %s, running since %s',
        (SELECT system_identifier FROM pg_control_system()), current_database(),
        to_char(pg_postmaster_start_time() AT TIME ZONE 'UTC', 'YYYY-MM-DD HH24:MI:SS\"Z\"'))";
    let text: String = client.query_one(SQL, &[]).await?.try_get(0)?;
    Ok(IDENTITY.ok(text))
}

/// Only a notification that arrives proves that LISTEN works: a transaction pooler accepts it and delivers nothing.
async fn delivery(client: &Client, input: &DoctorInput) -> Outcome {
    const PID: &str = "SELECT pg_backend_pid()";
    let first: i32 = client.query_one(PID, &[]).await?.try_get(0)?;
    let second: i32 = client.query_one(PID, &[]).await?.try_get(0)?;
    let remedy = "connect directly or through a session pooler";
    if first != second {
        return Ok(POOLER.fail(
            "two statements ran on two server processes: this is a transaction pooler",
            remedy,
        ));
    }
    let Some(settings) = &input.settings else {
        return Ok(POOLER.skip("no second connection to listen with"));
    };
    let channel = format!("pregon_doctor_{first}_{}", rand::random::<u32>());
    let started = std::time::Instant::now();
    match tokio::time::timeout(ROUND_TRIP, round_trip(client, settings, &channel)).await {
        Err(_) => Ok(POOLER.fail("LISTEN is accepted, but nothing arrives within 2 s", remedy)),
        Ok(Err(reason)) => Ok(POOLER.fail(
            format!("a second connection could not listen ({reason})"),
            "let the gateway's role open at least four connections",
        )),
        Ok(Ok(())) => Ok(POOLER.ok(format!(
            "a notification arrived after {} ms",
            started.elapsed().as_millis()
        ))),
    }
}

async fn round_trip(client: &Client, settings: &Settings, channel: &str) -> Result<(), String> {
    let words = |error: tokio_postgres::Error| crate::connect::chain(&error);
    let (listener, mut connection) = settings.connect().await.map_err(|error| error.to_string())?;
    let listen = format!("LISTEN \"{channel}\"");
    let asking = async {
        listener.batch_execute(&listen).await.map_err(words)?;
        client
            .execute("SELECT pg_notify($1, '')", &[&channel])
            .await
            .map_err(words)?;
        // The listener's client must live until its connection has delivered.
        std::future::pending::<Result<(), String>>().await
    };
    let receiving = async {
        loop {
            match poll_fn(|cx| connection.poll_message(cx)).await {
                Some(Ok(AsyncMessage::Notification(note))) if note.channel() == channel => return Ok(()),
                Some(Ok(_)) => {}
                Some(Err(error)) => return Err(words(error)),
                None => return Err("the connection was closed".to_owned()),
            }
        }
    };
    tokio::select! {
        asked = asking => asked,
        received = receiving => received,
    }
}

/// The first column of every row.
pub(super) async fn texts(client: &Client, sql: &str) -> Result<Vec<String>, tokio_postgres::Error> {
    client
        .query(sql, &[])
        .await?
        .iter()
        .map(|row| row.try_get(0))
        .collect()
}
