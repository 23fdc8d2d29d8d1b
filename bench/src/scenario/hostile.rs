//! What somebody who only listens notices of floods: an event every 100 ms to a client on a bare endpoint, alone and beside each attack
//! by 50 connections at full speed, with the limits that a gateway has without being told any.
//!
//! The gateway has one core and the load the other. Attackers write as long as their sockets take something and come again at once
//! when they are cut off; a thread of its own does so. The times are from sending a publish to the client's read.

mod attack;

use std::{
    io::{Read, Write},
    net::TcpStream,
    time::{Duration, Instant},
};

use anyhow::{Context, ensure};

use super::Effort;
use crate::{
    contestant::{Kind, Running},
    load::API_KEY,
    receiver::{self, Arrivals},
    report::{Bar, Figure, Report, Table, median, quantile, short},
    usage,
};
use attack::{ATTACKS, Attack, Attackers};

/// Time between two events.
const PAUSE: Duration = Duration::from_millis(100);
/// An event that takes longer is lost.
const PATIENCE: Duration = Duration::from_secs(20);
/// How often the attacker's p99 may be that of a quiet gateway, and what it may cost of memory.
const TIMES: f64 = 3.0;
const MIB: f64 = 64.0;

const ALONE: &str = "nobody attacks";

/// What one pass found.
#[derive(Debug, Clone, Copy)]
struct Sample {
    p50: f64,
    p99: f64,
    /// Resident bytes beyond those before it, MiB.
    memory: f64,
    /// Processor time of a second.
    cpu: f64,
}

/// The innocent: one publishes, one listens.
struct Innocent {
    publisher: TcpStream,
    arrivals: Arrivals,
    next: u64,
}

pub(crate) fn run(effort: Effort) -> anyhow::Result<Report> {
    let events = if effort.quick { 30 } else { 200 };
    let mut alone = Vec::new();
    let mut beside: Vec<Vec<Sample>> = vec![Vec::new(); ATTACKS.len()];
    for _ in 0..effort.passes {
        for (attack, samples) in ATTACKS.iter().zip(&mut beside) {
            let (quiet, loud) = pass(attack, events).with_context(|| attack.name)?;
            alone.push(quiet);
            samples.push(loud);
        }
    }
    Ok(report(&alone, &beside, events, effort.quick))
}

/// A gateway of its own: first quiet, then attacked.
fn pass(attack: &'static Attack, events: u64) -> anyhow::Result<(Sample, Sample)> {
    let server = Running::start(Kind::OursLimited, attack::CONFIGURATION, Some(usage::SERVER_CORE))?;
    usage::pin_load()?;
    let arrivals = receiver::connect(&server, Kind::OursLimited)?;
    let mut innocent = Innocent {
        publisher: TcpStream::connect(server.address)?,
        arrivals,
        next: 0,
    };
    innocent.publisher.set_nodelay(true)?;
    attack::prepare(&server)?;
    innocent.measure(&server, 10)?; // Warm caches.
    let quiet = innocent.measure(&server, events)?;
    let attackers = Attackers::start(server.address, attack)?;
    let loud = innocent.measure(&server, events);
    let log = server.log();
    attackers.stop()?;
    let loud = loud.with_context(|| log)?;
    usage::unpin()?;
    Ok((quiet, loud))
}

impl Innocent {
    fn measure(&mut self, server: &Running, events: u64) -> anyhow::Result<Sample> {
        let before = usage::resident(server.pid())?;
        let (cpu, began) = (usage::cpu(server.pid())?, Instant::now());
        let (mut times, mut most) = (Vec::new(), before);
        let mut due = Instant::now();
        for _ in 0..events {
            std::thread::sleep(due.saturating_duration_since(Instant::now()));
            due = Instant::now() + PAUSE;
            times.push(self.event()?);
            most = most.max(usage::resident(server.pid())?);
        }
        let spent = usage::cpu(server.pid())?.saturating_sub(cpu);
        Ok(Sample {
            p50: quantile(&times, 0.5),
            p99: quantile(&times, 0.99),
            memory: (most - before) as f64 / f64::from(1 << 20),
            cpu: spent.as_secs_f64() / began.elapsed().as_secs_f64(),
        })
    }

    /// Milliseconds from sending a publish to its arrival.
    fn event(&mut self) -> anyhow::Result<f64> {
        self.next += 1;
        let body = format!(
            r#"{{"channel":"bench","event":"tick","data":{{"id":{}}}}}"#,
            self.next
        );
        let request = format!(
            "POST /api/publish HTTP/1.1\r\nHost: bench\r\nAuthorization: Bearer {API_KEY}\r\n\
             Content-Type: application/json\r\nContent-Length: {}\r\n\r\n{body}",
            body.len()
        );
        let sent = Instant::now();
        self.publisher.write_all(request.as_bytes())?;
        let (id, arrived) = self
            .arrivals
            .recv_timeout(PATIENCE)
            .context("an event was lost")??;
        ensure!(id == self.next, "event {id} arrived instead of {}", self.next);
        let mut answer = [0; 4096];
        let length = self.publisher.read(&mut answer)?;
        ensure!(
            answer.starts_with(b"HTTP/1.1 200"),
            "{}",
            String::from_utf8_lossy(answer.get(..length).unwrap_or_default())
        );
        Ok((arrived - sent).as_secs_f64() * 1e3)
    }
}

fn report(alone: &[Sample], beside: &[Vec<Sample>], events: u64, quick: bool) -> Report {
    let middle = |samples: &[Sample], value: fn(&Sample) -> f64| {
        median(&samples.iter().map(value).collect::<Vec<f64>>())
    };
    let quiet = middle(alone, |sample| sample.p99);
    let mut figures = Vec::new();
    let mut table = Table::new(&["beside", "p50 ms", "p99 ms", "memory MiB", "processor"]);
    let mut row = |name: &str, samples: &[Sample]| {
        table.rows.push(vec![
            name.into(),
            short(middle(samples, |sample| sample.p50)),
            short(middle(samples, |sample| sample.p99)),
            short(middle(samples, |sample| sample.memory)),
            format!("{:.0} %", middle(samples, |sample| sample.cpu) * 100.0),
        ]);
    };
    row(ALONE, alone);
    for (attack, samples) in ATTACKS.iter().zip(beside) {
        row(attack.name, samples);
        figures.push(Figure {
            what: format!("p99 beside {}", attack.name),
            ours: middle(samples, |sample| sample.p99),
            unit: "ms",
            against: ALONE,
            theirs: quiet,
            bar: Bar::Ratio(TIMES),
        });
        figures.push(Figure {
            what: format!("memory beside {}", attack.name),
            ours: middle(samples, |sample| sample.memory),
            unit: "MiB",
            against: "–",
            theirs: f64::NAN,
            bar: Bar::Value(MIB),
        });
    }
    let notes = vec![format!(
        "{events} events, one every {} ms, by HTTP to a client on a bare endpoint; each attack has a gateway of its own, which is measured quiet first. \
         Everybody comes from one address. Memory is what the process takes more at its most than before.",
        PAUSE.as_millis()
    )];
    Report {
        scenario: "hostile",
        notes,
        figures,
        table,
        quick,
    }
}
