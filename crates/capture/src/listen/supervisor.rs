//! Connects, listens, and starts again, for ever. What [`Captured`] does not say (why no connection is made) is logged once
//! per change.

use std::sync::Arc;
use std::sync::atomic::AtomicUsize;
use std::time::Duration;

use tokio::sync::mpsc;
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

use super::heartbeat::{Heartbeat, Silence};
use super::lane::Lane;
use super::outlet::Outlet;
use super::prove::ProveError;
use super::reader::Reader;
use super::{Captured, Listener};
use crate::Backoff;
use crate::connect::{ConnectError, ConnectErrorKind, Settings};
use crate::query::{Pool, PoolOptions};

/// LISTEN waits for nobody's lock for long; a server that takes longer is not well.
const LISTEN_TIMEOUT: Duration = Duration::from_secs(5);
/// A big row is read by its key; more than this means that the server is not well.
const FETCH_TIMEOUT: Duration = Duration::from_secs(10);

/// Why a connection ended or was not made.
#[derive(Debug)]
enum Trouble {
    Connect(ConnectError),
    /// LISTEN was accepted and nothing arrived.
    Undelivered,
    Lost(String),
}

impl Trouble {
    fn is_permanent(&self) -> bool {
        match self {
            Self::Connect(error) => error.is_permanent(),
            Self::Undelivered => true,
            Self::Lost(_) => false,
        }
    }

    /// What the log tells apart: the same kind again is no news.
    fn kind(&self) -> Option<ConnectErrorKind> {
        match self {
            Self::Connect(error) => Some(error.kind()),
            Self::Undelivered | Self::Lost(_) => None,
        }
    }
}

/// Runs the listener and its lane until it is stopped or nobody receives any more.
pub(super) async fn run(listener: Listener, stop: CancellationToken) {
    let waiting = Arc::new(AtomicUsize::new(0));
    let (lane_sender, work) = mpsc::channel(listener.queue);
    let lane = Lane {
        pool: Pool::new(PoolOptions {
            settings: listener.settings.with_name("fetch"),
            size: listener.fetchers,
            statement_timeout: FETCH_TIMEOUT,
            search_path: Some(crate::fetch::SEARCH_PATH),
            pooler: false,
            durable: false,
        }),
        watches: Arc::clone(&listener.watches),
        sink: listener.sink.clone(),
        waiting: Arc::clone(&waiting),
        width: listener.fetchers,
    };
    // The lane ends with this set: aborted when the listener is done.
    let mut tasks = JoinSet::new();
    tasks.spawn(lane.run(work));

    let sink = listener.sink.clone();
    let outlet = Outlet::new(listener.sink, lane_sender, waiting);
    let reader = Reader::new(
        &listener.channels,
        listener.watches,
        listener.own,
        listener.heartbeat_channel.clone(),
        outlet,
    );
    let mut supervisor = Supervisor {
        settings: listener.settings,
        channel: listener.heartbeat_channel,
        interval: listener.heartbeat,
        reader,
        reported: None,
    };
    tokio::select! {
        () = stop.cancelled() => {}
        () = sink.closed() => {}
        () = supervisor.run() => {}
    }
}

struct Supervisor {
    settings: Settings,
    channel: String,
    interval: Duration,
    reader: Reader,
    /// The last trouble that the log has; cleared when attached.
    reported: Option<Option<ConnectErrorKind>>,
}

impl Supervisor {
    async fn run(&mut self) {
        let mut backoff = Backoff::default();
        while !self.reader.outlet.is_closed() {
            let trouble = self.attempt().await;
            if std::mem::take(&mut self.reader.attached) {
                backoff.reset();
                self.reported = None;
                if let Trouble::Lost(reason) = &trouble {
                    self.reader.outlet.announce(Captured::Lost {
                        reason: reason.clone(),
                    });
                }
            }
            self.report(&trouble);
            self.pause(backoff.next(trouble.is_permanent(), rand::random()))
                .await;
        }
    }

    /// One connection, from login to its end.
    async fn attempt(&mut self) -> Trouble {
        let (client, mut connection) = match self.settings.connect().await {
            Ok(connected) => connected,
            Err(error) => return Trouble::Connect(error),
        };
        match tokio::time::timeout(LISTEN_TIMEOUT, self.reader.listen(&client, &mut connection)).await {
            Ok(Ok(())) => {}
            Ok(Err(error)) => return Trouble::Connect(error),
            Err(_) => {
                return Trouble::Connect(ConnectError::new(
                    ConnectErrorKind::Timeout,
                    "LISTEN was not answered in time",
                ));
            }
        }
        let heartbeat = Heartbeat {
            settings: self.settings.with_name("heartbeat"),
            channel: &self.channel,
            interval: self.interval,
            listening: &client,
            pulse: Arc::clone(&self.reader.pulse),
        };
        let silence = tokio::select! {
            reason = self.reader.read(&mut connection) => return Trouble::Lost(reason),
            silence = heartbeat.beat() => silence,
        };
        match silence {
            Silence::Undelivered if !self.reader.attached => Trouble::Undelivered,
            Silence::Undelivered => Trouble::Lost("notifications no longer arrive".to_owned()),
            Silence::Dead => Trouble::Lost("the server no longer answers".to_owned()),
        }
    }

    /// Waits, and hands over what is owed as soon as there is room.
    async fn pause(&mut self, wait: Duration) {
        let mut over = std::pin::pin!(tokio::time::sleep(wait));
        loop {
            tokio::select! {
                () = &mut over => return,
                () = self.reader.outlet.room(), if self.reader.outlet.owes() => { self.reader.outlet.settle(); }
            }
        }
    }

    fn report(&mut self, trouble: &Trouble) {
        if self.reported.replace(trouble.kind()) == Some(trouble.kind()) {
            return;
        }
        match trouble {
            Trouble::Connect(error) if error.is_permanent() => {
                tracing::error!(%error, database = self.settings.redacted(), "cannot listen yet, trying again");
            }
            Trouble::Connect(error) => {
                tracing::warn!(%error, database = self.settings.redacted(), "cannot connect, trying again");
            }
            Trouble::Undelivered => {
                tracing::error!(error = %ProveError::Undelivered, database = self.settings.redacted(), "cannot listen yet, trying again");
            }
            Trouble::Lost(reason) => {
                tracing::warn!(reason, "the connection that listens was lost, reconnecting")
            }
        }
    }
}
