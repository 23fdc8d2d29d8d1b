//! `pregon top`: what a gateway does, in a terminal, from its `/metrics` and `/readyz`. It asks like any monitoring and needs no right of its own.
//!
//! `scrape` reads, `figures` makes rates and quantiles of two readings, `screen` draws them, `live` is the loop on a terminal.

mod figures;
mod live;
mod scrape;
mod screen;

use std::io::IsTerminal as _;
use std::process::ExitCode;
use std::time::Duration;

use super::publish::reachable;
use super::settings::File;
use super::{Usage, block_on, output};
use figures::Figures;
use scrape::{Reading, Scraper};

/// Lines of text are as wide as this where no terminal says otherwise.
const WIDTH: u16 = 100;

/// Watch a gateway: connections, rates, latency, sources, log and drops
///
/// Reads /metrics and /readyz of the gateway that the configuration describes, or of --url. Keys: q ends it, space holds the picture.
/// Where standard output is no terminal, it prints once as with --once.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  pregon top
  pregon top --url http://gateway-1:8080 --interval 5s
  pregon top --once --json | jq .commit_to_write.p99_ms
  pregon top --json                              one line for each interval, until it is stopped")]
pub(super) struct Args {
    /// The gateway; by default where the configuration says that it listens
    #[arg(long)]
    url: Option<String>,

    /// Pause between readings, which rates are of
    #[arg(long, value_name = "TIME", default_value = "1s", value_parser = humantime::parse_duration)]
    interval: Duration,

    /// Print the figures of one interval and end
    #[arg(long)]
    once: bool,

    /// Print JSON: one object with --once, otherwise one a line
    #[arg(long)]
    json: bool,
}

impl Args {
    /// Whether the result is one JSON value; without --once it is a stream.
    pub(super) fn wants_json(&self) -> bool {
        self.json && self.once
    }
}

pub(super) fn run(args: &Args, file: &File) -> anyhow::Result<ExitCode> {
    if args.interval.is_zero() {
        return Err(Usage::error("--interval must be greater than 0"));
    }
    let url = match &args.url {
        Some(url) => url.trim_end_matches('/').to_owned(),
        None => format!("http://{}", reachable(&file.load_if_there()?.server.listen)),
    };
    let scraper = Scraper::new(&url)?;
    if args.json && !args.once {
        return block_on(stream(&scraper, args.interval));
    }
    if args.once || !std::io::stdout().is_terminal() {
        return block_on(once(&scraper, args));
    }
    live::run(scraper, args.interval)?;
    Ok(ExitCode::SUCCESS)
}

async fn once(scraper: &Scraper, args: &Args) -> anyhow::Result<ExitCode> {
    let first = scraper.read().await?;
    let figures = next(scraper, &first, args.interval).await?.0;
    if args.json {
        output::json(&figures)?;
    } else {
        output::bytes(screen::text(&figures, WIDTH).as_bytes())?;
    }
    Ok(ExitCode::SUCCESS)
}

/// A line for each interval. A gateway that is away for a while is a line too.
async fn stream(scraper: &Scraper, interval: Duration) -> anyhow::Result<ExitCode> {
    let mut last = scraper.read().await?;
    loop {
        match next(scraper, &last, interval).await {
            Ok((figures, reading)) => {
                output::line(serde_json::to_string(&figures)?)?;
                last = reading;
            }
            Err(error) => output::line(output::failure(&error))?,
        }
    }
}

async fn next(scraper: &Scraper, last: &Reading, interval: Duration) -> anyhow::Result<(Figures, Reading)> {
    tokio::time::sleep(interval).await;
    let reading = scraper.read().await?;
    Ok((Figures::between(last, &reading), reading))
}
