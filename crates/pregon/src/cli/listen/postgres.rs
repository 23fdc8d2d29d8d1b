//! Straight at PostgreSQL: LISTEN, and the catch-up query after each connect.
//!
//! The listener (its own task) never stops reading; this task delivers. Catching up comes before the notifications that
//! arrived meanwhile; rows that come both ways are delivered once.

use std::collections::HashMap;
use std::time::{Duration, SystemTime};

use pregon_capture::catch_up::{CatchUp, CatchUpError, CatchUpOptions, CaughtUp, Key};
use pregon_capture::connect::Settings;
use pregon_capture::listen::{Captured, ListenOptions, Listener};
use pregon_capture::query::{Pool, PoolOptions};
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;

use super::delivery::{Delivered, Delivery};
use super::event::Heard;
use super::retry::Retry;
use crate::cli::Usage;

/// Notifications that may wait for a slow command; beyond it the catch-up query finds them again.
const QUEUE: usize = 65_536;

/// A day that was missed may take a while to be read.
const FETCH_TIMEOUT: Duration = Duration::from_secs(60);

/// A row that the query saw was notified at most this long after: the notification only has to come through the socket.
const ECHO: Duration = Duration::from_secs(5);

/// Events that are only printed are remembered together, at most so many.
const SAVE_EVERY: usize = 256;

/// What to listen to.
#[derive(Debug)]
pub(super) struct Options {
    settings: Settings,
    channels: Vec<String>,
    catch_up: Option<CatchUpOptions>,
}

impl Options {
    pub(super) fn new(
        dsn: &str,
        channels: Vec<String>,
        catch_up: Option<CatchUpOptions>,
    ) -> anyhow::Result<Self> {
        let settings = Settings::parse(dsn).map_err(|error| Usage::error(format!("--dsn: {error}")))?;
        Ok(Self {
            settings,
            channels,
            catch_up,
        })
    }
}

/// Whether to go on.
enum Next {
    On,
    Stop,
}

/// Listens until told to stop.
pub(super) async fn run(options: Options, delivery: Delivery, stop: CancellationToken) -> anyhow::Result<()> {
    let settings = options.settings.with_name("cli");
    let pool = Pool::new(PoolOptions {
        size: 1,
        statement_timeout: FETCH_TIMEOUT,
        ..PoolOptions::new(settings.clone())
    });
    let first_start = options
        .catch_up
        .as_ref()
        .is_some_and(|options| !options.file.exists());
    let catch_up = options
        .catch_up
        .map(CatchUp::open)
        .transpose()
        .map_err(|error| match error {
            CatchUpError::NoLast | CatchUpError::UnknownParameter(_) => {
                Usage::error(format!("--catch-up: {error}"))
            }
            error => error.into(),
        })?;
    let channel = options.channels.first().map_or("", String::as_str).into();
    let mut till = Till {
        catch_up,
        pool,
        delivery,
        stop,
        channel,
        caught: HashMap::new(),
        fetched: None,
        unsaved: 0,
        attached: false,
        proved: false,
    };
    // Without a state the start is the present maximum. It is taken before LISTEN: a row that comes between the two is found
    // by the query, whereas after LISTEN a row could be taken for old and be notified as well.
    if first_start && matches!(till.fetch().await?, Next::Stop) {
        return Ok(());
    }
    let (sink, mut captured) = mpsc::channel(QUEUE);
    let mut listen = ListenOptions::new(settings);
    listen.channels = options.channels;
    listen.node = format!("cli-{}", std::process::id());
    let listener = Listener::new(listen, sink).map_err(|error| Usage::error(error.to_string()))?;
    let listening = tokio::spawn(listener.run(till.stop.clone()));
    let outcome = till.take_all(&mut captured).await;
    listening.abort();
    // What was delivered before a failure was delivered.
    till.save()?;
    outcome
}

/// The state of the delivering task.
struct Till {
    catch_up: Option<CatchUp>,
    pool: Pool,
    delivery: Delivery,
    stop: CancellationToken,
    /// The name for rows that the query found.
    channel: std::sync::Arc<str>,
    /// Keys of catch-ups whose notification may still come, and when they were fetched. Notifications of several connections may
    /// wait behind a catch-up, so the next one only adds to them.
    caught: HashMap<Key, SystemTime>,
    fetched: Option<SystemTime>,
    /// Delivered rows that the state file does not have yet.
    unsaved: usize,
    attached: bool,
    /// The query has worked once: from now on its failures are the database's.
    proved: bool,
}

impl Till {
    /// Until it is stopped. After an error nothing more is waited for: whoever started us shall hear of it at once.
    async fn take_all(&mut self, captured: &mut mpsc::Receiver<Captured>) -> anyhow::Result<()> {
        while let Some(item) = captured.recv().await {
            if matches!(self.take(item, captured.is_empty()).await?, Next::Stop) {
                break;
            }
        }
        Ok(())
    }

    async fn take(&mut self, item: Captured, idle: bool) -> anyhow::Result<Next> {
        if self.stop.is_cancelled() {
            return Ok(Next::Stop);
        }
        match item {
            Captured::Attached { .. } => {
                tracing::info!(again = self.attached, "listening");
                self.attached = true;
                self.fetch().await
            }
            Captured::Lost { .. } => {
                if self.catch_up.is_none() {
                    tracing::warn!(
                        "notifications are lost until the connection is back; --catch-up would fetch them"
                    );
                }
                Ok(Next::On)
            }
            Captured::Overflow { dropped } => {
                tracing::warn!(dropped, "notifications came faster than they were delivered");
                self.fetch().await
            }
            Captured::Notification {
                channel, payload, at, ..
            } => {
                let key = self
                    .catch_up
                    .as_ref()
                    .and_then(|catch_up| catch_up.key_of(&payload));
                if key.as_ref().is_some_and(|key| self.is_echo(key, at)) {
                    return Ok(Next::On);
                }
                let heard = Heard {
                    channel,
                    name: "message".into(),
                    payload,
                    replayed: false,
                    at,
                };
                self.deliver(&heard, key, idle).await
            }
            Captured::Change(_) | Captured::Published { .. } | Captured::RenderError { .. } => Ok(Next::On),
        }
    }

    /// Whether this notification is of a row that a catch-up delivered. Later notifications of the same row are news.
    fn is_echo(&mut self, key: &Key, at: SystemTime) -> bool {
        if self.fetched.is_none_or(|fetched| at > fetched + ECHO) {
            self.caught.clear();
        }
        self.caught
            .remove(key)
            .is_some_and(|fetched| at <= fetched + ECHO)
    }

    /// Fetches and delivers what was missed. Tries until it works: what comes after must not be remembered before.
    async fn fetch(&mut self) -> anyhow::Result<Next> {
        let mut retry = Retry::new(Duration::from_millis(250), Duration::from_secs(5));
        let rows = loop {
            let Some(catch_up) = &mut self.catch_up else {
                return Ok(Next::On);
            };
            let error = tokio::select! {
                () = self.stop.cancelled() => return Ok(Next::Stop),
                fetched = catch_up.fetch(&self.pool) => match fetched {
                    Ok(rows) => break rows,
                    Err(error) => error,
                },
            };
            if !self.proved && is_hopeless(&error) {
                return Err(match error {
                    CatchUpError::State(error) => error.into(),
                    error => anyhow::Error::from(error).context("the catch-up SQL does not work"),
                });
            }
            tracing::warn!(%error, "cannot catch up, trying again");
            if !retry.pause(&self.stop).await {
                return Ok(Next::Stop);
            }
        };
        self.catch_up_with(rows).await
    }

    async fn catch_up_with(&mut self, rows: Vec<CaughtUp>) -> anyhow::Result<Next> {
        if !rows.is_empty() {
            tracing::info!(rows = rows.len(), "caught up with what was missed");
        }
        let now = SystemTime::now();
        self.caught.extend(rows.iter().map(|row| (row.key.clone(), now)));
        self.fetched = Some(now);
        self.proved = true;
        let newest = rows.len();
        for (index, CaughtUp { key, row }) in rows.into_iter().enumerate() {
            let channel = self.channel.clone();
            let heard = Heard {
                channel,
                name: "message".into(),
                payload: row.into(),
                replayed: true,
                at: SystemTime::now(),
            };
            if matches!(
                self.deliver(&heard, Some(key), index + 1 == newest).await?,
                Next::Stop
            ) {
                return Ok(Next::Stop);
            }
        }
        Ok(Next::On)
    }

    async fn deliver(&mut self, heard: &Heard, key: Option<Key>, idle: bool) -> anyhow::Result<Next> {
        if self.delivery.deliver(heard).await? == Delivered::Stopped {
            return Ok(Next::Stop);
        }
        if let (Some(catch_up), Some(key)) = (&mut self.catch_up, key) {
            catch_up.delivered(key);
            self.unsaved += 1;
        }
        if idle || self.unsaved >= SAVE_EVERY || self.delivery.has_effects() {
            self.save()?;
        }
        Ok(if self.stop.is_cancelled() {
            Next::Stop
        } else {
            Next::On
        })
    }

    fn save(&mut self) -> anyhow::Result<()> {
        if let Some(catch_up) = self.catch_up.as_ref().filter(|_| self.unsaved > 0) {
            catch_up.save()?;
            self.unsaved = 0;
        }
        Ok(())
    }
}

/// Errors that the SQL or the files make, not the network.
fn is_hopeless(error: &CatchUpError) -> bool {
    match error {
        CatchUpError::Query(pregon_capture::query::QueryError::Connect(_)) => false,
        CatchUpError::Query(error) => error.is_permanent(),
        _ => true,
    }
}
