//! `pregon route explain`: what the rules would do with a sample row, and why.

use std::process::ExitCode;

use serde::de::DeserializeOwned;

use super::settings::File;
use super::{Usage, output};
use crate::config::Config;
use crate::config::Operation;
use crate::event::Event;
use crate::route::Routes;
use crate::route::explain::{Explanation, RuleExplanation};
use crate::route::sample::Sample;
use pregon_capture::change::Op;

/// Understand the routes
#[derive(Debug, clap::Subcommand)]
pub(super) enum Command {
    /// Say what each rule would do with a sample row or message, and why; connects to nothing
    ///
    /// For a [[listen]] and what comes from Redis the row stands for the message.
    #[command(after_help = "\
Examples:
  pregon route explain --source messages --row '{\"id\":1,\"conversation_id\":42}'
  psql -qtAc 'SELECT row_to_json(m) FROM messages m LIMIT 1' | pregon route explain --source messages --row - --op update")]
    Explain(Explain),
}

#[derive(Debug, clap::Args)]
pub(super) struct Explain {
    /// Name of the watch, listen or source of Redis; `clients` for what clients of Socket.IO emit
    #[arg(long, value_name = "NAME")]
    source: String,

    /// What a client emits, with `--source clients`; the row stands for its first argument
    #[arg(long, value_name = "NAME")]
    event: Option<String>,

    /// The token's claims of that client
    #[arg(long, value_name = "JSON")]
    claims: Option<String>,

    /// The row (the deleted row for a delete), or `-` for standard input
    #[arg(long, value_name = "JSON|-")]
    row: Option<String>,

    /// The row before an update
    #[arg(long, value_name = "JSON")]
    old: Option<String>,

    /// What happened to the row
    #[arg(long, value_enum, default_value_t = Operation::Insert)]
    op: Operation,

    /// Print one JSON object
    #[arg(long)]
    json: bool,
}

impl Command {
    pub(super) fn wants_json(&self) -> bool {
        let Self::Explain(args) = self;
        args.json
    }
}

pub(super) fn run(command: &Command, file: &File) -> anyhow::Result<ExitCode> {
    let Command::Explain(args) = command;
    let config = file.load()?;
    let told = Routes::build(&config)?.explain(&event(args, &config)?);
    if args.json {
        output::json(&told)?;
    } else {
        print(&told)?;
    }
    Ok(ExitCode::SUCCESS)
}

fn event(args: &Explain, config: &Config) -> anyhow::Result<Event> {
    let content = args.row.as_deref().map(output::argument_or_input).transpose()?;
    let content = content.map(|text| text.trim().to_owned());
    let row = content
        .as_deref()
        .and_then(|text| serde_json::from_str(text).ok());
    let sample = Sample {
        source: args.source.clone(),
        op: Some(Op::from(args.op).as_str().to_owned()),
        // A message need not be JSON.
        text: content.filter(|_| row.is_none()),
        row,
        old: json("--old", args.old.as_deref())?,
        event: args.event.clone(),
        claims: json("--claims", args.claims.as_deref())?,
    };
    let event = sample.event(config);
    event.map_err(|wrong| Usage::error(format!("--{}: {}", wrong.part, wrong.message)))
}

fn json<T: DeserializeOwned>(argument: &str, text: Option<&str>) -> anyhow::Result<Option<T>> {
    let parsed = text.map(serde_json::from_str).transpose();
    parsed.map_err(|error| Usage::error(format!("{argument} is not a JSON object: {error}")))
}

fn print(told: &Explanation) -> anyhow::Result<()> {
    if told.rules.is_empty() {
        return output::line(format_args!("{}: no rule takes it", told.source));
    }
    for rule in &told.rules {
        print_rule(rule)?;
    }
    Ok(())
}

fn print_rule(rule: &RuleExplanation) -> anyhow::Result<()> {
    let verdict = if rule.publishes {
        "publishes"
    } else {
        "does nothing"
    };
    output::line(format_args!("{} {verdict}: {}", rule.rule, rule.reason))?;
    if let Some(when) = &rule.when {
        output::line(format_args!("  when     {when}"))?;
    }
    if rule.publishes {
        output::line(format_args!("  channels {}", rule.channels.join(", ")))?;
        output::line(format_args!(
            "  event    {}",
            rule.event.as_deref().unwrap_or_default()
        ))?;
        output::line(format_args!(
            "  data     {}",
            rule.data.as_ref().map(ToString::to_string).unwrap_or_default()
        ))?;
    }
    Ok(())
}
