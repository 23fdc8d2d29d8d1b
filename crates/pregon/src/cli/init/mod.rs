//! `pregon init`: looks at a database, asks what matters, and writes a `pregon.toml` that works.
//!
//! Nothing is written before the file was checked as `pregon check` does it and the database was asked for its plan, so that a file
//! of ours is never the reason why the next command fails. The database is only read.

mod ask;
mod choice;
mod render;
mod report;

use std::io::{IsTerminal as _, Write as _};
use std::os::unix::fs::{OpenOptionsExt as _, PermissionsExt as _};
use std::path::Path;
use std::process::ExitCode;

use anyhow::Context as _;
use pregon_capture::catalog::survey::{Survey, survey};
use pregon_capture::connect::Settings;
use pregon_capture::install::{self, Plan};

use super::settings::{File, variable};
use super::{Usage, block_on, output};
use crate::config::Config;
use choice::Choice;

/// Look at a database and write a commented pregon.toml that works
///
/// Asks for the database, the tables and how changes are captured, and says what to run next. Reads the database and changes nothing in it.
/// With --yes, or where an option answers it, a question is not asked; without a terminal none is. A file that is there is left alone.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  pregon init                                              asks
  pregon init --dsn postgres://me@localhost/shop --yes     all that has to be known; the rest as proposed
  pregon init --table orders,order_items --capture notify
  DATABASE_URL=postgres://me@db/shop pregon init --yes --all --config shop.toml")]
pub(super) struct Args {
    /// The database, `postgres://user@host:5432/database`; DATABASE_URL by default
    #[arg(long, value_name = "URL")]
    dsn: Option<String>,

    /// A table to watch, `table` or `schema.table`; may be repeated, or several between commas
    #[arg(
        long = "table",
        value_name = "TABLE",
        value_delimiter = ',',
        conflicts_with = "all"
    )]
    tables: Vec<String>,

    /// Watch all tables
    #[arg(long)]
    all: bool,

    /// How changes are captured: `outbox` and `wal` lose nothing, `notify` puts nothing on the disk
    #[arg(long, value_name = "MODE")]
    capture: Option<choice::Mode>,

    /// Address and port of the gateway
    #[arg(long, value_name = "ADDRESS:PORT", default_value = "127.0.0.1:8080")]
    listen: String,

    /// Let clients connect without a token
    #[arg(long)]
    without_token: bool,

    /// Take what would be proposed instead of asking
    #[arg(long, short)]
    yes: bool,

    /// Replace the file if it is there
    #[arg(long)]
    force: bool,

    /// Print one JSON object: {"file", "database", "capture", "tables", "notes", "next"}
    #[arg(long)]
    pub(super) json: bool,
}

pub(super) fn run(args: &Args, file: &File) -> anyhow::Result<ExitCode> {
    let path = file.path();
    if path.exists() && !args.force {
        return Err(Usage::error(format!(
            "{} is there already: name another file with --config, or replace it with --force",
            path.display()
        )));
    }
    let asks = !args.yes && !args.json;
    if asks && !(std::io::stdin().is_terminal() && std::io::stderr().is_terminal()) {
        return Err(Usage::error(
            "there is no terminal to ask on: add --yes for what would be proposed, with --dsn (or DATABASE_URL) and, where it matters, --table",
        ));
    }
    block_on(make(args, file, asks))
}

async fn make(args: &Args, file: &File, asks: bool) -> anyhow::Result<ExitCode> {
    let (url, survey) = database(args, asks).await?;
    let choice = Choice::of(args, url, survey, asks)?;
    let text = render::file(&choice);
    let config = checked(&text, file.path())?;
    let plan = plan(&choice, &config).await?;
    write(file.path(), &text, choice.holds_secret(), args.force)?;
    report::tell(&choice, &config, &plan, file, args.json)?;
    Ok(ExitCode::SUCCESS)
}

/// Where the database is, and what is in it. On a terminal a wrong answer is asked for again.
async fn database(args: &Args, asks: bool) -> anyhow::Result<(choice::Url, Survey)> {
    let given = args
        .dsn
        .clone()
        .map(choice::Url::Written)
        .or_else(|| variable("DATABASE_URL").map(choice::Url::Environment));
    if let Some(url) = given {
        let found = look(url.reveal()).await?;
        return Ok((url, found));
    }
    if !asks {
        return Err(Usage::error(
            "no database was named: add --dsn postgres://user@host/database, or set DATABASE_URL",
        ));
    }
    let mut last = None;
    loop {
        let url = ask::database(last.as_deref())?;
        match look(&url).await {
            Ok(found) => return Ok((choice::Url::Written(url), found)),
            Err(error) => output::complain(format_args!("  {}", output::chain(&error))),
        }
        last = Some(url);
    }
}

/// What the role sees that may change the schema, if there is another one; the gateway's own has to get in as well.
async fn look(url: &str) -> anyhow::Result<Survey> {
    let own = open(url).await?;
    let session = match variable("PREGON_ADMIN_URL") {
        Some(admin) => open(&admin).await.context("PREGON_ADMIN_URL")?,
        None => own,
    };
    let found = survey(&session).await.context("the tables could not be listed")?;
    if found.tables.is_empty() {
        anyhow::bail!(
            "the database {} has no tables that {} could see: create one and run this again, or name another database",
            found.database,
            found.role
        );
    }
    Ok(found)
}

async fn open(url: &str) -> anyhow::Result<pregon_capture::connect::Session> {
    let settings = Settings::parse(url)?.with_name("init");
    let opened = settings.open().await;
    opened.with_context(|| format!("cannot connect to {}", settings.redacted()))
}

/// The file as every other command will read it.
fn checked(text: &str, path: &Path) -> anyhow::Result<Config> {
    let folder = path.parent().unwrap_or(Path::new("."));
    let file = path.display().to_string();
    Ok(crate::check::parse(text, &file, folder, &variable)?)
}

/// What would have to be installed: nobody should find out from the next command that a table cannot be watched.
async fn plan(choice: &Choice, config: &Config) -> anyhow::Result<Plan> {
    let admin = variable("PREGON_ADMIN_URL");
    let session = open(admin.as_deref().unwrap_or(choice.url.reveal())).await?;
    let plan = install::plan(&session, &crate::install::target(config)?).await;
    plan.context("these tables cannot be watched like this; nothing was written")
}

/// Puts the file there, readable by its owner alone where it has a secret in it.
fn write(path: &Path, text: &str, secret: bool, force: bool) -> anyhow::Result<()> {
    let failed = || format!("cannot write {}", path.display());
    let mode = if secret { 0o600 } else { 0o666 };
    let mut options = std::fs::OpenOptions::new();
    options.write(true).mode(mode);
    if force {
        options.create(true).truncate(true);
    } else {
        options.create_new(true); // Somebody may have made one since it was looked for.
    }
    let mut file = options.open(path).with_context(failed)?;
    if secret {
        // One that was there keeps its mode otherwise.
        let private = std::fs::Permissions::from_mode(0o600);
        file.set_permissions(private).with_context(failed)?;
    }
    file.write_all(text.as_bytes()).with_context(failed)
}
