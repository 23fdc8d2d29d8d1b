//! The command line: arguments in, exit code out. What a command does lies in its own file; `main` reads, runs and reports.
//!
//! Results go to standard output, logs and errors to standard error. Exit codes: 0 fine, 1 findings or failure, 2 wrong usage.

mod output;
mod logging;
mod settings;
mod init;
mod serve;
mod check;
mod db;
mod doctor;
mod doctor_log;
mod token;
mod publish;
mod listen;
mod route;
mod types;
mod top;
mod router;
mod router_inbox;
mod completions;
mod demo;
mod conformance;

use std::io::ErrorKind;
use std::path::PathBuf;
use std::process::ExitCode;
use std::sync::Arc;

use clap::{Parser, Subcommand};

use crate::config::Problems;
use crate::lines::Lines;

/// The realtime gateway for PostgreSQL: rows, notifications and publishes reach every client that may see them, in order.
#[derive(Debug, Parser)]
#[command(name = "pregon", version, max_term_width = 110, after_help = EXAMPLES)]
struct Cli {
    /// The configuration; `pregon.toml` by default
    #[arg(long, global = true, value_name = "FILE")]
    config: Option<PathBuf>,

    /// How to log: `human` or `json`, and a level (`error` … `trace`) or a filter such as `pregon=debug`; may be repeated
    #[arg(long = "log", alias = "log-level", global = true, value_name = "FORMAT|LEVEL")]
    log: Vec<String>,

    #[command(subcommand)]
    command: Command,
}

const EXAMPLES: &str = "\
Examples:
  pregon demo                                    see it work, with a database of its own
  pregon init                                    begin with your own: look at it and write a pregon.toml
  pregon check && pregon db plan                 what is configured, and the SQL that it needs
  pregon serve --config pregon.toml              run the gateway
  pregon listen --dsn postgres://… my_channel    print what a database notifies";

#[derive(Debug, Subcommand)]
enum Command {
    Init(init::Args),
    Serve(serve::Args),
    Check(check::Args),
    #[command(subcommand)]
    Db(db::Command),
    Doctor(doctor::Args),
    #[command(subcommand)]
    Token(token::Command),
    Publish(publish::Args),
    Listen(Box<listen::Args>),
    #[command(subcommand)]
    Route(route::Command),
    Types(types::Args),
    Top(top::Args),
    Router(router::Args),
    Completions(completions::Args),
    Demo(demo::Args),
    #[command(hide = true)]
    Conformance(conformance::Args),
}

impl Command {
    /// Whether a program reads the result: it shall find one JSON value in any case.
    fn wants_json(&self) -> bool {
        match self {
            Self::Init(args) => args.json,
            Self::Check(args) => args.json,
            Self::Db(command) => command.wants_json(),
            Self::Doctor(args) => args.json,
            Self::Token(command) => command.wants_json(),
            Self::Publish(args) => args.json,
            Self::Route(command) => command.wants_json(),
            Self::Router(args) => args.wants_json(),
            Self::Top(args) => args.wants_json(),
            // Their results are streams, logs or texts.
            Self::Serve(_)
            | Self::Listen(_)
            | Self::Types(_)
            | Self::Completions(_)
            | Self::Demo(_)
            | Self::Conformance(_) => false,
        }
    }
}

/// The arguments do not go together; clap could not know.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
struct Usage(String);

impl Usage {
    fn error(message: impl Into<String>) -> anyhow::Error {
        Self(message.into()).into()
    }
}

/// Reads the arguments, runs the command and says what went wrong.
pub fn main() -> ExitCode {
    let cli = match Cli::try_parse() {
        Ok(cli) => cli,
        Err(error) => {
            let _ = error.print(); // To a closed pipe, perhaps.
            return ExitCode::from(u8::try_from(error.exit_code()).unwrap_or(2));
        }
    };
    let json = cli.command.wants_json();
    let lines = match logging::start(&cli.log) {
        Ok(lines) => lines,
        Err(error) => return report(&error, json),
    };
    let code = run(cli, &lines);
    lines.finish();
    code.unwrap_or_else(|error| report(&error, json))
}

fn run(cli: Cli, lines: &Arc<Lines>) -> anyhow::Result<ExitCode> {
    let file = match cli.command {
        Command::Init(_) => settings::File::to_write(cli.config),
        _ => settings::File::new(cli.config)?,
    };
    match cli.command {
        Command::Init(args) => init::run(&args, &file),
        Command::Serve(args) => serve::run(&args, &file, lines),
        Command::Check(args) => check::run(&args, &file),
        Command::Db(command) => db::run(&command, &file),
        Command::Doctor(args) => doctor::run(&args, &file),
        Command::Token(command) => token::run(&command, &file),
        Command::Publish(args) => publish::run(&args, &file),
        Command::Listen(args) => listen::run(*args),
        Command::Route(command) => route::run(&command, &file),
        Command::Types(args) => types::run(&args, &file),
        Command::Top(args) => top::run(&args, &file),
        Command::Router(args) => router::run(&args, &file, lines),
        Command::Completions(args) => completions::run(&args),
        Command::Demo(args) => demo::run(&args),
        Command::Conformance(args) => conformance::run(&args),
    }
}

/// Prints an error, for a program too where it reads the result, and chooses the exit code.
fn report(error: &anyhow::Error, json: bool) -> ExitCode {
    let broken_pipe = |cause: &(dyn std::error::Error + 'static)| {
        cause
            .downcast_ref::<std::io::Error>()
            .is_some_and(|io| io.kind() == ErrorKind::BrokenPipe)
    };
    if error.chain().any(broken_pipe) {
        return ExitCode::SUCCESS; // `pregon db plan | head`: the reader has had enough.
    }
    let problems = error.downcast_ref::<Problems>();
    match problems {
        Some(problems) => output::complain(problems),
        None => output::complain(format_args!("error: {}", output::chain(error))),
    }
    if json {
        let _ = output::json(&output::failure(error)); // To a closed pipe, perhaps; the code says it too.
    }
    if error.is::<Usage>() {
        ExitCode::from(2)
    } else {
        ExitCode::FAILURE
    }
}

/// Tasks that a thread runs before it asks the kernel which sockets have something. With the 61 that tokio takes by default, floods of
/// large bodies let a small request wait for 6 ms before anybody notices it.
const TASKS_BETWEEN_POLLS: u32 = 8;

/// The runtime of processes that serve.
fn serving_runtime() -> std::io::Result<tokio::runtime::Runtime> {
    tokio::runtime::Builder::new_multi_thread()
        .event_interval(TASKS_BETWEEN_POLLS)
        .enable_all()
        .build()
}

/// A runtime for commands that talk to one server.
fn block_on<T>(work: impl Future<Output = anyhow::Result<T>>) -> anyhow::Result<T> {
    tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()?
        .block_on(work)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::indexing_slicing, clippy::panic)]

    use clap::CommandFactory;

    use super::*;

    #[test]
    fn the_arguments_are_consistent() {
        Cli::command().debug_assert();
    }

    #[test]
    fn every_command_teaches_with_an_example() {
        fn walk(command: &clap::Command) {
            for below in command.get_subcommands().filter(|below| !below.is_hide_set()) {
                assert!(below.get_about().is_some(), "{} says nothing", below.get_name());
                if below.has_subcommands() {
                    walk(below);
                } else {
                    let text = below
                        .get_after_help()
                        .map(ToString::to_string)
                        .unwrap_or_default();
                    assert!(text.contains("pregon "), "{} has no example", below.get_name());
                }
            }
        }
        walk(&Cli::command());
    }

    #[test]
    fn usage_errors_and_findings_have_their_codes() {
        assert_eq!(
            format!("{:?}", report(&Usage::error("x"), false)),
            format!("{:?}", ExitCode::from(2))
        );
        assert_eq!(
            format!("{:?}", report(&anyhow::anyhow!("x"), false)),
            format!("{:?}", ExitCode::FAILURE)
        );
        let pipe = anyhow::Error::from(std::io::Error::from(ErrorKind::BrokenPipe)).context("writing");
        assert_eq!(
            format!("{:?}", report(&pipe, false)),
            format!("{:?}", ExitCode::SUCCESS)
        );
    }
}
