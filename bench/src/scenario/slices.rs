//! Servers side by side, each case of a fan-out in short slices that go round them, so that whatever else the machine does
//! meets all alike. A server whose turn it is not has nothing to do.

use std::{collections::BTreeMap, time::Duration};

use anyhow::{Context, ensure};

use super::Effort;
use crate::{
    contestant::{Kind, Running},
    load::{Load, Measured, PAYLOAD, Pace},
    report::{Table, median, short},
    usage,
};

#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Case {
    pub(super) clients: usize,
    /// Publishes in flight; 0 means ten a second.
    pub(super) depth: usize,
    /// WebSockets that publish, their publishes in flight together; 0 means HTTP, a connection for each in flight.
    pub(super) sockets: usize,
}

/// Depths of the cases over HTTP, in their order.
pub(super) const DEPTHS: [usize; 3] = [0, 1, 64];

/// How publishes come: depth and sockets of a [`Case`].
pub(super) type Way = (usize, usize);

/// The depths over HTTP.
pub(super) const HTTP: [Way; 3] = [(0, 0), (1, 0), (64, 0)];

impl Case {
    pub(super) fn name(self) -> String {
        let clients = short(self.clients as f64);
        match (self.depth, self.sockets) {
            (0, _) => format!("{clients} clients, 10/s"),
            (depth, 0) => format!("{clients} clients, {depth} in flight"),
            (depth, 1) => format!("{clients} clients, {depth} in flight from one WebSocket"),
            (depth, sockets) => format!("{clients} clients, {depth} in flight from {sockets} WebSockets"),
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
pub(super) struct Sample {
    /// Server CPU per delivery, microseconds.
    pub(super) micros: f64,
    pub(super) per_second: f64,
    pub(super) p50: f64,
    pub(super) p99: f64,
}

/// What peers find in their environment: where their database is.
pub(super) type Environment = [(&'static str, String)];

/// Client sockets that fit under the usual limit of 20,000 open files.
const SOCKETS: usize = 18_000;
/// Long enough for thousands of deliveries at ten publishes a second, short beside what disturbs.
const SLICE: Duration = Duration::from_millis(700);

/// Everything that was measured.
#[derive(Debug, Default)]
pub(super) struct Samples(BTreeMap<(Kind, Case), Vec<Sample>>);

/// The numbers of clients.
pub(super) fn sizes(effort: Effort) -> &'static [usize] {
    if effort.quick { &[1000] } else { &[1000, 5000] }
}

/// Those of `kinds` that can run here; why not the others goes into the notes.
pub(super) fn possible(kinds: &[Kind], notes: &mut Vec<String>) -> Vec<Kind> {
    let mut kinds = kinds.to_vec();
    kinds.retain(|kind| match kind.obstacle() {
        Some(obstacle) => {
            notes.push(format!("{} is left out: {obstacle}", kind.name()));
            false
        }
        None => true,
    });
    kinds
}

/// Measures all cases of all servers. Those that stand together in the order of `kinds` run side by side.
pub(super) fn measure(
    kinds: &[Kind],
    ways: &[Way],
    effort: Effort,
    environment: &Environment,
) -> anyhow::Result<Samples> {
    let mut samples = Samples::default();
    usage::pin_load()?;
    for _ in 0..effort.passes {
        for &clients in sizes(effort) {
            for together in kinds.chunks((SOCKETS / clients).max(1)) {
                pass(together, clients, ways, effort, environment, &mut samples)?;
            }
        }
    }
    usage::unpin()?;
    Ok(samples)
}

fn pass(
    kinds: &[Kind],
    clients: usize,
    ways: &[Way],
    effort: Effort,
    environment: &Environment,
    samples: &mut Samples,
) -> anyhow::Result<()> {
    let mut running = Vec::new();
    for &kind in kinds {
        let start = || {
            let core = Some(usage::SERVER_CORE);
            let known = if kind.is_ours() { &[] } else { environment };
            let server = Running::start_with(kind, "", core, known)?;
            let mut load = Load::connect(server.address, kind.protocol(), kind.path(), clients)?;
            load.settle()?;
            anyhow::Ok((server, load))
        };
        let (server, load) = start().with_context(|| format!("{} with {clients} clients", kind.name()))?;
        running.push((kind, server, load));
    }
    let slices = if effort.quick { 2 } else { 5 };
    for &(depth, sockets) in ways {
        let case = Case {
            clients,
            depth,
            sockets,
        };
        for (kind, server, load) in &mut running {
            let path = kind.publisher_path();
            load.publish_over(server.address, path, sockets)
                .with_context(|| format!("publishers of {}", kind.name()))?;
        }
        for slice in 0..=slices {
            for place in 0..running.len() {
                for (kind, _, load) in &mut running {
                    load.attend().context(kind.name())?;
                }
                let Some((kind, server, load)) = running.get_mut(place) else {
                    continue;
                };
                let sample = take(server, load, case);
                let sample = sample.with_context(|| format!("{}, {}", kind.name(), case.name()))?;
                // The first publishes pay for memory that is touched for the first time.
                if slice > 0 {
                    samples.0.entry((*kind, case)).or_default().push(sample);
                }
            }
        }
    }
    Ok(())
}

fn take(server: &Running, load: &mut Load, case: Case) -> anyhow::Result<Sample> {
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

/// What the figures mean.
pub(super) fn notes(effort: Effort) -> Vec<String> {
    vec![
        format!(
            "A delivery is one {PAYLOAD}-byte JSON payload at one client; figures are microseconds of server CPU (user and \
             system, all threads) per delivery, medians of all slices of {} passes; servers take turns every {} ms. Server on core {}, load on core {}.",
            effort.passes,
            SLICE.as_millis(),
            usage::SERVER_CORE,
            usage::LOAD_CORE
        ),
        "Every delivery is counted; one that is lost or doubled fails the run. Publishes (HTTP requests on \
         keep-alive connections, or messages of WebSockets) are part of the figure for all. \"In flight\": published and not yet at every client."
            .into(),
    ]
}

impl Samples {
    /// The median of one server's value in one case.
    pub(super) fn middle(&self, kind: Kind, case: Case, value: impl Fn(&Sample) -> f64) -> f64 {
        let all = self.0.get(&(kind, case)).map(Vec::as_slice).unwrap_or_default();
        median(&all.iter().map(value).collect::<Vec<_>>())
    }

    /// All medians.
    pub(super) fn table(&self) -> Table {
        let mut table = Table::new(&[
            "case",
            "server",
            "µs CPU/delivery",
            "deliveries/s",
            "p50 ms",
            "p99 ms",
        ]);
        let mut keys: Vec<(Kind, Case)> = self.0.keys().copied().collect();
        keys.sort_by_key(|&(kind, case)| (case, kind));
        for (kind, case) in keys {
            let cell = |value: fn(&Sample) -> f64| short(self.middle(kind, case, value));
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
}
