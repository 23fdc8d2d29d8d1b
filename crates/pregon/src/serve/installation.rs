//! Functions and triggers are brought to what the configuration says before the node starts, as soon as PostgreSQL can be reached.

use std::net::SocketAddr;
use std::time::Duration;

use anyhow::Context as _;
use pregon_capture::Backoff;
use pregon_capture::connect::{ConnectError, ConnectErrorKind, Session, Settings};
use pregon_capture::install::{self, Expected, InstallError, Plan, StepKind};

use super::waiting::WaitingRoom;
use crate::config::{Apply, Capture, Config, LogKind, Postgres};
use crate::lines;

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

/// A gateway of the same process manager that is being stopped may still be there.
const RIVAL_PATIENCE: u32 = 5;

/// What the start of a node needs to know.
#[derive(Default)]
pub(super) struct Installed {
    /// The address of the port that answered while PostgreSQL was away, free again.
    pub(super) waited_at: Option<SocketAddr>,
    /// The functions of the watches.
    pub(super) expected: Vec<Expected>,
}

/// Installs what the watches need, or refuses to start while capture would be wrong. While PostgreSQL is away it tries again and
/// the port answers already. A configuration that only listens runs no DDL, unless its log lies in the database.
pub(super) async fn install_triggers(config: &Config, takeover: bool) -> anyhow::Result<Installed> {
    let installs = |postgres: &&Postgres| {
        let log = config.log.kind == LogKind::Postgres;
        log || !config.watch.is_empty() || postgres.capture == Capture::Wal
    };
    let Some(postgres) = config.postgres.as_ref().filter(installs) else {
        return Ok(Installed::default());
    };
    let url = postgres
        .admin()
        .context("[postgres] url is missing: set it or DATABASE_URL")?;
    let settings = Settings::parse(url.reveal())?.with_name("pregon/install");
    let database = settings.redacted();
    let mut room: Option<WaitingRoom> = None;
    let mut backoff = Backoff::default();
    let mut told = "";
    let expected = loop {
        let (state, error) = match attempt(config, postgres, &settings, takeover).await {
            Ok(expected) => break expected,
            Err(Trouble::Away(state, error)) => (state, error),
            Err(Trouble::Refused(error)) => {
                return Err(error.context(format!("cannot install what the watches need at {database}")));
            }
        };
        if state != told {
            told = state;
            tracing::warn!(database, %error, "waiting for postgres, what the watches need is not installed yet");
        }
        let why = match state {
            "waiting" => "postgres (a new slot waits for running writes, which the log names)",
            _ => "postgres",
        };
        match &room {
            Some(room) => room.explain(why),
            None => room = Some(WaitingRoom::open(&config.server.listen, why).await?),
        }
        backoff.wait().await;
    };
    let mut waited_at = None;
    if let Some(room) = room {
        tracing::info!(database, "postgres can be reached");
        waited_at = Some(room.close().await);
    }
    Ok(Installed { waited_at, expected })
}

async fn attempt(
    config: &Config,
    postgres: &Postgres,
    settings: &Settings,
    takeover: bool,
) -> Result<Vec<Expected>, Trouble> {
    let session = settings.open().await?;
    match install_on(config, postgres, &session, takeover).await {
        Ok(expected) => Ok(expected),
        // Whose transaction that is the error says; it may end at any time.
        Err(error) if is_waiting(&error) => Err(Trouble::Away("waiting", error)),
        // The server stopped meanwhile: what it was doing is rolled back.
        Err(error) if session.batch_execute("").await.is_err() => Err(Trouble::Away("lost", error)),
        Err(error) => Err(error.into()),
    }
}

/// Whether a new slot waits for somebody's transaction.
fn is_waiting(error: &anyhow::Error) -> bool {
    matches!(
        error.downcast_ref::<InstallError>(),
        Some(InstallError::SlotWaits { .. })
    )
}

async fn install_on(
    config: &Config,
    postgres: &Postgres,
    session: &Session,
    takeover: bool,
) -> anyhow::Result<Vec<Expected>> {
    let target = crate::install::target(config)?;
    let plan = install::plan(session, &target).await?;
    if postgres.apply == Apply::Manual {
        if !plan.is_sufficient() {
            anyhow::bail!(
                "the database lacks, or has otherwise, {} of this configuration: run `pregon db plan` to see the SQL and \
                 `pregon db apply` to install them, or set [postgres] apply = \"auto\"",
                plan.summary()
            );
        }
        tell_differences(&plan);
    } else if !plan.is_empty() {
        if !takeover {
            give_way(session, &plan).await?;
        }
        install::apply(session, &plan, &mut |step| {
            tracing::info!(name: lines::RECORD, object = step.object, reason = step.reason, "installed");
        })
        .await?;
    }
    tell_triggers(session).await?;
    Ok(install::expected(session, &target).await?)
}

/// What is not as it would be installed now, and does no harm.
fn tell_differences(plan: &Plan) {
    if plan.steps.iter().any(|step| step.kind == StepKind::Revoke) {
        tracing::warn!(
            "the gateway may do more than it needs: `pregon db plan` shows what `pregon db apply` takes back"
        );
    }
    let tidy = plan
        .steps
        .iter()
        .filter(|step| matches!(step.kind, StepKind::Tidy(_)));
    let tidy: Vec<String> = tidy
        .map(|step| format!("{} ({})", step.object, step.reason))
        .collect();
    if !tidy.is_empty() {
        tracing::warn!(
            differs = tidy.join("; "),
            "the database is not quite as this configuration would install it; changes are captured as they should be: `pregon db plan` \
             shows the difference, `pregon db apply` puts it in order"
        );
    }
}

/// Refuses to replace what a running gateway of another configuration was installed with.
pub(crate) async fn give_way(session: &Session, plan: &Plan) -> anyhow::Result<()> {
    if plan.unseats.is_empty() {
        return Ok(());
    }
    let mut rivals = install::rivals(session).await?;
    for _ in 0..RIVAL_PATIENCE {
        if rivals.is_empty() {
            return Ok(());
        }
        tokio::time::sleep(Duration::from_secs(1)).await;
        rivals = install::rivals(session).await?;
    }
    anyhow::bail!(
        "another configuration has installed {}, and a gateway is at work here: {}. Stop that gateway first, give this configuration a \
         database or function names of its own, or replace them with --takeover",
        plan.unseats.join(", "),
        rivals.join(", ")
    )
}

async fn tell_triggers(session: &Session) -> anyhow::Result<()> {
    let status = install::status(session).await?;
    for trigger in &status.triggers {
        tracing::info!(name: lines::RECORD, trigger = trigger.name, table = trigger.table, "active trigger");
    }
    Ok(())
}
