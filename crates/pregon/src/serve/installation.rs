//! Functions and triggers are brought to what the configuration says before the node starts, as soon as PostgreSQL can be reached.

use std::net::SocketAddr;
use std::time::Duration;

use anyhow::Context as _;
use pregon_capture::connect::{ConnectError, ConnectErrorKind, Session, Settings};
use pregon_capture::install;

use super::waiting::WaitingRoom;
use crate::config::{Apply, Capture, Config, Postgres};

/// Between attempts; with the last one a server that is back is found within the 5 s that delivery may take.
const FIRST_PAUSE: Duration = Duration::from_millis(100);
const LONGEST_PAUSE: Duration = Duration::from_secs(2);

/// Why an attempt failed.
enum Trouble {
    /// Time will help.
    Away(&'static str, anyhow::Error),
    /// Somebody has to change something.
    Refused(anyhow::Error),
}

impl From<anyhow::Error> for Trouble {
    fn from(error: anyhow::Error) -> Self {
        Self::Refused(error)
    }
}

impl From<ConnectError> for Trouble {
    fn from(error: ConnectError) -> Self {
        let state = match error.kind() {
            ConnectErrorKind::Refused => "refused",
            ConnectErrorKind::Timeout => "timeout",
            ConnectErrorKind::Starting => "starting",
            ConnectErrorKind::TooMany => "full",
            _ => return Self::Refused(error.into()),
        };
        Self::Away(state, error.into())
    }
}

/// Installs what the watches need, or refuses to start while the database differs. While PostgreSQL is away it tries again and
/// the port answers already; its address comes back, free again. A configuration that only listens runs no DDL.
pub(super) async fn install_triggers(config: &Config) -> anyhow::Result<Option<SocketAddr>> {
    let installs = |postgres: &&Postgres| !config.watch.is_empty() || postgres.capture == Capture::Wal;
    let Some(postgres) = config.postgres.as_ref().filter(installs) else {
        return Ok(None);
    };
    let url = postgres
        .admin()
        .context("[postgres] url is missing: set it or DATABASE_URL")?;
    let settings = Settings::parse(url.reveal())?.with_name("pregon/install");
    let database = settings.redacted();
    let mut room: Option<WaitingRoom> = None;
    let mut pause = FIRST_PAUSE;
    let mut told = "";
    loop {
        let (state, error) = match attempt(config, postgres, &settings).await {
            Ok(()) => break,
            Err(Trouble::Away(state, error)) => (state, error),
            Err(Trouble::Refused(error)) => {
                return Err(error.context(format!("cannot install what the watches need at {database}")));
            }
        };
        if state != told {
            told = state;
            tracing::warn!(database, %error, "waiting for postgres, the triggers are not installed yet");
        }
        if room.is_none() {
            room = Some(WaitingRoom::open(&config.server.listen).await?);
        }
        tokio::time::sleep(pause.mul_f64(rand::random_range(0.5..1.0))).await;
        pause = LONGEST_PAUSE.min(pause * 2);
    }
    let Some(room) = room else { return Ok(None) };
    tracing::info!(database, "postgres can be reached");
    Ok(Some(room.close().await))
}

async fn attempt(config: &Config, postgres: &Postgres, settings: &Settings) -> Result<(), Trouble> {
    let session = settings.open().await?;
    match install_on(config, postgres, &session).await {
        Ok(()) => Ok(()),
        // The server stopped meanwhile: what it was doing is rolled back.
        Err(error) if session.batch_execute("").await.is_err() => Err(Trouble::Away("lost", error)),
        Err(error) => Err(error.into()),
    }
}

async fn install_on(config: &Config, postgres: &Postgres, session: &Session) -> anyhow::Result<()> {
    let plan = install::plan(session, &crate::install::target(config)?).await?;
    if !plan.is_empty() {
        if postgres.apply == Apply::Manual && plan.is_sufficient() {
            tracing::warn!(
                "the gateway may do more than it needs: `pregon db plan` shows what `pregon db apply` takes back"
            );
            return tell_triggers(session).await;
        }
        if postgres.apply == Apply::Manual {
            anyhow::bail!(
                "the database lacks, or has otherwise, {} of this configuration: run `pregon db plan` to see the SQL and \
                 `pregon db apply` to install them, or set [postgres] apply = \"auto\"",
                plan.summary()
            );
        }
        install::apply(session, &plan, &mut |step| {
            tracing::info!(object = step.object, reason = step.reason, "installed");
        })
        .await?;
    }
    tell_triggers(session).await
}

async fn tell_triggers(session: &Session) -> anyhow::Result<()> {
    let status = install::status(session).await?;
    for trigger in &status.triggers {
        tracing::info!(trigger = trigger.name, table = trigger.table, "active trigger");
    }
    Ok(())
}
