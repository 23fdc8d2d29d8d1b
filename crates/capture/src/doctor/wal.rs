//! L1 to L7: what capture from the write-ahead log needs. Nothing is said about it in other modes.

use tokio_postgres::{Client, Row};

use super::server::texts;
use super::{Check, DoctorInput, Id};
use crate::catalog::names::ident;
use crate::install::{Mode, PLUGIN_REMEDY, lacks_pgoutput, narrow};
use crate::wal::OLDEST;

const LEVEL: Id = Id("L1", "write-ahead log");
const RIGHT: Id = Id("L2", "replication right");
const PUBLICATION: Id = Id("L3", "publication");
const SLOT: Id = Id("L4", "slot");
const SETTINGS: Id = Id("L5", "limits of slots");
const ORPHANS: Id = Id("L6", "other slots");
const STANDBYS: Id = Id("L7", "standbys of the slot");

type Outcome = Result<Check, tokio_postgres::Error>;

pub(super) async fn run(client: &Client, input: &DoctorInput) -> Vec<Check> {
    if input.target.mode != Mode::Wal {
        return Vec::new();
    }
    vec![
        LEVEL.settle(level(client, input).await),
        RIGHT.settle(right(client, input).await),
        PUBLICATION.settle(publication(client, input).await),
        SLOT.settle(slot(client, input).await),
        SETTINGS.settle(settings(client).await),
        ORPHANS.settle(orphans(client, input).await),
        STANDBYS.settle(standbys(client, input).await),
    ]
}

async fn level(client: &Client, input: &DoctorInput) -> Outcome {
    const SQL: &str = "
        SELECT coalesce(current_setting('effective_wal_level', true), current_setting('wal_level')),
               current_setting('max_replication_slots')::bigint - (SELECT count(*) FROM pg_replication_slots),
               current_setting('max_wal_senders')::bigint - (SELECT count(*) FROM pg_stat_get_wal_senders()),
               EXISTS (SELECT 1 FROM pg_replication_slots WHERE slot_name = $1::text), current_setting('output_plugin_libraries', true)";
    let row = client.query_one(SQL, &[&input.target.slot]).await?;
    let plugins: Option<String> = row.try_get(4)?;
    if let Some(list) = plugins.filter(|list| lacks_pgoutput(list)) {
        let detail = format!("output_plugin_libraries is {list:?}: the server loads no pgoutput");
        return Ok(LEVEL.fail(detail, PLUGIN_REMEDY));
    }
    let (level, slots, senders): (String, i64, i64) = (row.try_get(0)?, row.try_get(1)?, row.try_get(2)?);
    if level != "logical" {
        return Ok(LEVEL.fail(
            format!("wal_level is {level}"),
            "ALTER SYSTEM SET wal_level = logical and restart PostgreSQL (RDS: rds.logical_replication = 1)",
        ));
    }
    let detail = format!("wal_level is logical; {slots} slots and {senders} senders are free");
    if slots <= 0 && !row.try_get::<_, bool>(3)? {
        return Ok(LEVEL.fail(
            detail,
            "raise max_replication_slots, or drop a slot that nobody reads",
        ));
    }
    Ok(if senders <= 0 {
        LEVEL.warn(detail, "raise max_wal_senders")
    } else {
        LEVEL.ok(detail)
    })
}

/// Asks the catalogue, then really logs in: pg_hba.conf may say no.
async fn right(client: &Client, input: &DoctorInput) -> Outcome {
    let target = &input.target;
    let role = target
        .replication_role
        .as_deref()
        .or(target.gateway_role.as_deref());
    let Some(settings) = &input.replication else {
        return Ok(RIGHT.skip("no connection string"));
    };
    const SQL: &str = "
        SELECT r.rolreplication OR r.rolsuper OR EXISTS (
                 SELECT 1 FROM pg_roles s WHERE s.rolname = 'rds_replication' AND pg_has_role(r.oid, s.oid, 'MEMBER'))
          FROM pg_roles r WHERE r.rolname = coalesce($1, current_user)";
    let may = client.query_opt(SQL, &[&role]).await?;
    let may = may.map(|row| row.try_get::<_, bool>(0)).transpose()?;
    let name = role.unwrap_or("the role");
    if may != Some(true) {
        return Ok(RIGHT.fail(
            format!("{name} may not replicate"),
            format!(
                "ALTER ROLE {0} REPLICATION (RDS: GRANT rds_replication TO {0})",
                ident(name)
            ),
        ));
    }
    Ok(match settings.with_name("doctor").replicate().await {
        Ok(_) => RIGHT.ok(format!("{name} can replicate")),
        Err(error) => RIGHT.fail(
            format!("{name} cannot log in for replication: {error}"),
            "let pg_hba.conf accept the role for this database",
        ),
    })
}

async fn publication(client: &Client, input: &DoctorInput) -> Outcome {
    const SQL: &str = "
        SELECT n.nspname::text || '.' || c.relname::text FROM pg_publication p JOIN pg_publication_rel r ON r.prpubid = p.oid
          JOIN pg_class c ON c.oid = r.prrelid JOIN pg_namespace n ON n.oid = c.relnamespace WHERE p.pubname = $1";
    let name = &input.target.slot;
    let there = client
        .query_opt("SELECT 1 FROM pg_publication WHERE pubname = $1", &[name])
        .await?;
    if there.is_none() {
        let detail = format!("there is no publication {name}: nothing is captured");
        return Ok(PUBLICATION.fail(detail, "pregon db apply makes it"));
    }
    let rows = client.query(SQL, &[name]).await?;
    let tables = rows
        .iter()
        .map(|row: &Row| row.try_get::<_, String>(0))
        .collect::<Result<Vec<_>, _>>()?;
    let watches = &input.target.watches;
    let missing: Vec<String> = watches
        .iter()
        .map(|watch| format!("{}.{}", watch.schema, watch.table))
        .filter(|table| !tables.contains(table))
        .collect();
    let narrow = beside(client, name).await?;
    if !narrow.is_empty() {
        return Ok(PUBLICATION.fail(
            format!("the application's UPDATE and DELETE fail: {}", narrow.join("; ")),
            "let that publication have all columns, or leave `old` and the condition out of the watch and run pregon db apply",
        ));
    }
    Ok(if missing.is_empty() {
        PUBLICATION.ok(format!("{name} has {} tables", tables.len()))
    } else {
        PUBLICATION.fail(
            format!("{name} lacks {}", missing.join(", ")),
            "pregon db apply adds them",
        )
    })
}

/// Tables with whole old rows that somebody else publishes in part.
async fn beside(client: &Client, own: &str) -> Result<Vec<String>, tokio_postgres::Error> {
    const FULL: &str = "
        SELECT c.oid, c.oid::regclass::text FROM pg_publication p CROSS JOIN LATERAL pg_get_publication_tables(p.pubname) t
          JOIN pg_class c ON c.oid = t.relid WHERE p.pubname = $1 AND c.relreplident = 'f' ORDER BY 2";
    let mut found = Vec::new();
    for row in client.query(FULL, &[&own]).await? {
        let (oid, table): (u32, String) = (row.try_get(0)?, row.try_get(1)?);
        for publication in narrow::publications(client, own, oid).await? {
            found.push(format!(
                "{table} has whole old rows, and publication {publication} has some of its columns only"
            ));
        }
    }
    Ok(found)
}

/// A server with standbys that synchronise slots: those that it waits for, and, on a standby, a slot of its former life.
async fn standbys(client: &Client, input: &DoctorInput) -> Outcome {
    const SQL: &str = "
        SELECT coalesce(string_agg(name, ', '), ''), EXISTS (
                 SELECT 1 FROM pg_replication_slots s WHERE s.slot_name = $1 AND pg_is_in_recovery() AND to_jsonb(s)->>'synced' = 'false')
          FROM unnest(string_to_array(replace(current_setting('synchronized_standby_slots', true), ' ', ''), ',')) AS name
         WHERE name <> '' AND NOT EXISTS (SELECT 1 FROM pg_replication_slots o WHERE o.slot_name = name AND o.active)";
    let name = &input.target.slot;
    let row = client.query_one(SQL, &[name]).await?;
    let (awaited, stale): (String, bool) = (row.try_get(0)?, row.try_get(1)?);
    if stale {
        return Ok(STANDBYS.fail(
            format!("this server is a standby with a slot {name} of the time when it was the primary: it is not synchronised"),
            format!("SELECT pg_drop_replication_slot('{name}') here; it comes back from the primary by itself"),
        ));
    }
    Ok(if awaited.is_empty() {
        STANDBYS.ok("the server waits for none")
    } else {
        STANDBYS.fail(
            format!("the server streams nothing until {awaited} of synchronized_standby_slots has it, and nobody reads it"),
            "start that standby, or take its slot out of synchronized_standby_slots and reload",
        )
    })
}

async fn oldest(client: &Client) -> Result<String, tokio_postgres::Error> {
    let row = client.query_opt(OLDEST, &[]).await?;
    row.map_or(Ok("none".to_owned()), |row| row.try_get(0))
}

/// Whom a new slot would wait for.
async fn awaited(client: &Client) -> Result<String, tokio_postgres::Error> {
    let row = client.query_opt(OLDEST, &[]).await?;
    row.map_or(Ok(String::new()), |row| {
        Ok(format!("; a new one waits for {}", row.try_get::<_, String>(0)?))
    })
}

async fn slot(client: &Client, input: &DoctorInput) -> Outcome {
    // The newer columns through JSON: older servers have none of them.
    const SQL: &str = "
        SELECT coalesce(s.wal_status, 'lost'), s.active, coalesce(pg_wal_lsn_diff(pg_current_wal_lsn(), s.restart_lsn), 0)::bigint,
               s.safe_wal_size, coalesce(s.plugin = 'pgoutput' AND s.database = current_database(), false),
               to_jsonb(s)->>'failover' = 'false' AND EXISTS (SELECT 1 FROM pg_stat_get_wal_senders() w WHERE w.sync_state <> 'async'),
               coalesce(to_jsonb(s)->>'invalidation_reason', ''), s.confirmed_flush_lsn IS NULL AND coalesce(s.wal_status, 'lost') <> 'lost'
          FROM pg_replication_slots s WHERE s.slot_name = $1";
    let name = &input.target.slot;
    let Some(row) = client.query_opt(SQL, &[name]).await? else {
        return Ok(SLOT.fail(
            format!(
                "there is no slot {name}: nothing is captured{}",
                awaited(client).await?
            ),
            "pregon db apply makes it",
        ));
    };
    let (status, active, retained): (String, bool, i64) = (row.try_get(0)?, row.try_get(1)?, row.try_get(2)?);
    if !row.try_get::<_, bool>(4)? {
        return Ok(SLOT.fail(
            format!("{name} is for another database or plugin"),
            "choose another [postgres] slot",
        ));
    }
    if row.try_get::<_, bool>(7)? {
        return Ok(SLOT.fail(
            format!("{name} is being made and not ready{}", awaited(client).await?),
            "end that transaction, or wait for it",
        ));
    }
    if status == "lost" {
        return Ok(SLOT.fail(
            format!(
                "{name} is lost ({}){}",
                row.try_get::<_, String>(6)?,
                awaited(client).await?
            ),
            "pregon db apply makes it anew; clients get a gap",
        ));
    }
    let state = if active {
        "is read"
    } else {
        "is not read at the moment"
    };
    let (safe, stays_here) = (
        row.try_get(3)?,
        row.try_get::<_, Option<bool>>(5)?.unwrap_or(false),
    );
    room(client, &format!("{name} {state}"), (retained, safe), stays_here).await
}

/// How much WAL a slot keeps, and how much it may.
async fn room(
    client: &Client,
    slot: &str,
    (retained, safe): (i64, Option<i64>),
    stays_here: bool,
) -> Outcome {
    let limit = safe.map_or("without a limit".to_owned(), |safe| {
        format!("{} MiB more are allowed", safe / (1 << 20))
    });
    let detail = format!("{slot} and keeps {} MiB of WAL, {limit}", retained / (1 << 20));
    Ok(if safe.is_some_and(|safe| retained > safe) {
        let oldest = oldest(client).await?;
        SLOT.warn(
            format!("{detail}; the oldest open transaction is {oldest}"),
            "start the gateway, end a transaction that is open for long (of whatever database), or raise max_slot_wal_keep_size: beyond it the \
             slot is lost",
        )
    } else if stays_here {
        SLOT.warn(
            format!("{detail}; it does not go over to a standby"),
            "drop the slot and run pregon db apply, which makes it with failover",
        )
    } else {
        SLOT.ok(detail)
    })
}

async fn settings(client: &Client) -> Outcome {
    const SQL: &str = "
        SELECT name || ' = ' || setting FROM pg_settings
         WHERE (name = 'max_slot_wal_keep_size' AND setting = '-1') OR (name = 'wal_sender_timeout' AND setting = '0')
            OR (name = 'idle_replication_slot_timeout' AND setting::bigint BETWEEN 1 AND 3600) ORDER BY 1";
    let found = texts(client, SQL).await?;
    Ok(if found.is_empty() {
        SETTINGS.ok("a gateway that is away cannot fill the disk")
    } else {
        SETTINGS.warn(
            found.join(", "),
            "max_slot_wal_keep_size: 10 to 20 % of the disk, so that a gateway that is away cannot fill it; wal_sender_timeout: not 0; \
             idle_replication_slot_timeout: longer than the gateway may be away",
        )
    })
}

async fn orphans(client: &Client, input: &DoctorInput) -> Outcome {
    const SQL: &str = "
        SELECT format('%s (%s MiB)', s.slot_name,
                      (coalesce(pg_wal_lsn_diff(pg_current_wal_lsn(), s.restart_lsn), 0) / 1048576)::bigint)
          FROM pg_replication_slots s
         WHERE s.slot_name LIKE 'pregon%' AND s.slot_name <> $1 AND NOT s.active AND s.database = current_database() ORDER BY 1";
    let rows = client.query(SQL, &[&input.target.slot]).await?;
    let found = rows
        .iter()
        .map(|row| row.try_get::<_, String>(0))
        .collect::<Result<Vec<_>, _>>()?;
    Ok(if found.is_empty() {
        ORPHANS.ok("none that nobody reads")
    } else {
        ORPHANS.warn(
            format!("nobody reads {}", found.join(", ")),
            "SELECT pg_drop_replication_slot('…'), unless their gateway comes back: they keep WAL",
        )
    })
}
