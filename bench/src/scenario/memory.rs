//! Resident memory of a server: per idle connection, after a burst, and after all clients have left.

use std::time::{Duration, Instant};

use anyhow::{Context, ensure};

use super::Effort;
use crate::{
    contestant::{Kind, Running},
    load::{Load, Pace},
    report::{Bar, Figure, Report, Table, median, short},
    usage,
};

const KIB: f64 = 1024.0;
const MIB: f64 = KIB * KIB;
/// What an allocator needs to give pages back on its own clock.
const SETTLING: Duration = Duration::from_secs(15);

const KINDS: [Kind; 9] = [
    Kind::Ours,
    Kind::OursFull,
    Kind::OursSse,
    Kind::OursSocketIo,
    Kind::Floor,
    Kind::Bun,
    Kind::NodeWs,
    Kind::SocketIo,
    Kind::SocketIoBun,
];

/// Bytes.
#[derive(Debug, Clone, Copy)]
struct Sample {
    start: f64,
    per_idle: f64,
    per_after_burst: f64,
    left: f64,
    window: f64,
}

pub(crate) fn run(effort: Effort) -> anyhow::Result<Report> {
    // An open-file limit of 20,000 per process leaves room for 19,000 connections.
    let clients = if effort.quick { 4000 } else { 19_000 };
    let mut notes = vec![
        format!(
            "{} connections from one load process; resident bytes from smaps_rollup, medians of {} passes. Kernel memory \
             (about 5 KiB per connection on the server's side) is the same for all and not in the figures.",
            short(f64::from(clients)),
            effort.passes
        ),
        "The burst: 64 publishes of 200 bytes in flight to all clients. After it the window's bytes (our \
         pregon_window_bytes) are taken off. \"Left behind\": the least that is resident in the 15 s (quick: 1 s) after all clients have gone."
            .into(),
    ];
    let mut samples: Vec<(Kind, Vec<Sample>)> = Vec::new();
    for kind in KINDS {
        match kind.obstacle() {
            Some(obstacle) => notes.push(format!("{} is left out: {obstacle}", kind.name())),
            None => samples.push((kind, Vec::new())),
        }
    }
    usage::pin_load()?;
    for _ in 0..effort.passes {
        for (kind, samples) in &mut samples {
            let sample = pass(*kind, clients as usize, effort.quick);
            samples.push(sample.with_context(|| kind.name().to_owned())?);
        }
    }
    usage::unpin()?;
    Ok(report(&samples, notes, effort.quick))
}

fn pass(kind: Kind, clients: usize, quick: bool) -> anyhow::Result<Sample> {
    let server = Running::start(kind, "", Some(usage::SERVER_CORE))?;
    let files = usage::open_files(server.pid())?;
    let resident = || anyhow::Ok(usage::resident(server.pid())? as f64);
    let window = || {
        if kind.is_ours() {
            server.metric("pregon_window_bytes")
        } else {
            Ok(0.0)
        }
    };
    let start = resident()?;
    let mut load = Load::connect(server.address, kind.protocol(), kind.path(), clients)?;
    load.idle(Duration::from_secs(1))?;
    let idle = resident()?;
    load.settle()?;
    load.run(Pace::InFlight(64), Duration::from_secs(if quick { 1 } else { 3 }))?;
    load.idle(Duration::from_secs(1))?;
    let after_burst = resident()? - window()?;
    drop(load);
    let gone = Instant::now() + Duration::from_secs(30);
    while usage::open_files(server.pid())? > files + 8 {
        ensure!(
            Instant::now() < gone,
            "the server keeps connections of clients that have left"
        );
        std::thread::sleep(Duration::from_millis(50));
    }
    let window = window()?;
    let left = lowest(
        &resident,
        start + window,
        if quick { Duration::from_secs(1) } else { SETTLING },
    )? - window;
    let per = |bytes: f64| (bytes - start) / clients as f64;
    Ok(Sample {
        start,
        per_idle: per(idle),
        per_after_burst: per(after_burst),
        left,
        window,
    })
}

/// The least that is resident while the allocator gives back what it will; sooner when nothing is left to give.
fn lowest(
    resident: &dyn Fn() -> anyhow::Result<f64>,
    enough: f64,
    patience: Duration,
) -> anyhow::Result<f64> {
    let end = Instant::now() + patience;
    let mut lowest = resident()?;
    while lowest > enough && Instant::now() < end {
        std::thread::sleep(Duration::from_millis(200));
        lowest = lowest.min(resident()?);
    }
    Ok(lowest)
}

fn report(samples: &[(Kind, Vec<Sample>)], notes: Vec<String>, quick: bool) -> Report {
    let middle = |wanted: Kind, value: &dyn Fn(&Sample) -> f64| {
        let all = samples.iter().find(|(kind, _)| *kind == wanted);
        let values: Vec<f64> = all.iter().flat_map(|(_, all)| all.iter().map(value)).collect();
        median(&values)
    };
    let mut figures = Vec::new();
    for kind in KINDS.into_iter().filter(|kind| kind.is_ours()) {
        let (peer, most) = match kind {
            Kind::OursSocketIo => (Kind::SocketIoBun, 5.0),
            _ => (Kind::Bun, 4.0),
        };
        let figure = |what: &str, unit, value: &dyn Fn(&Sample) -> f64, most| Figure {
            what: format!("{}: {what}", kind.name()),
            ours: middle(kind, value),
            unit,
            against: peer.name(),
            theirs: middle(peer, value),
            bar: Bar::Value(most),
        };
        figures.push(figure("per idle connection", "KiB", &|s| s.per_idle / KIB, most));
        let left = |s: &Sample| (s.left - s.start) / MIB;
        figures.push(figure("left behind beyond start and window", "MiB", &left, 8.0));
    }
    figures.retain(|figure| !figure.ours.is_nan());
    let mut table = Table::new(&[
        "server",
        "start MiB",
        "KiB per idle connection",
        "KiB per connection after the burst",
        "left behind MiB",
        "window MiB",
    ]);
    for (kind, _) in samples {
        let cell = |value: &dyn Fn(&Sample) -> f64| short(middle(*kind, value));
        table.rows.push(vec![
            kind.name().into(),
            cell(&|s| s.start / MIB),
            cell(&|s| s.per_idle / KIB),
            cell(&|s| s.per_after_burst / KIB),
            cell(&|s| (s.left - s.start) / MIB),
            cell(&|s| s.window / MIB),
        ]);
    }
    Report {
        scenario: "memory",
        notes,
        figures,
        table,
        quick,
    }
}
