//! What reading the WAL costs the application's writers: pgbench inserts while pregón reads the slot, beside the same while
//! `pg_recvlogical` alone does.
//!
//! Each reader has a database of its own on one server and stays attached all the time, so that both walsenders meet all of the WAL in
//! both cases; only the one whose database is written has something to send.

use std::process::Child;

use anyhow::Context;
use pregon_testkit::Database;

use super::{Effort, wal};
use crate::{
    contestant::{Kind, Running},
    pgbench,
    report::{Bar, Figure, Report, Table, median, short},
};

const CLIENTS: usize = 32;
const FLOOR: &str = "pg_recvlogical reads the slot";
const OURS: &str = "pregón reads the slot";
const TABLE: &str = "CREATE TABLE public.bench (id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY, producto text, cantidad int, total numeric)";

/// Transactions a second, one after the other.
struct Pair {
    floor: f64,
    ours: f64,
}

/// Ends with its owner.
struct Reader(Child);

impl Drop for Reader {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

pub(crate) fn run(effort: Effort) -> anyhow::Result<Report> {
    if let Some(obstacle) = Kind::Ours.obstacle() {
        return Ok(report(&[], vec![format!("left out: {obstacle}")], effort.quick));
    }
    let runtime = super::runtime()?;
    let server = runtime.block_on(super::postgres_with_fsync())?;
    let databases = runtime.block_on(async {
        let pair = (Database::create(&server).await?, Database::create(&server).await?);
        pair.0.execute(TABLE).await?;
        pair.1.execute(TABLE).await?;
        anyhow::Ok(pair)
    })?;
    let (floor, ours) = &databases;
    let reader = wal::recvlogical(&server, floor)?
        .spawn()
        .context("pg_recvlogical")?;
    let mut reader = Reader(reader);
    let gateway = Running::start(Kind::Ours, &super::watch(&ours.url(), "wal"), None)?;
    let (pairs, seconds) = if effort.quick {
        (3, 2)
    } else {
        (4 * effort.passes, 8)
    };
    let rate = |database| pgbench::inserts(&server, database, "bench", CLIENTS, seconds);
    rate(floor)?; // Warm caches.
    let mut rates = Vec::new();
    for number in 0..pairs {
        // Another begins each time: checkpoints and whatever else comes in turns.
        let (floor, ours) = if number % 2 == 0 {
            let floor = rate(floor)?;
            (floor, rate(ours)?)
        } else {
            let ours = rate(ours)?;
            (rate(floor)?, ours)
        };
        rates.push(Pair { floor, ours });
    }
    let ended = reader.0.try_wait()?;
    anyhow::ensure!(ended.is_none(), "pg_recvlogical ended: {ended:?}");
    drop(gateway);
    let notes = vec![
        format!(
            "pgbench, single-row INSERTs by {CLIENTS} clients, fsync on, {pairs} pairs of {seconds} s that take turns, everything on the \
             same {} cores. Nobody follows the channel.",
            crate::usage::cores()
        ),
        interval(&rates),
    ];
    Ok(report(&rates, notes, effort.quick))
}

/// Mean and 95 % confidence interval of the pairs' ratios (normal approximation).
fn interval(pairs: &[Pair]) -> String {
    let ratios: Vec<f64> = pairs.iter().map(|pair| pair.ours / pair.floor).collect();
    let count = ratios.len() as f64;
    let mean = ratios.iter().sum::<f64>() / count;
    let spread = ratios.iter().map(|ratio| (ratio - mean).powi(2)).sum::<f64>() / (count - 1.0);
    let half = 1.96 * (spread / count).sqrt();
    format!("Ratio of the pairs: {mean:.3} ± {half:.3} (mean, 95 % confidence).")
}

fn report(pairs: &[Pair], notes: Vec<String>, quick: bool) -> Report {
    let middle = |value: fn(&Pair) -> f64| median(&pairs.iter().map(value).collect::<Vec<f64>>());
    let (ours, floor) = (middle(|pair| pair.ours), middle(|pair| pair.floor));
    let mut figures = vec![Figure {
        what: format!("inserts, {CLIENTS} clients, watch by wal"),
        ours,
        unit: "tps",
        against: FLOOR,
        theirs: floor,
        bar: Bar::Least(0.97 * floor),
    }];
    figures.retain(|figure| !figure.ours.is_nan());
    let mut table = Table::new(&["pair", FLOOR, OURS]);
    for (number, pair) in pairs.iter().enumerate() {
        let cells = [(number + 1).to_string(), short(pair.floor), short(pair.ours)];
        table.rows.push(cells.into());
    }
    Report {
        scenario: "slot",
        notes,
        figures,
        table,
        quick,
    }
}
