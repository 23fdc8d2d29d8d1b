//! How fast a large transaction reaches one subscriber from the WAL, beside `pg_recvlogical`, which only writes it to /dev/null.
//!
//! Both begin when the transaction has been committed and end with its last row, on the same server, one after the other.

use std::{
    process::{Command, Stdio},
    time::{Duration, Instant},
};

use anyhow::{Context, ensure};
use pregon_testkit::{Database, Server};

use super::Effort;
use crate::{
    contestant::{Kind, Running},
    load::Protocol,
    postgres::Connection,
    receiver,
    report::{Bar, Figure, Report, Table, median, short},
};

const FLOOR: &str = "pg_recvlogical alone";
const OURS: &str = "pregón, one WebSocket client";
const TABLE: &str = "CREATE TABLE public.bench (id bigint PRIMARY KEY, producto text, cantidad int, total numeric, nota text)";
/// A client that gets nothing for so long has lost something.
const PATIENCE: Duration = Duration::from_secs(60);

pub(crate) fn run(effort: Effort) -> anyhow::Result<Report> {
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(1)
        .enable_all()
        .build()?;
    let server = runtime.block_on(super::postgres_with_fsync())?;
    let database = runtime.block_on(Database::create(&server))?;
    runtime.block_on(database.execute(TABLE))?;
    let rows: u64 = if effort.quick { 50_000 } else { 300_000 };
    let notes = vec![format!(
        "One transaction of {rows} rows of about 200 bytes of JSON, from its commit to the last row; fsync on; medians of {} passes that take \
         turns. The walsender decodes for both and shares the {} cores with who reads; the other one is not attached.",
        effort.passes,
        crate::usage::cores()
    )];
    let (mut floor, mut ours) = (Vec::new(), Vec::new());
    let mut next = 1;
    for _ in 0..effort.passes {
        floor.push(alone(&server, &database, next, rows)?);
        next += rows;
        if Kind::Ours.obstacle().is_none() {
            ours.push(through_gateway(&server, &database, next, rows)?);
            next += rows;
        }
    }
    Ok(report(median(&floor), median(&ours), notes, effort.quick))
}

/// Writes the rows; gives the moment after the commit.
fn write(server: &Server, database: &Database<'_>, first: u64, rows: u64) -> anyhow::Result<Instant> {
    let mut writer = Connection::open(server.port(), database.name())?;
    writer.run(&format!(
        "INSERT INTO public.bench SELECT i, 'Café de olla', 3, 87.50, repeat('x', 100) FROM generate_series({first}, {}) AS i",
        first + rows - 1
    ))?;
    Ok(Instant::now())
}

fn rate(rows: u64, since: Instant) -> f64 {
    rows as f64 / since.elapsed().as_secs_f64()
}

/// `pg_recvlogical` on a slot and a publication of its own, ready to be started.
pub(super) fn recvlogical(server: &Server, database: &Database<'_>) -> anyhow::Result<Command> {
    let mut admin = Connection::open(server.port(), database.name())?;
    // Fails where it is there already.
    let _ = admin.run("CREATE PUBLICATION floor FOR TABLE public.bench");
    admin.run("SELECT pg_create_logical_replication_slot('floor', 'pgoutput')")?;
    let url = server.url_for("postgres", database.name());
    let mut reader = Command::new(server.binaries().program("pg_recvlogical"));
    reader
        .args(["--start", "--slot", "floor", "--file", "/dev/null"])
        .args(["--no-loop", "--dbname", &url])
        .args(["-o", "proto_version=1", "-o", "publication_names=floor"])
        .stdin(Stdio::null())
        .stderr(Stdio::null());
    Ok(reader)
}

fn alone(server: &Server, database: &Database<'_>, first: u64, rows: u64) -> anyhow::Result<f64> {
    let mut reader = recvlogical(server, database)?;
    // It ends with the first message at or behind this place: a marker behind the rows.
    let committed = write(server, database, first, rows)?;
    let end = marker(server, database)?;
    let status = reader
        .args(["--endpos", &end])
        .status()
        .context("pg_recvlogical")?;
    ensure!(status.success(), "pg_recvlogical failed");
    let rate = rate(rows, committed);
    let mut admin = Connection::open(server.port(), database.name())?;
    admin.run("SELECT pg_drop_replication_slot('floor')")?;
    Ok(rate)
}

/// The place behind everything that was written.
fn marker(server: &Server, database: &Database<'_>) -> anyhow::Result<String> {
    let output = Command::new(server.binaries().program("psql"))
        .args([
            "-X",
            "-t",
            "-A",
            "-d",
            &server.url_for("postgres", database.name()),
        ])
        .args(["-c", "SELECT pg_current_wal_lsn()"])
        .output()?;
    Ok(String::from_utf8(output.stdout)?.trim().to_owned())
}

fn through_gateway(server: &Server, database: &Database<'_>, first: u64, rows: u64) -> anyhow::Result<f64> {
    let gateway = Running::start(Kind::Ours, &super::watch(&database.url(), "wal"), None)?;
    let mut stream = receiver::open(gateway.address, Protocol::Bare, Kind::Ours.path())?;
    stream.set_read_timeout(Some(PATIENCE))?;
    let reader = std::thread::spawn(move || -> anyhow::Result<Instant> {
        receiver::count(&mut stream, rows)?;
        Ok(Instant::now())
    });
    let committed = write(server, database, first, rows)?;
    let ended = match reader.join() {
        Ok(ended) => ended.with_context(|| gateway.log())?,
        Err(_) => anyhow::bail!("the reader panicked"),
    };
    drop(gateway);
    let mut admin = Connection::open(server.port(), database.name())?;
    // The next pass begins with a slot that keeps nothing.
    let free = "SELECT pg_drop_replication_slot(slot_name) FROM pg_replication_slots WHERE NOT active";
    let deadline = Instant::now() + PATIENCE;
    let idle = "DO $$ BEGIN IF EXISTS (SELECT FROM pg_replication_slots WHERE active) THEN RAISE 'active'; END IF; END $$";
    while admin.run(idle).is_err() {
        ensure!(Instant::now() < deadline, "the slot stays active");
        std::thread::sleep(Duration::from_millis(20));
    }
    admin.run(free)?;
    Ok(rows as f64 / (ended - committed).as_secs_f64())
}

fn report(floor: f64, ours: f64, notes: Vec<String>, quick: bool) -> Report {
    let mut figures = vec![Figure {
        what: "rows from commit to one client".to_owned(),
        ours,
        unit: "rows/s",
        against: FLOOR,
        theirs: floor,
        bar: Bar::Least(0.6 * floor),
    }];
    figures.retain(|figure| !figure.ours.is_nan());
    let mut table = Table::new(&["who", "rows/s"]);
    for (name, rate) in [(FLOOR, floor), (OURS, ours)] {
        table.rows.push(vec![name.into(), short(rate)]);
    }
    Report {
        scenario: "wal",
        notes,
        figures,
        table,
        quick,
    }
}
