//! Runs many seeds, several at a time, and says of one that failed how to run it again.

use std::fmt::Write as _;
use std::path::PathBuf;
use std::time::{Duration, Instant};

use anyhow::Context;
use futures_util::{StreamExt, stream};
use pregon_testkit::Server;

use super::feature::{Capture, Feature};
use super::plan::Plan;
use super::run::{Outcome, run};
use super::shrink::shrink;

/// A run of one seed takes seconds; one that takes this long hangs.
const LONGEST: Duration = Duration::from_secs(180);

/// Which seeds to run, and how.
#[derive(Debug, Clone)]
pub struct Options {
    /// How changes are captured.
    pub capture: Capture,
    /// The first seed.
    pub first: u64,
    /// How many.
    pub count: u64,
    /// What schemas may be made of.
    pub features: Vec<Feature>,
    /// The gateway.
    pub binary: PathBuf,
    /// How many at a time.
    pub jobs: usize,
    /// Whether seeds that fail are made smaller.
    pub shrink: bool,
    /// Whether to say each seed as it ends.
    pub progress: bool,
}

impl Options {
    /// Takes over what `PREGON_CONVERGENCE_…` says: `SEED`, `SEEDS`, `CAPTURE`, `FEATURES`, `JOBS`, `SHRINK`. `None`: not
    /// this capture.
    pub fn from_environment(mut self) -> anyhow::Result<Option<Self>> {
        let of = |name: &str| std::env::var(format!("PREGON_CONVERGENCE_{name}")).ok();
        if let Some(capture) = of("CAPTURE")
            && capture.parse::<Capture>()? != self.capture
        {
            return Ok(None);
        }
        if let Some(count) = of("SEEDS") {
            self.count = count.parse().context("PREGON_CONVERGENCE_SEEDS")?;
            self.progress = true;
        }
        if let Some(seed) = of("SEED") {
            self.first = seed.parse().context("PREGON_CONVERGENCE_SEED")?;
            self.count = of("SEEDS").map_or(Ok(1), |count| count.parse())?;
        }
        if let Some(jobs) = of("JOBS") {
            self.jobs = jobs.parse().context("PREGON_CONVERGENCE_JOBS")?;
        }
        if let Some(names) = of("FEATURES") {
            self.features = names.split(',').map(str::parse).collect::<anyhow::Result<_>>()?;
        }
        self.shrink = self.shrink || of("SHRINK").is_some();
        Ok(Some(self))
    }
}

/// What came of many seeds.
#[derive(Debug, Default)]
pub struct Summary {
    /// Seeds that ran.
    pub seeds: usize,
    /// Of all seeds together.
    pub statements: usize,
    /// Statements that failed with and without pregón.
    pub refused: usize,
    /// Quiet points.
    pub quiet: usize,
    /// Events.
    pub events: usize,
    /// Gaps.
    pub gaps: usize,
    /// Seeds whose triggers wrote without end, with and without pregón: not run to their ends.
    pub endless: usize,
    /// Seeds that failed, with the whole story.
    pub faults: Vec<(u64, String)>,
    /// How long it took.
    pub took: Duration,
}

impl Summary {
    fn add(&mut self, seed: u64, outcome: Outcome) {
        self.seeds += 1;
        self.statements += outcome.statements;
        self.refused += outcome.refused;
        self.quiet += outcome.quiet;
        self.events += outcome.events;
        self.gaps += outcome.gaps;
        self.endless += usize::from(outcome.endless);
        if let Some(fault) = outcome.fault {
            self.faults.push((seed, fault));
        }
    }

    /// The stories of all that failed; `None` is what is wanted.
    pub fn failure(&self) -> Option<String> {
        if self.faults.is_empty() {
            return None;
        }
        let mut text = format!("{} of {} seeds failed\n", self.faults.len(), self.seeds);
        for (_, fault) in &self.faults {
            let _ = writeln!(text, "{fault}\n");
        }
        Some(text)
    }
}

/// Runs them on a server that was prepared.
pub async fn run_seeds(options: &Options, server: &Server) -> Summary {
    let started = Instant::now();
    let mut summary = Summary::default();
    let seeds = options.first..options.first + options.count;
    let runs = seeds.map(|seed| async move { (seed, one(seed, options, server).await) });
    let mut running = stream::iter(runs).buffer_unordered(options.jobs.max(1));
    while let Some((seed, outcome)) = running.next().await {
        if options.progress {
            say(options, seed, &outcome);
        }
        summary.add(seed, outcome);
    }
    summary.faults.sort_by_key(|(seed, _)| *seed);
    summary.took = started.elapsed();
    summary
}

#[allow(clippy::print_stdout)]
fn say(options: &Options, seed: u64, outcome: &Outcome) {
    let capture = options.capture.as_str();
    match &outcome.fault {
        None if outcome.endless => println!("{capture} {seed}: writes without end"),
        None => println!(
            "{capture} {seed}: clean, {} events, {} gaps",
            outcome.events, outcome.gaps
        ),
        Some(fault) => println!(
            "{capture} {seed}: FAILED {}",
            fault.lines().take(4).collect::<Vec<_>>().join(" | ")
        ),
    }
}

async fn one(seed: u64, options: &Options, server: &Server) -> Outcome {
    let major = server.binaries().major();
    let plan = Plan::draw(seed, options.capture, major, &options.features);
    let mut outcome = attempt(&plan, options, server).await;
    let Some(fault) = outcome.fault.take() else {
        return outcome;
    };
    let mut shown = plan.clone();
    if options.shrink {
        let fails = async |plan: &Plan| Ok(attempt(plan, options, server).await.fault.is_some());
        shown = shrink(&plan, fails).await.unwrap_or(shown);
    }
    outcome.fault = Some(story(seed, options, major, &fault, &shown));
    outcome
}

async fn attempt(plan: &Plan, options: &Options, server: &Server) -> Outcome {
    let ran = Box::pin(tokio::time::timeout(
        LONGEST,
        run(plan, server, &options.binary, None),
    ))
    .await;
    let wrong = |fault: String| Outcome {
        fault: Some(fault),
        ..Outcome::default()
    };
    match ran {
        Ok(Ok(outcome)) => outcome,
        Ok(Err(error)) => wrong(format!("the run itself failed: {error:#}")),
        Err(_) => wrong(format!("not done after {LONGEST:?}")),
    }
}

/// What happened, the SQL, and how to see it again.
fn story(seed: u64, options: &Options, major: u32, fault: &str, plan: &Plan) -> String {
    let capture = options.capture.as_str();
    let features: Vec<&str> = options.features.iter().map(|feature| feature.as_str()).collect();
    format!(
        "seed {seed}, capture {capture}, PostgreSQL {major}: {fault}\n  again: PREGON_CONVERGENCE_SEED={seed} PREGON_CONVERGENCE_CAPTURE={capture} \
         PREGON_CONVERGENCE_FEATURES={} cargo test -p pregon --test main converge:: (PREGON_CONVERGENCE_SHRINK=1 makes it smaller)\n{}",
        features.join(","),
        plan.script()
    )
}
