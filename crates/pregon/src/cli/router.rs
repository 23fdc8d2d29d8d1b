//! `pregon router`: takes webhooks of WhatsApp; its subcommands install what it needs and look into its inbox.

use std::process::ExitCode;
use std::sync::Arc;

use anyhow::Context as _;

use super::settings::File;
use super::{Usage, db, output, router_inbox};
use crate::config::Config;
use crate::lines::Lines;
use crate::whatsapp::{database, media, simulate};

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
    Simulate(Simulate),
    Media(Media),
}

/// Post signed deliveries to a router, as Meta would
///
/// Signs with the first secret of the configuration. Says how many were accepted and how long the answers took.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  pregon router simulate --rate 5 --for 10s
  pregon router simulate --rate 500 --for 1m --contacts 2000 --json")]
struct Simulate {
    /// Where to post; the configured address by default
    #[arg(long)]
    url: Option<String>,
    /// Deliveries a second; 0 is as fast as they are answered
    #[arg(long, default_value_t = 5)]
    rate: u32,
    /// How long
    #[arg(long = "for", value_name = "TIME", default_value = "10s")]
    length: String,
    /// Deliveries after which it ends before that
    #[arg(long)]
    most: Option<u64>,
    /// People who write
    #[arg(long, default_value_t = 20)]
    contacts: u64,
    /// Messages in a delivery
    #[arg(long, default_value_t = 1)]
    batch: u64,
    /// Print one JSON object
    #[arg(long)]
    json: bool,
}

/// Fetch an image, a document or the like that a message names
///
/// Asks the Graph API with the configured token; [router] media_limit and media_types say what is taken.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  psql crm -Atc \"SELECT raw->'image'->>'id' FROM mensajes WHERE tipo = 'image' LIMIT 1\"
  pregon router media 1166846181421424 --out foto.jpg")]
struct Media {
    /// Its id, as `raw` of the message has it
    id: String,
    /// Where to write it; standard output by default
    #[arg(long, value_name = "FILE")]
    out: Option<std::path::PathBuf>,
}

async fn media(args: &Media, config: &Config) -> anyhow::Result<ExitCode> {
    let media = media::fetch(database::section(config)?, &args.id).await?;
    match &args.out {
        Some(path) => {
            std::fs::write(path, &media.bytes).with_context(|| format!("cannot write {}", path.display()))?;
            output::line(format_args!(
                "{}: {} bytes of {}",
                path.display(),
                media.bytes.len(),
                media.kind
            ))?;
        }
        None => output::bytes(&media.bytes)?,
    }
    Ok(ExitCode::SUCCESS)
}

async fn simulate(args: &Simulate, config: &Config) -> anyhow::Result<ExitCode> {
    let section = database::section(config)?;
    let secret = section.secrets().first().map(ToString::to_string);
    let secret = secret.context("[router] app_secret is missing: set it or WHATSAPP_APP_SECRET")?;
    let length = crate::config::Period::parse(&args.length)
        .ok_or_else(|| Usage::error(format!("--for {}: write it like 10s or 5m", args.length)))?;
    let own = || {
        format!(
            "http://{}{}",
            section.listen.replace("0.0.0.0", "127.0.0.1"),
            section.path
        )
    };
    let plan = simulate::Plan {
        url: args.url.clone().unwrap_or_else(own),
        secret,
        rate: args.rate,
        length: length.0,
        most: args.most.unwrap_or(u64::MAX),
        contacts: args.contacts.max(1),
        batch: args.batch.max(1),
    };
    let report = simulate::run(plan).await?;
    if args.json {
        output::json(&report)?;
    } else {
        output::line(format_args!(
            "{} of {} deliveries accepted ({} refused, {} without an answer), {:.0} messages/s, answers p50 {:.1} ms, p99 {:.1} ms",
            report.accepted,
            report.deliveries,
            report.refused,
            report.failed,
            report.per_second,
            report.p50_ms,
            report.p99_ms
        ))?;
    }
    Ok(if report.accepted == report.deliveries {
        ExitCode::SUCCESS
    } else {
        ExitCode::FAILURE
    })
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
            None | Some(Command::Media(_)) => false,
            Some(Command::Db(
                DbCommand::Plan(args) | DbCommand::Apply(args) | DbCommand::Drop { json: args, .. },
            )) => args.wanted(),
            Some(Command::Inbox(command)) => command.wants_json(),
            Some(Command::Simulate(args)) => args.json,
        }
    }
}

pub(super) fn run(args: &Args, file: &File, lines: &Arc<Lines>) -> anyhow::Result<ExitCode> {
    let config = file.load()?;
    lines.limit(config.limits.log_lines);
    match &args.command {
        None => {
            let runtime = super::serving_runtime()?;
            runtime.block_on(crate::whatsapp::run(config, lines))
        }
        Some(Command::Db(command)) => super::block_on(async {
            match command {
                DbCommand::Plan(json) => db::router_plan(&config, json.wanted()).await,
                DbCommand::Apply(json) => db::router_apply(&config, json.wanted()).await,
                DbCommand::Drop { json, yes } => db::router_drop(&config, json.wanted(), *yes).await,
            }
        }),
        Some(Command::Media(args)) => super::block_on(media(args, &config)),
        Some(Command::Simulate(args)) => super::block_on(simulate(args, &config)),
        Some(Command::Inbox(command)) => super::block_on(router_inbox::run(command, &config)),
    }
}
