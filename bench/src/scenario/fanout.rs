//! Server CPU per delivery of a 200-byte event to 1,000 and 5,000 clients: paced, one and 64 publishes in flight.

use super::Effort;
use super::slices::{self, Case, DEPTHS, Samples};
use crate::{
    contestant::Kind,
    report::{Bar, Figure, Report},
};

const KINDS: [Kind; 6] = [
    Kind::Floor,
    Kind::Ours,
    Kind::FloorJoined,
    Kind::OursFull,
    Kind::Bun,
    Kind::NodeWs,
];

pub(crate) fn run(effort: Effort) -> anyhow::Result<Report> {
    let mut notes = slices::notes(effort);
    let kinds = slices::possible(&KINDS, &mut notes);
    let samples = slices::measure(&kinds, &slices::HTTP, effort, &[])?;
    Ok(report(&samples, notes, effort))
}

fn report(samples: &Samples, notes: Vec<String>, effort: Effort) -> Report {
    let micros = |kind, case| samples.middle(kind, case, |sample| sample.micros);
    let mut figures = Vec::new();
    for &clients in slices::sizes(effort) {
        for ours in [Kind::Ours, Kind::OursFull] {
            for depth in DEPTHS {
                let case = Case {
                    clients,
                    depth,
                    sockets: 0,
                };
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
        table: samples.table(),
        quick: effort.quick,
    }
}
