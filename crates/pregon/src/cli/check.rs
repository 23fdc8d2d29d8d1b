//! `pregon check`: everything that is wrong with a configuration, at once; connects to nothing unless it is asked to.

use std::process::ExitCode;

use serde_json::json;

use super::settings::{self, File};
use super::{block_on, output};
use crate::config::{Config, Problems};
use crate::limits::descriptors;

/// Check a configuration: file, line, key and remedy of everything that is wrong with it
///
/// The environment is laid over the file as `serve` does it. Exit code 1 when anything is wrong. Connects to nothing without
/// `--database`; `pregon doctor` examines the database itself.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  pregon check
  pregon check --database
  pregon check --config shop.toml --json")]
pub(super) struct Args {
    /// Print one JSON object: {"ok", "problems", "warnings"}
    #[arg(long)]
    pub(super) json: bool,

    /// Compare the columns that routes name, and the router's time zone, with the database of the configuration
    #[arg(long)]
    pub(super) database: bool,
}

pub(super) fn run(args: &Args, file: &File) -> anyhow::Result<ExitCode> {
    let mut checked = file.load();
    if args.database
        && let Ok(config) = &checked
    {
        let problems = block_on(compare(config, file))?;
        if !problems.0.is_empty() {
            checked = Err(problems);
        }
    }
    let warnings = checked.as_ref().map(warnings).unwrap_or_default();
    if args.json {
        let told = match &checked {
            Ok(_) => json!({ "ok": true, "problems": [], "warnings": warnings }),
            Err(problems) => {
                json!({ "ok": false, "error": "the configuration is wrong", "problems": problems, "warnings": warnings })
            }
        };
        output::json(&told)?;
    } else {
        match &checked {
            Ok(config) => output::line(format_args!("{}: ok: {}", file.path().display(), summary(config)))?,
            Err(problems) => output::line(problems)?,
        }
        for warning in &warnings {
            output::complain(format_args!("warning: {warning}"));
        }
    }
    Ok(if checked.is_ok() {
        ExitCode::SUCCESS
    } else {
        ExitCode::FAILURE
    })
}

/// What the database has otherwise.
async fn compare(config: &Config, file: &File) -> anyhow::Result<Problems> {
    let session = settings::admin(config).await?;
    let wrong = crate::columns::examine(&session, config).await?;
    Ok(crate::columns::placed(&wrong, Some(file.path())))
}

/// What works and should not stay so.
fn warnings(config: &Config) -> Vec<String> {
    let secret = match settings::shared_secret(&config.auth) {
        Ok(secret) => secret.as_deref().and_then(settings::weakness),
        Err(error) => Some(output::chain(&error)),
    };
    let shortage = descriptors::shortage(config.limits.connections, descriptors::highest());
    secret.into_iter().chain(shortage).collect()
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
            "decrypts",
            config
                .decrypt
                .iter()
                .map(|section| section.name.as_str())
                .collect(),
        ),
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
