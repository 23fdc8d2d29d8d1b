//! From sending COMMIT to arrival at a client, at 100 transactions a second with fsync on: a bare LISTEN client, the
//! same with our trigger, and clients of pregón: WebSocket by NOTIFY, by the outbox and from the WAL, and Socket.IO by NOTIFY.
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

const RATE: u32 = 100;
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
    slice(&mut ways, 1)?; // Warm caches, plans and sockets.
    let mut samples = BTreeMap::<&str, Vec<Sample>>::new();
    for _ in 0..effort.passes {
        for (name, times) in slice(&mut ways, rounds)? {
            samples.entry(name).or_default().push(sample(&times));
        }
    }
    Ok(report(&samples, notes, effort.quick))
}

/// Every way takes its turn of one second, `rounds` times.
fn slice(ways: &mut [Way], rounds: u32) -> anyhow::Result<BTreeMap<&'static str, Times>> {
    let mut all = BTreeMap::<&str, Times>::new();
    for _ in 0..rounds {
        for way in &mut *ways {
            let times = turn(way).context(way.name)?;
            let sum = all.entry(way.name).or_default();
            sum.commit.extend(times.commit);
            sum.insert.extend(times.insert);
        }
    }
    Ok(all)
}

fn turn(way: &mut Way) -> anyhow::Result<Times> {
    let mut times = Times::default();
    let mut due = Instant::now();
    for _ in 0..RATE {
        std::thread::sleep(due.saturating_duration_since(Instant::now()));
        due += Duration::from_secs(1) / RATE;
        way.next += 1;
        let insert = format!(
            "BEGIN; INSERT INTO public.bench VALUES ({}, 'Café de olla', 3, 87.50, repeat('x', 120))",
            way.next
        );
        let inserting = Instant::now();
        way.writer.run(&insert)?;
        let committing = Instant::now();
        way.writer.run("COMMIT")?;
        let (id, arrived) = way
            .arrivals
            .recv_timeout(PATIENCE)
            .with_context(|| format!("row {} did not arrive", way.next))??;
        ensure!(id == way.next, "row {id} arrived instead of {}", way.next);
        times.commit.push((arrived - committing).as_secs_f64() * 1e3);
        times.insert.push((arrived - inserting).as_secs_f64() * 1e3);
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
            "{RATE} transactions a second of one row, fsync on; the ways take turns every second on one server; medians of {} \
             passes of {} rows each. Milliseconds from sending COMMIT to the client's read.",
            effort.passes,
            if effort.quick { 300 } else { 800 }
        ),
        "Every row must arrive, in order, before the next is written.".into(),
    ]
}

fn report(samples: &BTreeMap<&str, Vec<Sample>>, notes: Vec<String>, quick: bool) -> Report {
    let middle = |name: &str, value: fn(&Sample) -> f64| {
        let values: Vec<f64> = samples.get(name).into_iter().flatten().map(value).collect();
        median(&values)
    };
    let figure = |what: &str, way: &str, value: fn(&Sample) -> f64, bar: Bar| Figure {
        what: what.to_owned(),
        ours: middle(way, value),
        unit: "ms",
        against: BARE,
        theirs: middle(BARE, value),
        bar,
    };
    let promised = Bar::Ratio(1.3);
    let mut figures = vec![
        figure("COMMIT to client, p50", GATEWAY, |s| s.p50, promised),
        figure("COMMIT to client, p99", GATEWAY, |s| s.p99, promised),
        figure(
            "COMMIT to client, outbox, p50",
            OUTBOX,
            |s| s.p50,
            Bar::Ratio(2.0),
        ),
        figure("COMMIT to client, outbox, p99", OUTBOX, |s| s.p99, Bar::None),
        figure("COMMIT to client, wal, p50", WAL, |s| s.p50, Bar::Ratio(2.0)),
        figure(
            "COMMIT to a Socket.IO client, p50",
            SOCKETIO,
            |s| s.p50,
            Bar::None,
        ),
        figure(
            "COMMIT to a Socket.IO client, p99",
            SOCKETIO,
            |s| s.p99,
            Bar::None,
        ),
    ];
    figures.retain(|figure| !figure.ours.is_nan());
    let mut table = Table::new(&["way", "p50 ms", "p99 ms", "p50 ms from the INSERT"]);
    for name in [BARE, TRIGGER, GATEWAY, OUTBOX, WAL, SOCKETIO]
        .into_iter()
        .filter(|name| samples.contains_key(name))
    {
        let cell = |value| short(middle(name, value));
        table.rows.push(vec![
            name.into(),
            cell(|s| s.p50),
            cell(|s| s.p99),
            cell(|s| s.insert_p50),
        ]);
    }
    Report {
        scenario: "latency",
        notes,
        figures,
        table,
        quick,
    }
}
