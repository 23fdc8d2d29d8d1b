//! N1 to N6: the notification queue, those who wait for it, and those who stop it from draining.

use tokio_postgres::Client;

use super::server::texts;
use super::{Check, DoctorInput, Id};
use crate::catalog::names::MAX_NAME;
use crate::decode::CHANNEL;
use crate::install::{FLAW, Mode, notify_remedy};

const QUEUE: Id = Id("N1", "notification queue");
const LOCK: Id = Id("N2", "commit lock");
const STALLED: Id = Id("N3", "stalled listeners");
const RATE: Id = Id("N4", "write rate");
const CHANNELS: Id = Id("N5", "listened channels");
const NEEDS: Id = Id("N6", "what notifications need");

/// Above this many watched rows a second, commits begin to queue behind each other: a NOTIFY makes them take turns.
const MANY_ROWS: f64 = 200.0;

type Outcome = Result<Check, tokio_postgres::Error>;

pub(super) async fn run(client: &Client, input: &DoctorInput) -> Vec<Check> {
    vec![
        QUEUE.settle(queue(client).await),
        LOCK.settle(commit_lock(client).await),
        STALLED.settle(stalled(client).await),
        RATE.settle(rate(client, input).await),
        CHANNELS.settle(channels(client, input).await),
        NEEDS.settle(needs(client, input).await),
    ]
}

async fn queue(client: &Client) -> Outcome {
    let usage: f64 = client
        .query_one("SELECT pg_notification_queue_usage()", &[])
        .await?
        .try_get(0)?;
    let detail = format!("{:.2} % full", usage * 100.0);
    let remedy = "end the listener that does not read: the server's log names its process id";
    Ok(if usage > 0.25 {
        QUEUE.fail(detail, remedy)
    } else if usage > 0.05 {
        QUEUE.warn(detail, remedy)
    } else {
        QUEUE.ok(detail)
    })
}

async fn commit_lock(client: &Client) -> Outcome {
    const SQL: &str = "SELECT count(*), coalesce(extract(epoch FROM max(now() - a.query_start)), 0)::float8
        FROM pg_locks l JOIN pg_stat_activity a USING (pid)
       WHERE NOT l.granted AND l.locktype = 'object' AND l.classid = 'pg_database'::regclass AND l.objid = 0";
    let row = client.query_one(SQL, &[]).await?;
    let (waiting, longest): (i64, f64) = (row.try_get(0)?, row.try_get(1)?);
    let detail = format!("{waiting} commits wait to notify, the longest for {longest:.1} s");
    Ok(if waiting > 3 || longest > 1.0 {
        LOCK.warn(
            detail,
            "transactions that notify commit one at a time: look for a slow disk or synchronous standby",
        )
    } else {
        LOCK.ok(detail)
    })
}

async fn stalled(client: &Client) -> Outcome {
    // A guess by the last statement: no catalogue knows who listens.
    const SQL: &str = r"SELECT format('pid %s (%s, %s)', pid, coalesce(usename, '?'), coalesce(application_name, ''))
        FROM pg_stat_activity WHERE query ~* '^\s*listen'
         AND ((state LIKE 'idle in transaction%' AND state_change < now() - interval '10 s') OR wait_event = 'ClientWrite')
       ORDER BY 1 LIMIT 5";
    let list = texts(client, SQL).await?;
    Ok(if list.is_empty() {
        STALLED.ok("none seen")
    } else {
        STALLED.warn(
            list.join(", "),
            "SELECT pg_terminate_backend(pid): they fill the queue, and then every NOTIFY fails",
        )
    })
}

async fn rate(client: &Client, input: &DoctorInput) -> Outcome {
    if input.target.watches.is_empty() || input.sample.is_zero() || input.target.mode != Mode::Notify {
        return Ok(RATE.skip("nothing to count"));
    }
    let before = written(client, input).await?;
    tokio::time::sleep(input.sample).await;
    let after = written(client, input).await?;
    // Counters far below 2^52.
    #[expect(clippy::cast_precision_loss)]
    let per_second = (after - before).max(0) as f64 / input.sample.as_secs_f64();
    let detail = format!("about {per_second:.0} watched rows a second");
    Ok(if per_second > MANY_ROWS {
        RATE.warn(detail, "NOTIFY makes commits take turns: watch fewer tables, add conditions, or write in larger transactions")
    } else {
        RATE.ok(detail)
    })
}

async fn needs(client: &Client, input: &DoctorInput) -> Outcome {
    if input.target.watches.is_empty() || input.target.mode != Mode::Notify {
        return Ok(NEEDS.skip("changes do not travel by NOTIFY"));
    }
    let found = client.query_opt(FLAW, &[]).await?;
    Ok(match found.map(|row| row.try_get::<_, String>(0)).transpose()? {
        Some(reason) => {
            let advice = notify_remedy(&reason);
            NEEDS.fail(reason, advice)
        }
        None => NEEDS.ok("all is there"),
    })
}

async fn written(client: &Client, input: &DoctorInput) -> Result<i64, tokio_postgres::Error> {
    const SQL: &str =
        "SELECT coalesce(sum(n_tup_ins + n_tup_upd + n_tup_del), 0)::bigint FROM pg_stat_user_tables
        WHERE (schemaname::text, relname::text) IN (SELECT * FROM unnest($1::text[], $2::text[]))";
    let (schemas, tables): (Vec<&str>, Vec<&str>) = input
        .target
        .watches
        .iter()
        .map(|watch| (watch.schema.as_str(), watch.table.as_str()))
        .unzip();
    client.query_one(SQL, &[&schemas, &tables]).await?.try_get(0)
}

async fn channels(client: &Client, input: &DoctorInput) -> Outcome {
    let long: Vec<&str> = input
        .listen
        .iter()
        .map(String::as_str)
        .filter(|channel| channel.is_empty() || channel.len() > MAX_NAME)
        .collect();
    if !long.is_empty() {
        return Ok(CHANNELS.fail(
            format!("{} cannot be a channel: 1 to {MAX_NAME} bytes", long.join(", ")),
            "correct the name",
        ));
    }
    const OPEN: &str = "
        SELECT quote_ident(d.datname), EXISTS (SELECT 1 FROM aclexplode(coalesce(d.datacl, acldefault('d', d.datdba))) a
                                                WHERE a.grantee = 0 AND a.privilege_type = 'CONNECT')
          FROM pg_database d WHERE d.datname = current_database()";
    let row = client.query_one(OPEN, &[]).await?;
    let (database, open): (String, bool) = (row.try_get(0)?, row.try_get(1)?);
    // The outbox carries nothing there.
    let ours = (input.target.mode == Mode::Notify).then_some(CHANNEL).into_iter();
    let names: Vec<&str> = ours.chain(input.listen.iter().map(String::as_str)).collect();
    if names.is_empty() {
        return Ok(CHANNELS.ok("none: changes do not travel by NOTIFY"));
    }
    let mut detail = format!(
        "{}: any role that may connect can notify them, which forges events, and read them",
        names.join(", ")
    );
    if !input.listen.is_empty() {
        detail.push_str("; equal payloads of one transaction of your own triggers arrive once");
    }
    Ok(if open {
        CHANNELS.warn(
            format!("{detail}; every role may connect"),
            format!(
                "REVOKE CONNECT ON DATABASE {database} FROM PUBLIC, and GRANT it to the roles that need it"
            ),
        )
    } else {
        CHANNELS.ok(detail)
    })
}
