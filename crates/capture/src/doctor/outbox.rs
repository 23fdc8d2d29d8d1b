//! O1 to O4: the table that keeps changes, what waits in it, who holds delivery back, and what keeps it from being cleaned.

use tokio_postgres::Client;

use super::server::texts;
use super::{Check, DoctorInput, Id};
use crate::install::Mode;
use crate::outbox::{blockers, remedy};

const TABLE: Id = Id("O1", "outbox table");
const BACKLOG: Id = Id("O2", "outbox backlog");
const WRITERS: Id = Id("O3", "open writers");
const HORIZON: Id = Id("O4", "vacuum of the outbox");

/// Beyond this a client would notice.
const LATE: f64 = 10.0;
/// A transaction that has written and stays open for longer holds up everybody's changes.
const LONG: f64 = 5.0;

type Outcome = Result<Check, tokio_postgres::Error>;

pub(super) async fn run(client: &Client, input: &DoctorInput) -> Vec<Check> {
    if input.target.mode != Mode::Outbox {
        return Vec::new();
    }
    const OID: &str = "SELECT c.oid FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace
        WHERE n.nspname = 'pregon' AND c.relname = 'outbox'";
    match client.query_opt(OID, &[]).await {
        Ok(Some(row)) => vec![
            TABLE.settle(table(client).await),
            BACKLOG.settle(backlog(client).await),
            WRITERS.settle(writers(client, row.get(0)).await),
            HORIZON.settle(horizon(client).await),
        ],
        Ok(None) => vec![TABLE.fail("it is missing", "pregon db apply")],
        Err(error) => vec![TABLE.settle(Err(error))],
    }
}

async fn table(client: &Client) -> Outcome {
    const SQL: &str = "
        SELECT 'it is unlogged: a crash of the server loses what was not delivered' FROM pg_class
         WHERE oid = 'pregon.outbox'::regclass AND relpersistence <> 'p'
        UNION ALL SELECT 'row security is on' FROM pg_class WHERE oid = 'pregon.outbox'::regclass AND relrowsecurity
        UNION ALL SELECT format('its sequence hands out %s numbers at once, so that changes of a row may swap', s.seqcache)
          FROM pg_sequence s JOIN pg_depend d ON d.objid = s.seqrelid AND d.classid = 'pg_class'::regclass
         WHERE d.refobjid = 'pregon.outbox'::regclass AND s.seqcache <> 1
        UNION ALL SELECT 'its sequence starts again at its end' FROM pg_sequence s JOIN pg_depend d ON d.objid = s.seqrelid
           AND d.classid = 'pg_class'::regclass WHERE d.refobjid = 'pregon.outbox'::regclass AND s.seqcycle";
    let list = texts(client, SQL).await?;
    if !list.is_empty() {
        return Ok(TABLE.fail(list.join("; "), "pregon db drop, then pregon db apply"));
    }
    const FLAW: &str = "SELECT pregon.flaw(clock_timestamp()), coalesce((SELECT CASE WHEN s.is_called THEN s.last_value ELSE s.last_value - 1 END < max(o.id)
          FROM pregon.outbox o, pregon.outbox_id_seq s GROUP BY s.last_value, s.is_called), false)";
    let row = client.query_one(FLAW, &[]).await?;
    if let Some(flaw) = row.try_get::<_, Option<String>>(0)? {
        let advice = remedy(&flaw);
        return Ok(TABLE.fail(flaw, advice));
    }
    if row.try_get(1)? {
        return Ok(TABLE.warn(
            "its sequence is behind its rows: they were copied from another database",
            "SELECT pregon.mend(), which a gateway and the next write do as well",
        ));
    }
    const SIZE: &str = "SELECT pg_size_pretty(pg_total_relation_size('pregon.outbox')),
          coalesce((SELECT n_dead_tup FROM pg_stat_user_tables WHERE relid = 'pregon.outbox'::regclass), 0)";
    let row = client.query_one(SIZE, &[]).await?;
    let (size, dead): (String, i64) = (row.try_get(0)?, row.try_get(1)?);
    Ok(TABLE.ok(format!("{size}, {dead} dead rows")))
}

async fn backlog(client: &Client) -> Outcome {
    const SQL: &str =
        "SELECT count(*), coalesce(extract(epoch FROM clock_timestamp() - min(o.at)), 0)::float8
        FROM pregon.outbox o WHERE o.id > (SELECT c.position FROM pregon.cursor c)";
    let row = client.query_one(SQL, &[]).await?;
    let (rows, age): (i64, f64) = (row.try_get(0)?, row.try_get(1)?);
    let detail = format!("{rows} rows are not in the log, the oldest for {age:.0} s");
    Ok(if age > LATE {
        BACKLOG.warn(
            detail,
            "start a gateway, or see O3 and the gateway's log for what it waits for",
        )
    } else {
        BACKLOG.ok(detail)
    })
}

async fn writers(client: &Client, table: u32) -> Outcome {
    let open = blockers(client, table, &[]).await?;
    let told: Vec<String> = open.iter().map(ToString::to_string).collect();
    let long = open
        .iter()
        .any(|blocker| blocker.pid.is_none() || blocker.age.is_some_and(|age| age > LONG));
    Ok(if long {
        WRITERS.warn(
            format!("changes that were committed later wait for {}", told.join(", ")),
            "end that transaction: keep transactions that write short",
        )
    } else if told.is_empty() {
        WRITERS.ok("none")
    } else {
        WRITERS.ok(told.join(", "))
    })
}

async fn horizon(client: &Client) -> Outcome {
    const SQL: &str = "
        SELECT format('pid %s (%s, %s)', pid, coalesce(usename, '?'), coalesce(application_name, '')) FROM pg_stat_activity
         WHERE age(backend_xmin) > 1000000 OR age(backend_xid) > 1000000
        UNION ALL SELECT format('slot %s', slot_name) FROM pg_replication_slots WHERE age(xmin) > 1000000
        UNION ALL SELECT format('prepared transaction %s', gid) FROM pg_prepared_xacts WHERE age(transaction) > 1000000
         LIMIT 5";
    let list = texts(client, SQL).await?;
    Ok(if list.is_empty() {
        HORIZON.ok("nothing holds it back")
    } else {
        HORIZON.warn(
            format!("held back by {}", list.join(", ")),
            "end them: deleted rows keep their space until then",
        )
    })
}
