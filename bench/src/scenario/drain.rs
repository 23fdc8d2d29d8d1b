//! How fast the outbox empties, from the table to one WebSocket client: rows that wait behind an open transaction are let go at once.

use std::time::{Duration, Instant};

use anyhow::Context;
use pregon_testkit::Database;

use super::Effort;
use crate::{
    contestant::{Kind, Running},
    load::Protocol,
    postgres::Connection,
    receiver,
    report::{Bar, Figure, Report, Table, median, short},
    usage,
};

/// About 200 bytes as JSON.
const TABLE: &str = "CREATE TABLE public.bench (id bigint PRIMARY KEY, producto text, cantidad int, total numeric, nota text)";
const PATIENCE: Duration = Duration::from_secs(60);

pub(crate) fn run(effort: Effort) -> anyhow::Result<Report> {
    let rows: u64 = if effort.quick { 50_000 } else { 200_000 };
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(1)
        .enable_all()
        .build()?;
    let server = runtime.block_on(super::postgres_with_fsync())?;
    let database = runtime.block_on(Database::create(&server))?;
    runtime.block_on(database.execute(TABLE))?;
    let gateway = Running::start(Kind::Ours, &super::watch(&database.url(), "outbox"), None)?;
    let mut client = receiver::open(gateway.address, Protocol::Bare, Kind::Ours.path())?;
    client.set_read_timeout(Some(PATIENCE))?;
    let mut writer = Connection::open(server.port(), database.name())?;
    let mut blocker = Connection::open(server.port(), database.name())?;
    let (mut rates, mut first) = (Vec::new(), 1);
    for _ in 0..effort.passes {
        blocker.run(&format!(
            "BEGIN; INSERT INTO public.bench VALUES ({first}, '', 0, 0, '')"
        ))?;
        let last = first + rows;
        writer.run(&format!(
            "INSERT INTO public.bench SELECT g, 'Café de olla', 3, 87.50, repeat('x', 120) FROM generate_series({}, {last}) g",
            first + 1
        ))?;
        let begun = Instant::now();
        blocker.run("COMMIT")?;
        receiver::count(&mut client, rows + 1).with_context(|| gateway.log())?;
        rates.push((rows + 1) as f64 / begun.elapsed().as_secs_f64());
        first = last + 1;
    }
    Ok(report(&rates, rows, effort))
}

fn report(rates: &[f64], rows: u64, effort: Effort) -> Report {
    let mut table = Table::new(&["pass", "rows/s"]);
    for (pass, rate) in rates.iter().enumerate() {
        table.rows.push(vec![(pass + 1).to_string(), short(*rate)]);
    }
    Report {
        scenario: "drain",
        notes: vec![format!(
            "{} rows of about 200 bytes wait behind an open transaction; from its COMMIT until one client has read all of them. PostgreSQL, \
             gateway and client share {} cores; median of {} passes.",
            rows,
            usage::cores(),
            effort.passes
        )],
        figures: vec![Figure {
            what: "rows from the outbox to a client".into(),
            ours: median(rates),
            unit: "rows/s",
            against: "–",
            theirs: f64::NAN,
            bar: Bar::Least(50_000.0),
        }],
        table,
        quick: effort.quick,
    }
}
