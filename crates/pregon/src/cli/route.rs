//! `pregon route explain`: what the rules would do with a sample row, and why.

use std::process::ExitCode;
use std::sync::Arc;
use std::time::SystemTime;

use bytes::Bytes;
use clap::ValueEnum;

use super::settings::File;
use super::{Usage, output};
use crate::auth::Claims;
use crate::config::Config;
use crate::event::{Event, EventId, Op};
use crate::route::Router;
use crate::route::explain::{Explanation, RuleExplanation};
use crate::route::rule::CLIENTS;

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

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Operation {
    Insert,
    Update,
    Delete,
    Truncate,
}

impl From<Operation> for Op {
    fn from(operation: Operation) -> Self {
        match operation {
            Operation::Insert => Self::Insert,
            Operation::Update => Self::Update,
            Operation::Delete => Self::Delete,
            Operation::Truncate => Self::Truncate,
        }
    }
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
    let told = Router::build(&config)?.explain(&event(args, &config)?);
    if args.json {
        output::json(&told)?;
    } else {
        print(&told)?;
    }
    Ok(ExitCode::SUCCESS)
}

fn event(args: &Explain, config: &Config) -> anyhow::Result<Event> {
    let source = args.source.as_str();
    let listen = config.listen.iter().find(|listen| listen.name == source);
    let listen = listen.map(|listen| listen.channel.as_str());
    let origin = listen.or_else(|| config.redis.as_ref()?.origin(source));
    if source == CLIENTS && config.socketio.is_some() {
        return emitted(args);
    }
    if origin.is_none() && !config.watch.iter().any(|watch| watch.name == source) {
        let clients = config.socketio.is_some().then_some(CLIENTS);
        let known = config.sources().chain(clients).collect::<Vec<_>>().join(", ");
        return Err(Usage::error(format!(
            "--source {source}: no such source; there are: {known}"
        )));
    }
    let row = args.row.as_deref().map(output::argument_or_input).transpose()?;
    let mut event = Event {
        source: source.into(),
        op: args.op.into(),
        row: None,
        old: args.old.clone().map(|old| object("--old", old)).transpose()?,
        message: None,
        channel: None,
        name: None,
        payload: None,
        claims: None,
        id: EventId::unique(),
        at: SystemTime::now(),
    };
    match (origin, row) {
        (Some(origin), row) => {
            event.op = Op::Message;
            event.channel = Some(Arc::from(origin));
            event.message = Some(Bytes::from(row.unwrap_or_default().trim().to_owned()));
        }
        (None, None) if args.op == Operation::Truncate => {}
        (None, None) => return Err(Usage::error("--row is missing: give a sample row as JSON")),
        // What a delete carries is the row that was.
        (None, Some(row)) if args.op == Operation::Delete => event.old = Some(object("--row", row)?),
        (None, Some(row)) => event.row = Some(object("--row", row)?),
    }
    Ok(event)
}

/// What a client emits.
fn emitted(args: &Explain) -> anyhow::Result<Event> {
    let name = args
        .event
        .as_deref()
        .ok_or_else(|| Usage::error("--event is missing: name what the client emits"))?;
    let row = args.row.as_deref().map(output::argument_or_input).transpose()?;
    let message = Bytes::from(row.unwrap_or_else(|| "null".into()).trim().to_owned());
    let claims = args.claims.clone().map(|claims| object("--claims", claims));
    Ok(Event {
        name: Some(Arc::from(name)),
        claims: claims.transpose()?.map(parsed).transpose()?,
        ..Event::message(Arc::from(CLIENTS), None, message)
    })
}

fn parsed(claims: Bytes) -> anyhow::Result<Claims> {
    Ok(Claims::new(serde_json::from_slice(&claims)?, None))
}

fn object(argument: &str, text: String) -> anyhow::Result<Bytes> {
    match serde_json::from_str::<serde_json::Map<String, serde_json::Value>>(&text) {
        Ok(_) => Ok(Bytes::from(text.trim().to_owned())),
        Err(error) => Err(Usage::error(format!("{argument} is no JSON object: {error}"))),
    }
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
