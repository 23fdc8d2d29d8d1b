//! Server CPU per delivery where clients publish over WebSockets, with many publishes in flight.

use super::Effort;
use super::slices::{self, Case, Samples, Way};
use crate::{
    contestant::Kind,
    report::{Bar, Figure, Report},
};

const KINDS: [Kind; 3] = [Kind::Ours, Kind::Bun, Kind::NodeWs];

/// Publishes in flight, and the WebSockets that they come from.
const WAYS: [Way; 3] = [(1, 1), (64, 1), (64, 16)];

pub(crate) fn run(effort: Effort) -> anyhow::Result<Report> {
    let mut notes = slices::notes(effort);
    let kinds = slices::possible(&KINDS, &mut notes);
    notes.push("Ours appends to its log and answers each publish; the peers do neither.".into());
    let samples = slices::measure(&kinds, &WAYS, effort, &[])?;
    Ok(report(&samples, notes, effort))
}

fn report(samples: &Samples, notes: Vec<String>, effort: Effort) -> Report {
    let micros = |kind, case| samples.middle(kind, case, |sample| sample.micros);
    let mut figures = Vec::new();
    for &clients in slices::sizes(effort) {
        for (depth, sockets) in WAYS {
            let case = Case {
                clients,
                depth,
                sockets,
            };
            figures.push(Figure {
                what: case.name(),
                ours: micros(Kind::Ours, case),
                unit: "µs",
                against: Kind::Bun.name(),
                theirs: micros(Kind::Bun, case),
                bar: if depth == 1 { Bar::None } else { Bar::Ratio(0.9) },
            });
        }
    }
    figures.retain(|figure| !figure.ours.is_nan());
    Report {
        scenario: "publish",
        notes,
        figures,
        table: samples.table(),
        quick: effort.quick,
    }
}
