//! From sending COMMIT to arrival at a client, at 100 transactions a second of one row and at 10 of 100 rows, with fsync on: a bare
//! LISTEN client, the same with our trigger, and clients of pregón: WebSocket by NOTIFY, by the outbox and from the WAL, and Socket.IO
//! by NOTIFY.
//!
//! The ways have a database each on one server and take turns every second, so that they meet the same disk. A
//! contestant's reader is a thread with a blocking socket; it sends what arrived and when to the writer's thread.

use std::{
    collections::BTreeMap,
    process::Command,
    time::{Duration, Instant},
};

use anyhow::{Context, bail, ensure};
use pregon_testkit::{Database, Server};

use super::Effort;
use crate::{
    contestant::{self, Kind, Running},
    postgres::Connection,
    receiver::{self, Arrivals},
    report::{Bar, Figure, Report, Table, median, quantile, short},
};

/// What is written in a second.
#[derive(Debug)]
struct Load {
    name: &'static str,
    transactions: u32,
    rows: u64,
}

const SINGLE: Load = Load {
    name: "100 transactions/s of one row",
    transactions: 100,
    rows: 1,
};
const BULK: Load = Load {
    name: "10 transactions/s of 100 rows",
    transactions: 10,
    rows: 100,
};
/// A delivery that takes longer is lost.
const PATIENCE: Duration = Duration::from_secs(10);

const BARE: &str = "bare trigger, bare LISTEN client";
const TRIGGER: &str = "our trigger, bare LISTEN client";
const GATEWAY: &str = "our trigger, pregón, WebSocket client";
const OUTBOX: &str = "outbox, pregón, WebSocket client";
const WAL: &str = "the WAL, pregón, WebSocket client";
const SOCKETIO: &str = "our trigger, pregón, Socket.IO client";

const TABLE: &str = "CREATE TABLE public.bench (id bigint PRIMARY KEY, producto text, cantidad int, total numeric, nota text)";
const BARE_TRIGGER: &str = "CREATE FUNCTION public.tell() RETURNS trigger LANGUAGE plpgsql AS \
    $$BEGIN PERFORM pg_notify('bare', row_to_json(NEW)::text); RETURN NEW; END$$; \
    CREATE TRIGGER tell AFTER INSERT ON public.bench FOR EACH ROW EXECUTE FUNCTION public.tell()";

/// One way from a COMMIT to a client.
struct Way {
    name: &'static str,
    writer: Connection,
    arrivals: Arrivals,
    next: u64,
    /// What keeps the other end alive.
    _server: Option<Running>,
}

/// Milliseconds from sending COMMIT, and from sending the INSERT before it.
#[derive(Debug, Default, Clone)]
struct Times {
    commit: Vec<f64>,
    insert: Vec<f64>,
}

#[derive(Debug, Clone, Copy)]
struct Sample {
    p50: f64,
    p99: f64,
    insert_p50: f64,
}

pub(crate) fn run(effort: Effort) -> anyhow::Result<Report> {
    let runtime = super::runtime()?;
    let server = runtime.block_on(super::postgres_with_fsync())?;
    let databases: Vec<Database<'_>> = runtime.block_on(async {
        let mut all = Vec::new();
        for _ in 0..6 {
            let database = Database::create(&server).await?;
            database.execute(TABLE).await?;
            all.push(database);
        }
        anyhow::Ok(all)
    })?;
    let [bare, trigger, gateway, outbox, wal, socketio] = databases.as_slice() else {
        bail!("six databases")
    };
    runtime.block_on(bare.execute(BARE_TRIGGER))?;
    let mut notes = notes(effort);
    let mut ways = vec![listening(BARE, &server, bare, "bare")?];
    match Kind::Ours.obstacle() {
        Some(obstacle) => notes.push(format!("pregón is left out: {obstacle}")),
        None => {
            install(trigger)?;
            ways.push(listening(TRIGGER, &server, trigger, "pregon")?);
            ways.push(through_gateway(GATEWAY, Kind::Ours, &server, gateway, "notify")?);
            ways.push(through_gateway(OUTBOX, Kind::Ours, &server, outbox, "outbox")?);
            ways.push(through_gateway(WAL, Kind::Ours, &server, wal, "wal")?);
            ways.push(through_gateway(
                SOCKETIO,
                Kind::OursSocketIo,
                &server,
                socketio,
                "notify",
            )?);
        }
    }
    let rounds = if effort.quick { 3 } else { 8 };
    let mut samples = Samples::new();
    for load in [&SINGLE, &BULK] {
        slice(&mut ways, load, 1)?; // Warm caches, plans and sockets.
        for _ in 0..effort.passes {
            for (name, times) in slice(&mut ways, load, rounds)? {
                samples.entry((load.name, name)).or_default().push(sample(&times));
            }
        }
    }
    Ok(report(&samples, notes, effort.quick))
}

/// The passes of each load and way.
type Samples = BTreeMap<(&'static str, &'static str), Vec<Sample>>;

/// Every way takes its turn of one second, `rounds` times.
fn slice(ways: &mut [Way], load: &Load, rounds: u32) -> anyhow::Result<BTreeMap<&'static str, Times>> {
    let mut all = BTreeMap::<&str, Times>::new();
    for _ in 0..rounds {
        for way in &mut *ways {
            let times = turn(way, load).context(way.name)?;
            let sum = all.entry(way.name).or_default();
            sum.commit.extend(times.commit);
            sum.insert.extend(times.insert);
        }
    }
    Ok(all)
}

fn turn(way: &mut Way, load: &Load) -> anyhow::Result<Times> {
    let mut times = Times::default();
    let mut due = Instant::now();
    for _ in 0..load.transactions {
        std::thread::sleep(due.saturating_duration_since(Instant::now()));
        due += Duration::from_secs(1) / load.transactions;
        let (first, last) = (way.next + 1, way.next + load.rows);
        way.next = last;
        let insert = format!(
            "BEGIN; INSERT INTO public.bench SELECT id, 'Café de olla', 3, 87.50, repeat('x', 120) FROM generate_series({first}, {last}) id"
        );
        let inserting = Instant::now();
        way.writer.run(&insert)?;
        let committing = Instant::now();
        way.writer.run("COMMIT")?;
        for expected in first..=last {
            let arrival = way.arrivals.recv_timeout(PATIENCE);
            let (id, arrived) = arrival.with_context(|| format!("row {expected} did not arrive"))??;
            ensure!(id == expected, "row {id} arrived instead of {expected}");
            times.commit.push((arrived - committing).as_secs_f64() * 1e3);
            times.insert.push((arrived - inserting).as_secs_f64() * 1e3);
        }
    }
    Ok(times)
}

fn listening(
    name: &'static str,
    server: &Server,
    database: &Database<'_>,
    channel: &str,
) -> anyhow::Result<Way> {
    let mut listener = Connection::open(server.port(), database.name())?;
    listener.run(&format!("LISTEN {channel}"))?;
    let arrivals = receiver::spawn(move || Ok(vec![receiver::identify(&listener.notification()?)?]));
    let writer = Connection::open(server.port(), database.name())?;
    Ok(Way {
        name,
        writer,
        arrivals,
        next: 0,
        _server: None,
    })
}

fn through_gateway(
    name: &'static str,
    kind: Kind,
    server: &Server,
    database: &Database<'_>,
    capture: &str,
) -> anyhow::Result<Way> {
    let gateway = Running::start(kind, &super::watch(&database.url(), capture), None)?;
    let arrivals = receiver::connect(&gateway, kind)?;
    let writer = Connection::open(server.port(), database.name())?;
    Ok(Way {
        name,
        writer,
        arrivals,
        next: 0,
        _server: Some(gateway),
    })
}

/// Installs our trigger with our own command; no gateway runs there.
fn install(database: &Database<'_>) -> anyhow::Result<()> {
    let folder = pregon_testkit::process::scratch("install", None)?;
    let config = folder.join("pregon.toml");
    std::fs::write(&config, super::watch(&database.url(), "notify"))?;
    let output = Command::new(contestant::pregon())
        .args(["db", "apply", "--config"])
        .arg(&config)
        .output()?;
    ensure!(
        output.status.success(),
        "db apply: {}{}",
        String::from_utf8_lossy(&output.stdout),
        String::from_utf8_lossy(&output.stderr)
    );
    Ok(())
}

fn sample(times: &Times) -> Sample {
    Sample {
        p50: quantile(&times.commit, 0.5),
        p99: quantile(&times.commit, 0.99),
        insert_p50: quantile(&times.insert, 0.5),
    }
}

fn notes(effort: Effort) -> Vec<String> {
    vec![
        format!(
            "{} and {}, fsync on; the ways take turns every second on one server; medians of {} passes of {} seconds each. \
             Milliseconds from sending COMMIT to the client's read of each row.",
            SINGLE.name,
            BULK.name,
            effort.passes,
            if effort.quick { 3 } else { 8 }
        ),
        "Every row must arrive, in order, before the next transaction is written.".into(),
    ]
}

fn middle(samples: &Samples, load: &Load, way: &'static str, value: fn(&Sample) -> f64) -> f64 {
    let passes = samples.get(&(load.name, way)).into_iter().flatten();
    median(&passes.map(value).collect::<Vec<f64>>())
}

fn report(samples: &Samples, notes: Vec<String>, quick: bool) -> Report {
    let figure = |what: &str, load: &Load, way: &'static str, value: fn(&Sample) -> f64, bar: Bar| Figure {
        what: format!("COMMIT to {what}, {}", load.name),
        ours: middle(samples, load, way, value),
        unit: "ms",
        against: BARE,
        theirs: middle(samples, load, BARE, value),
        bar,
    };
    let p50 = |s: &Sample| s.p50;
    let p99 = |s: &Sample| s.p99;
    let (promised, twice) = (Bar::Ratio(1.3), Bar::Ratio(2.0));
    let mut figures = vec![
        figure("client, p50", &SINGLE, GATEWAY, p50, promised),
        figure("client, p99", &SINGLE, GATEWAY, p99, promised),
        figure("client, outbox, p50", &SINGLE, OUTBOX, p50, twice),
        figure("client, outbox, p99", &SINGLE, OUTBOX, p99, Bar::None),
        figure("client, wal, p50", &SINGLE, WAL, p50, twice),
        figure("a Socket.IO client, p50", &SINGLE, SOCKETIO, p50, Bar::None),
        figure("a Socket.IO client, p99", &SINGLE, SOCKETIO, p99, Bar::None),
        figure("client, p50", &BULK, GATEWAY, p50, Bar::None),
        figure("client, outbox, p50", &BULK, OUTBOX, p50, twice),
        figure("client, wal, p50", &BULK, WAL, p50, twice),
    ];
    figures.retain(|figure| !figure.ours.is_nan());
    Report {
        scenario: "latency",
        notes,
        figures,
        table: table(samples),
        quick,
    }
}

fn table(samples: &Samples) -> Table {
    let mut table = Table::new(&["load", "way", "p50 ms", "p99 ms", "p50 ms from the INSERT"]);
    for load in [&SINGLE, &BULK] {
        for way in [BARE, TRIGGER, GATEWAY, OUTBOX, WAL, SOCKETIO] {
            if samples.contains_key(&(load.name, way)) {
                let cell = |value| short(middle(samples, load, way, value));
                table.rows.push(vec![
                    load.name.into(),
                    way.into(),
                    cell(|s| s.p50),
                    cell(|s| s.p99),
                    cell(|s| s.insert_p50),
                ]);
            }
        }
    }
    table
}
