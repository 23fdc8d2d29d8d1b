//! Server CPU per delivery over Socket.IO, beside our plain WebSocket, the official server on Node and on bun, and how the
//! chat inbox and the marketplace of the seeds are built today.

use anyhow::Context;
use pregon_testkit::{Database, Redis, Server};

use super::Effort;
use super::slices::{self, Case, DEPTHS, Samples};
use crate::{
    contestant::Kind,
    report::{Bar, Figure, Report},
};

/// The first two run side by side in every case: their ratio is what is promised.
const KINDS: [Kind; 7] = [
    Kind::Ours,
    Kind::OursSocketIo,
    Kind::SocketIo,
    Kind::SocketIoBun,
    Kind::OursFull,
    Kind::SeedChat,
    Kind::SeedHub,
];

/// Whose figures stand beside ours, with the bar.
const BESIDE: [(Kind, Bar); 5] = [
    (Kind::Ours, Bar::Ratio(1.3)),
    (Kind::SocketIo, Bar::None),
    (Kind::SocketIoBun, Bar::None),
    (Kind::SeedChat, Bar::None),
    (Kind::SeedHub, Bar::None),
];

pub(crate) fn run(effort: Effort) -> anyhow::Result<Report> {
    let runtime = super::runtime()?;
    let mut notes = slices::notes(effort);
    let mut kinds = slices::possible(&KINDS, &mut notes);
    // As in the other scenarios a database is there in any case; Redis is a program that may be missing.
    let postgres = runtime.block_on(Server::start(Default::default()))?;
    let database = runtime.block_on(Database::create(&postgres))?;
    let mut environment = vec![("DATABASE_URL", database.url())];
    let redis = runtime.block_on(Redis::start());
    match &redis {
        Ok(redis) => environment.push(("REDIS_URL", redis.url())),
        Err(error) => {
            notes.push(format!("{} is left out: {error:#}", Kind::SeedHub.name()));
            kinds.retain(|&kind| kind != Kind::SeedHub);
        }
    }
    let samples = slices::measure(&kinds, &slices::HTTP, effort, &environment).context("Socket.IO")?;
    notes.push(SEEDS.into());
    Ok(report(&samples, notes, effort))
}

const SEEDS: &str = "The seeds' processes pass on what PostgreSQL or Redis tells them: a publish to seed 000's is an INSERT, \
    to seed 002's a PUBLISH. Only the CPU of the Node process is counted, not that of the database (fsync off), which runs on both \
    cores.";

fn report(samples: &Samples, notes: Vec<String>, effort: Effort) -> Report {
    let micros = |kind, case| samples.middle(kind, case, |sample| sample.micros);
    let mut figures = Vec::new();
    for &clients in slices::sizes(effort) {
        for depth in DEPTHS {
            let case = Case {
                clients,
                depth,
                sockets: 0,
            };
            figures.extend(BESIDE.map(|(kind, bar)| Figure {
                what: format!("Socket.IO: {}", case.name()),
                ours: micros(Kind::OursSocketIo, case),
                unit: "µs",
                against: kind.name(),
                theirs: micros(kind, case),
                bar,
            }));
        }
    }
    figures.retain(|figure| !figure.ours.is_nan() && !figure.theirs.is_nan());
    Report {
        scenario: "socketio",
        notes,
        figures,
        table: samples.table(),
        quick: effort.quick,
    }
}
