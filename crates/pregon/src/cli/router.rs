//! `pregon router`: takes webhooks of WhatsApp; its subcommands install what it needs and look into its inbox.

use std::process::ExitCode;

use super::settings::File;
use super::{db, router_inbox};

/// Take webhooks of WhatsApp and store contacts, conversations and messages
///
/// A process of its own beside `pregon serve`, with the same file: [router] says where it listens and what it stores. Ends on SIGTERM or
/// Ctrl-C after the work at hand; what was answered with 200 is in the inbox and is processed by the next start. Without a
/// subcommand it runs.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  pregon router --config examples/whatsapp-router/pregon.toml
  WHATSAPP_APP_SECRET=… WHATSAPP_VERIFY_TOKEN=… pregon router")]
pub(super) struct Args {
    #[command(subcommand)]
    command: Option<Command>,
}

#[derive(Debug, clap::Subcommand)]
enum Command {
    #[command(subcommand)]
    Db(DbCommand),
    #[command(subcommand)]
    Inbox(router_inbox::Command),
}

/// Show, install or remove what the router needs in the database
///
/// Connects with [postgres] admin_url (PREGON_ADMIN_URL), otherwise with url (DATABASE_URL).
#[derive(Debug, clap::Subcommand)]
enum DbCommand {
    /// Print the exact SQL that `apply` would run, with the reason of each step; changes nothing
    ///
    /// Exit code 0 when there is nothing to do and 1 when there is.
    #[command(after_help = "\
Examples:
  pregon router db plan
  pregon router db plan | psql \"$PREGON_ADMIN_URL\"")]
    Plan(db::Json),
    /// Make or complete the tables, the inbox and its functions, in one transaction
    #[command(after_help = "\
Examples:
  pregon router db apply")]
    Apply(db::Json),
    /// Remove the inbox and its functions; contacts, conversations and messages stay
    #[command(after_help = "\
Examples:
  pregon router db drop --yes")]
    Drop {
        #[command(flatten)]
        json: db::Json,
        /// Do not ask
        #[arg(long, short)]
        yes: bool,
    },
}

impl Args {
    pub(super) fn wants_json(&self) -> bool {
        match &self.command {
            None => false,
            Some(Command::Db(
                DbCommand::Plan(args) | DbCommand::Apply(args) | DbCommand::Drop { json: args, .. },
            )) => args.wanted(),
            Some(Command::Inbox(command)) => command.wants_json(),
        }
    }
}

pub(super) fn run(args: &Args, file: &File) -> anyhow::Result<ExitCode> {
    let config = file.load()?;
    match &args.command {
        None => {
            let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build()?;
            runtime.block_on(crate::router::run(config))
        }
        Some(Command::Db(command)) => super::block_on(async {
            match command {
                DbCommand::Plan(json) => db::router_plan(&config, json.wanted()).await,
                DbCommand::Apply(json) => db::router_apply(&config, json.wanted()).await,
                DbCommand::Drop { json, yes } => db::router_drop(&config, json.wanted(), *yes).await,
            }
        }),
        Some(Command::Inbox(command)) => super::block_on(router_inbox::run(command, &config)),
    }
}
