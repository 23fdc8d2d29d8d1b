//! `pregon check`: everything that is wrong with a configuration, at once; connects to nothing.

use std::process::ExitCode;

use serde_json::json;

use super::output;
use super::settings::File;
use crate::config::Config;

/// Check a configuration: file, line, key and remedy of everything that is wrong with it
///
/// The environment is laid over the file as `serve` does it. Exit code 1 when anything is wrong. Connects to nothing; `pregon doctor`
/// examines the database.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  pregon check
  pregon check --config shop.toml --json")]
pub(super) struct Args {
    /// Print one JSON object: {"ok", "problems"}
    #[arg(long)]
    json: bool,
}

pub(super) fn run(args: &Args, file: &File) -> anyhow::Result<ExitCode> {
    let checked = file.load();
    if args.json {
        let problems = checked
            .as_ref()
            .err()
            .map(|problems| json!(problems))
            .unwrap_or_else(|| json!([]));
        output::json(&json!({ "ok": checked.is_ok(), "problems": problems }))?;
    } else {
        match &checked {
            Ok(config) => output::line(format_args!("{}: ok: {}", file.path().display(), summary(config)))?,
            Err(problems) => output::line(problems)?,
        }
    }
    Ok(if checked.is_ok() {
        ExitCode::SUCCESS
    } else {
        ExitCode::FAILURE
    })
}

/// What is configured, in a line.
fn summary(config: &Config) -> String {
    let names =
        |label: &str, names: Vec<&str>| (!names.is_empty()).then(|| format!("{label} {}", names.join(", ")));
    let parts = [
        Some(format!("listens on {}", config.server.listen)),
        names(
            "watches",
            config.watch.iter().map(|watch| watch.name.as_str()).collect(),
        ),
        names(
            "listens to",
            config.listen.iter().map(|listen| listen.name.as_str()).collect(),
        ),
        (!config.route.is_empty()).then(|| format!("{} route(s)", config.route.len())),
        names(
            "endpoints",
            config
                .endpoint
                .iter()
                .map(|endpoint| endpoint.path.as_str())
                .collect(),
        ),
        names(
            "channels",
            config
                .channel
                .iter()
                .map(|channel| channel.name.as_str())
                .collect(),
        ),
        Some(
            if config.auth.required() {
                "a token is required"
            } else {
                "no token is required"
            }
            .to_owned(),
        ),
    ];
    parts.into_iter().flatten().collect::<Vec<_>>().join("; ")
}
