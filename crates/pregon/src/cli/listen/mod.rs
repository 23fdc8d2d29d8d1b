//! `pregon listen`: prints events as they come, from a database or from a gateway, and hands them to a command or the desktop.
//!
//! ```text
//!  postgres (LISTEN, catch-up) ─┐
//!                               ├─▶ Delivery: print ─▶ desktop ─▶ --exec ─▶ then the source saves its state
//!  gateway (WebSocket)  ────────┘
//! ```
//!
//! One task delivers, one event after the other, in order; the source runs beside it and its queue is bounded. SIGTERM and
//! Ctrl-C let the event at hand finish, for at most [`delivery::GRACE`].

mod event;
mod retry;
mod desktop;
mod delivery;
mod state;
mod postgres;
mod gateway;
mod frame;

use std::path::PathBuf;
use std::process::ExitCode;

use pregon_capture::catch_up::CatchUpOptions;
use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio_util::sync::CancellationToken;

use super::Usage;
use super::settings::variable;
use crate::route::Template;
use delivery::Delivery;
use event::Format;

/// Print events as they come, straight from a database or from a gateway
///
/// Reconnects for ever and says so on standard error; ends with code 0 on SIGTERM and Ctrl-C.
///
/// With --dsn it listens on NOTIFY channels; a role that may connect and read is enough. What is notified while nobody listens is gone,
/// unless --catch-up fetches it: after each connect the SQL runs with :last = the newest key seen minus --overlap, and rows already
/// delivered are dropped. Rows that commit late have smaller keys than rows that were seen: the overlap finds them too. Without a
/// state file it starts at the present maximum. The state is saved after --exec has succeeded.
///
/// With --url it follows channels of a gateway and resumes where it was after a reconnect (with --state, after a restart too).
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  pregon listen --dsn postgres://pos_user@turnstile/gym nueva_entrada_canal --template 'Bienvenido {nombre}' --desktop
  pregon listen --dsn postgres://pos_user@turnstile/gym nueva_entrada_canal --json \\
      --catch-up 'SELECT e.*, m.nombre FROM registro_entradas e JOIN miembros m USING (id_miembro)
                  WHERE e.id_entrada > :last' --key id_entrada --state entries.json --exec ./open-ticket
  PREGON_TOKEN=… pregon listen --url wss://gateway.example.com conversation_42
  pregon listen --url ws://127.0.0.1:8000/ws/sales            a bare endpoint: no channel to name")]
pub(super) struct Args {
    /// Channels: NOTIFY channels with --dsn, the gateway's with --url; none for a bare endpoint
    #[arg(value_name = "CHANNEL")]
    channels: Vec<String>,

    /// Listen straight at this database; DATABASE_URL where neither --dsn nor --url is given
    #[arg(long, value_name = "URL", conflicts_with = "url")]
    dsn: Option<String>,

    /// Listen at this gateway, `ws://` or `wss://`; the path is /ws unless it names another
    #[arg(long, value_name = "URL")]
    url: Option<String>,

    /// The token for the gateway; better in PREGON_TOKEN, because arguments are visible to others
    #[arg(long, value_name = "JWT", requires = "url")]
    token: Option<String>,

    /// Print the bare payload, one JSON value per line
    #[arg(long, conflicts_with = "template")]
    json: bool,

    /// Print this instead, with values of the payload: 'Bienvenido {nombre}'
    #[arg(long, value_name = "TEXT", value_parser = template)]
    template: Option<Template>,

    /// Run this for each event with `sh -c`: the payload on standard input, PREGON_CHANNEL and PREGON_EVENT in the environment
    ///
    /// A command that fails runs again, later and later; with a state for as long as it fails, otherwise three times.
    #[arg(long, value_name = "COMMAND")]
    exec: Option<String>,

    /// Show a desktop notification for each event; its text is that of --template
    #[arg(long)]
    desktop: bool,

    /// The notification's title, a template like --template
    #[arg(long, value_name = "TEXT", default_value = "{channel}", value_parser = template, requires = "desktop")]
    title: Template,

    /// SQL that fetches what was missed, with :last for the newest key seen
    #[arg(long, value_name = "SQL", requires_all = ["key", "state"], conflicts_with = "url")]
    catch_up: Option<String>,

    /// Column of that SQL's result that rises: an identity, usually
    #[arg(long, value_name = "COLUMN", requires = "catch_up")]
    key: Option<String>,

    /// File that remembers what was delivered; its folders are made
    #[arg(long, value_name = "FILE")]
    state: Option<PathBuf>,

    /// How many keys before the newest one late rows are looked for
    #[arg(long, value_name = "KEYS", default_value_t = 1000)]
    overlap: u64,
}

fn template(text: &str) -> Result<Template, String> {
    Template::parse(text).map_err(|error| error.to_string())
}

/// Where events come from.
enum From {
    Postgres(Box<postgres::Options>),
    Gateway(gateway::Options),
}

pub(super) fn run(args: Args) -> anyhow::Result<ExitCode> {
    let from = source(&args)?;
    if let Some(file) = &args.state {
        state::make_folders(file)?;
    }
    let format = match (args.json, args.template) {
        (true, _) => Format::Json,
        (false, Some(template)) => Format::Template(template),
        (false, None) => Format::Human,
    };
    let title = args.desktop.then_some(args.title);
    let patient = args.state.is_some();
    // Two threads: the listener keeps reading its socket while this one prints, waits for a command or syncs the state.
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .enable_all()
        .build()?;
    runtime.block_on(async {
        let stop = CancellationToken::new();
        watch_signals(
            signal(SignalKind::terminate())?,
            signal(SignalKind::interrupt())?,
            stop.clone(),
        );
        let delivery = Delivery::new(format, args.exec, title, patient, stop.clone());
        match from {
            From::Postgres(options) => postgres::run(*options, delivery, stop).await,
            From::Gateway(options) => gateway::run(options, delivery, stop).await,
        }
    })?;
    Ok(ExitCode::SUCCESS)
}

fn source(args: &Args) -> anyhow::Result<From> {
    if let Some(url) = &args.url {
        let token = args.token.clone().or_else(|| variable("PREGON_TOKEN"));
        return gateway::Options::new(url, token, args.channels.clone(), args.state.clone())
            .map(From::Gateway);
    }
    let Some(dsn) = args.dsn.clone().or_else(|| variable("DATABASE_URL")) else {
        return Err(Usage::error(
            "from where? give --dsn URL for a database or --url URL for a gateway",
        ));
    };
    if args.channels.is_empty() {
        return Err(Usage::error("name at least one channel to listen to"));
    }
    if args.state.is_some() && args.catch_up.is_none() {
        return Err(Usage::error(
            "--state needs --catch-up: a database keeps no notifications to resume from",
        ));
    }
    let catch_up = match (&args.catch_up, &args.key, &args.state) {
        (Some(sql), Some(key), Some(file)) => Some(CatchUpOptions {
            sql: sql.clone(),
            key: key.clone(),
            file: file.clone(),
            overlap: args.overlap,
        }),
        _ => None,
    };
    postgres::Options::new(&dsn, args.channels.clone(), catch_up)
        .map(|options| From::Postgres(Box::new(options)))
}

/// The first signal stops in order, a second one at once.
fn watch_signals(mut terminate: Signal, mut interrupt: Signal, stop: CancellationToken) {
    tokio::spawn(async move {
        loop {
            tokio::select! {
                _ = terminate.recv() => {}
                _ = interrupt.recv() => {}
            }
            if stop.is_cancelled() {
                std::process::exit(1);
            }
            stop.cancel();
        }
    });
}
