//! Server CPU per delivery of a 200-byte event to 1,000 and 5,000 clients: paced, one and 64 publishes in flight.

use std::{collections::BTreeMap, time::Duration};

use anyhow::{Context, ensure};

use super::Effort;
use crate::{
    contestant::{Kind, Running},
    load::{Load, Measured, PAYLOAD, Pace},
    report::{Bar, Figure, Report, Table, median, short},
    usage,
};

#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
struct Case {
    clients: usize,
    /// Publishes in flight; 0 means ten a second.
    depth: usize,
}

impl Case {
    fn name(self) -> String {
        match self.depth {
            0 => format!("{} clients, 10/s", short(self.clients as f64)),
            depth => format!("{} clients, {depth} in flight", short(self.clients as f64)),
        }
    }

    fn pace(self) -> Pace {
        match self.depth {
            0 => Pace::PerSecond(10),
            depth => Pace::InFlight(depth),
        }
    }
}

#[derive(Debug, Clone, Copy)]
struct Sample {
    micros: f64,
    per_second: f64,
    p50: f64,
    p99: f64,
}

/// Client sockets that fit under the usual limit of 20,000 open files.
const SOCKETS: usize = 18_000;
/// Long enough for thousands of deliveries at ten publishes a second, short beside what disturbs.
const SLICE: Duration = Duration::from_millis(700);

type Samples = BTreeMap<(Kind, Case), Vec<Sample>>;

const FLOORS_AND_OURS: [Kind; 4] = [Kind::Floor, Kind::Ours, Kind::FloorJoined, Kind::OursFull];
const PEERS: [Kind; 2] = [Kind::Bun, Kind::NodeWs];

pub(crate) fn run(effort: Effort) -> anyhow::Result<Report> {
    let sizes: &[usize] = if effort.quick { &[1000] } else { &[1000, 5000] };
    let mut kinds = FLOORS_AND_OURS.to_vec();
    kinds.extend(PEERS);
    let mut notes = notes(effort);
    kinds.retain(|kind| match kind.obstacle() {
        Some(obstacle) => {
            notes.push(format!("{} is left out: {obstacle}", kind.name()));
            false
        }
        None => true,
    });
    let mut samples = Samples::new();
    usage::pin_load()?;
    for _ in 0..effort.passes {
        for &clients in sizes {
            for together in kinds.chunks((SOCKETS / clients).max(1)) {
                pass(together, clients, effort, &mut samples)?;
            }
        }
    }
    usage::unpin()?;
    Ok(report(&samples, sizes, notes, effort.quick))
}

/// Some servers side by side from start to end: each case in short slices that go round them, so that whatever else the
/// machine does meets all alike. A server whose turn it is not has nothing to do.
fn pass(kinds: &[Kind], clients: usize, effort: Effort, samples: &mut Samples) -> anyhow::Result<()> {
    let mut running = Vec::new();
    for &kind in kinds {
        let start = || {
            let server = Running::start(kind, "", Some(usage::SERVER_CORE))?;
            let mut load = Load::connect(server.address, kind.protocol(), kind.path(), clients)?;
            load.settle()?;
            anyhow::Ok((server, load))
        };
        let (server, load) = start().with_context(|| format!("{} with {clients} clients", kind.name()))?;
        running.push((kind, server, load));
    }
    let slices = if effort.quick { 2 } else { 5 };
    for depth in [0, 1, 64] {
        let case = Case { clients, depth };
        for slice in 0..=slices {
            for (kind, server, load) in &mut running {
                let sample = measure(server, load, case);
                let sample = sample.with_context(|| format!("{}, {}", kind.name(), case.name()))?;
                // The first publishes pay for memory that is touched for the first time.
                if slice > 0 {
                    samples.entry((*kind, case)).or_default().push(sample);
                }
            }
        }
    }
    Ok(())
}

fn measure(server: &Running, load: &mut Load, case: Case) -> anyhow::Result<Sample> {
    let before = usage::cpu(server.pid())?;
    let measured = load.run(case.pace(), SLICE)?;
    let used = usage::cpu(server.pid())? - before;
    sample(measured, used, case.clients)
}

fn sample(measured: Measured, used: Duration, clients: usize) -> anyhow::Result<Sample> {
    let expected = (measured.publishes * clients) as u64;
    ensure!(
        measured.deliveries == expected,
        "{} deliveries instead of {expected}",
        measured.deliveries
    );
    Ok(Sample {
        micros: used.as_secs_f64() * 1e6 / measured.deliveries as f64,
        per_second: measured.deliveries as f64 / measured.seconds,
        p50: measured.p50,
        p99: measured.p99,
    })
}

fn notes(effort: Effort) -> Vec<String> {
    vec![
        format!(
            "A delivery is one {PAYLOAD}-byte JSON payload at one client; figures are microseconds of server CPU (user and \
             system, all threads) per delivery, medians of all slices of {} passes; servers take turns every {} ms. Server on core {}, load on core {}.",
            effort.passes,
            SLICE.as_millis(),
            usage::SERVER_CORE,
            usage::LOAD_CORE
        ),
        "Every delivery is counted; one that is lost or doubled fails the run. Publishes are HTTP requests on keep-alive \
         connections and part of the figure for all. \"In flight\": published and not yet at every client."
            .into(),
    ]
}

fn report(samples: &Samples, sizes: &[usize], notes: Vec<String>, quick: bool) -> Report {
    let micros = |kind, case| middle(samples, kind, case, |sample| sample.micros);
    let mut figures = Vec::new();
    for &clients in sizes {
        for ours in [Kind::Ours, Kind::OursFull] {
            for depth in [0, 1, 64] {
                let case = Case { clients, depth };
                let (floor, bar) = match depth {
                    64 => (Kind::FloorJoined, Bar::Value(0.35)),
                    _ => (Kind::Floor, Bar::Ratio(1.15)),
                };
                // The full protocol's frames are longer than the floor's: shown, and not what the bar is about.
                let bar = if ours == Kind::Ours { bar } else { Bar::None };
                figures.push(Figure {
                    what: format!("{}: {}", ours.name(), case.name()),
                    ours: micros(ours, case),
                    unit: "µs",
                    against: floor.name(),
                    theirs: micros(floor, case),
                    bar,
                });
            }
        }
    }
    figures.retain(|figure| !figure.ours.is_nan());
    Report {
        scenario: "fanout",
        notes,
        figures,
        table: everything(samples),
        quick,
    }
}

fn middle(samples: &Samples, kind: Kind, case: Case, value: impl Fn(&Sample) -> f64) -> f64 {
    let all = samples.get(&(kind, case)).map(Vec::as_slice).unwrap_or_default();
    median(&all.iter().map(value).collect::<Vec<_>>())
}

fn everything(samples: &Samples) -> Table {
    let mut table = Table::new(&[
        "case",
        "server",
        "µs CPU/delivery",
        "deliveries/s",
        "p50 ms",
        "p99 ms",
    ]);
    let mut keys: Vec<(Kind, Case)> = samples.keys().copied().collect();
    keys.sort_by_key(|&(kind, case)| (case, kind));
    for (kind, case) in keys {
        let cell = |value: fn(&Sample) -> f64| short(middle(samples, kind, case, value));
        table.rows.push(vec![
            case.name(),
            kind.name().into(),
            cell(|sample| sample.micros),
            cell(|sample| sample.per_second),
            cell(|sample| sample.p50),
            cell(|sample| sample.p99),
        ]);
    }
    table
}
