//! A listener in a task, and what it captured.

use std::time::Duration;

use anyhow::{Context, bail};
use pregon_capture::change::Change;
use pregon_capture::connect::Settings;
use pregon_capture::listen::{Captured, ListenOptions, Listener, WatchTable};
use pregon_testkit::Database;
use tokio::sync::mpsc;
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

/// Longer than anything here takes on a loaded machine.
pub(crate) const PATIENCE: Duration = Duration::from_secs(20);

pub(crate) struct Running {
    pub(crate) captured: mpsc::Receiver<Captured>,
    stop: CancellationToken,
    task: JoinHandle<()>,
}

impl Running {
    /// Starts a listener with room for `room` items and waits until it is attached.
    pub(crate) async fn attached(options: ListenOptions, room: usize) -> anyhow::Result<Self> {
        let mut running = Self::start(options, room)?;
        running.attach().await?;
        Ok(running)
    }

    pub(crate) fn start(options: ListenOptions, room: usize) -> anyhow::Result<Self> {
        let (sink, captured) = mpsc::channel(room);
        let stop = CancellationToken::new();
        let task = tokio::spawn(Listener::new(options, sink)?.run(stop.clone()));
        Ok(Self { captured, stop, task })
    }

    pub(crate) async fn next(&mut self) -> anyhow::Result<Captured> {
        tokio::time::timeout(PATIENCE, self.captured.recv())
            .await
            .context("nothing was captured in time")?
            .context("the listener ended")
    }

    /// Waits for `Attached` and gives the backend's number.
    pub(crate) async fn attach(&mut self) -> anyhow::Result<i32> {
        match self.next().await? {
            Captured::Attached { pid } => Ok(pid),
            other => bail!("expected Attached, got {other:?}"),
        }
    }

    /// Waits for `Lost` and gives the reason.
    pub(crate) async fn lost(&mut self) -> anyhow::Result<String> {
        match self.next().await? {
            Captured::Lost { reason } => Ok(reason),
            other => bail!("expected Lost, got {other:?}"),
        }
    }

    /// The next notification as channel and payload.
    pub(crate) async fn notification(&mut self) -> anyhow::Result<(String, String)> {
        match self.next().await? {
            Captured::Notification { channel, payload, .. } => {
                Ok((channel.to_string(), String::from_utf8(payload.to_vec())?))
            }
            other => bail!("expected a notification, got {other:?}"),
        }
    }

    pub(crate) async fn change(&mut self) -> anyhow::Result<Change> {
        match self.next().await? {
            Captured::Change(change) => Ok(change),
            other => bail!("expected a change, got {other:?}"),
        }
    }

    pub(crate) async fn stop(self) -> anyhow::Result<()> {
        self.stop.cancel();
        tokio::time::timeout(PATIENCE, self.task)
            .await
            .context("the listener does not stop")??;
        Ok(())
    }
}

pub(crate) fn listen_to(url: &str, channels: &[&str]) -> anyhow::Result<ListenOptions> {
    let mut options = ListenOptions::new(Settings::parse(url)?);
    options.channels = channels.iter().map(ToString::to_string).collect();
    Ok(options)
}

/// A listener for one watch.
pub(crate) fn watch(database: &Database<'_>, name: &str, table: &str) -> anyhow::Result<ListenOptions> {
    let mut options = listen_to(&database.url(), &[])?;
    let table = WatchTable {
        schema: "public".into(),
        table: table.into(),
        ..WatchTable::default()
    };
    options.watches.insert(name.into(), table);
    Ok(options)
}

/// Listener backends of this database.
pub(crate) async fn listeners(database: &Database<'_>) -> anyhow::Result<i64> {
    let sql = "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() AND application_name LIKE '%/listen'";
    Ok(database.client().await?.query_one(sql, &[]).await?.get(0))
}
