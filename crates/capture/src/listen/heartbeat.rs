//! Proves that notifications arrive: a second connection notifies, the listening one has to hear it.
//!
//! Nothing less proves it: a transaction pooler accepts LISTEN and delivers nothing. When the second connection cannot do its
//! part (no free slot, the commit lock held by somebody's synchronous commit), a query on the listening one shows at least
//! that it lives, so trouble of the prover alone is never taken for a loss.

use std::hash::{BuildHasher, RandomState};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use tokio::sync::{Notify, watch};
use tokio::time::{sleep, timeout};
use tokio_postgres::Client;
use tokio_postgres::types::ToSql;

use crate::connect::{Session, Settings, chain};
use crate::query::{QueryError, TextParam};

/// A notification takes well under a millisecond; this is for busy servers and far networks.
const ANSWER: Duration = Duration::from_secs(2);
/// Misses in a row that end the connection; one alone may be a hiccup.
const MISSES: u32 = 2;
/// The commit lock that every NOTIFY takes may be held by another transaction for minutes; statement_timeout does not end
/// that wait, this does. Below [`ANSWER`], so that the connection stays usable.
const SETTINGS: &[(&str, &str)] = &[("lock_timeout", "1500"), ("statement_timeout", "1900")];
/// What is left of 63 bytes after prefix and suffix.
const MAX_NODE_BYTES: usize = 40;

/// The heartbeat's channel: named after the node, with a random end, so that two listeners never prove each other.
pub(super) fn channel_name(node: &str) -> String {
    let mut end = node.len().min(MAX_NODE_BYTES);
    while !node.is_char_boundary(end) {
        end -= 1;
    }
    let node = node.get(..end).unwrap_or_default().replace('\0', "");
    format!(
        "pregon_hb_{node}_{:08x}",
        RandomState::new().hash_one(node.as_str()) as u32
    )
}

/// What the reader and the heartbeat of one connection tell each other.
#[derive(Debug, Default)]
pub(super) struct Pulse {
    /// The newest heartbeat that arrived.
    pub(super) beat: watch::Sender<u64>,
    /// All notifications. While some arrive, a late heartbeat is only queued behind them.
    pub(super) total: AtomicU64,
    /// The connection answers, but delivery cannot be proved.
    pub(super) unproved: Notify,
}

/// Why the heartbeat gave a connection up.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Silence {
    /// Notifications are accepted and do not arrive.
    Undelivered,
    /// The connection does not answer at all.
    Dead,
}

enum Round {
    Heard,
    Alive(String),
    Miss(Silence),
}

/// Beats for one listening connection.
pub(super) struct Heartbeat<'a> {
    pub(super) settings: Settings,
    pub(super) channel: &'a str,
    pub(super) interval: Duration,
    pub(super) listening: &'a Client,
    pub(super) pulse: Arc<Pulse>,
}

impl Heartbeat<'_> {
    /// Beats until the connection is silent twice in a row.
    pub(super) async fn beat(self) -> Silence {
        let mut session = None;
        let mut misses = 0;
        let mut unable = false;
        for number in 1.. {
            match self.round(&mut session, number).await {
                Round::Heard => (misses, unable) = (0, false),
                Round::Alive(reason) => {
                    misses = 0;
                    self.pulse.unproved.notify_one();
                    if !std::mem::replace(&mut unable, true) {
                        tracing::warn!(%reason, "the heartbeat cannot be sent, so delivery is not proved");
                    }
                }
                Round::Miss(silence) => {
                    misses += 1;
                    tracing::debug!(misses, ?silence, "heartbeat missed");
                    if misses >= MISSES {
                        return silence;
                    }
                    continue;
                }
            }
            sleep(self.interval).await;
        }
        Silence::Dead
    }

    async fn round(&self, session: &mut Option<Session>, number: u64) -> Round {
        let total = self.pulse.total.load(Ordering::Relaxed);
        let mut answer = std::pin::pin!(self.answers());
        let mut answered = false;
        let sent = {
            let mut send = std::pin::pin!(self.send(session, number));
            loop {
                tokio::select! {
                    sent = &mut send => break sent,
                    alive = &mut answer, if !answered => {
                        if !alive {
                            return self.verdict(total, Silence::Dead);
                        }
                        answered = true;
                    }
                }
            }
        };
        match sent {
            Ok(()) if self.hears(number).await => Round::Heard,
            Ok(()) => self.verdict(total, Silence::Undelivered),
            Err(_) if !answered && !answer.await => self.verdict(total, Silence::Dead),
            Err(error) => {
                *session = None;
                Round::Alive(error.to_string())
            }
        }
    }

    /// Whatever else arrived meanwhile proves as much as a heartbeat.
    fn verdict(&self, before: u64, silence: Silence) -> Round {
        if self.pulse.total.load(Ordering::Relaxed) == before {
            Round::Miss(silence)
        } else {
            Round::Heard
        }
    }

    /// The listening connection answers in time.
    async fn answers(&self) -> bool {
        matches!(
            timeout(ANSWER, self.listening.simple_query("SELECT 1")).await,
            Ok(Ok(_))
        )
    }

    async fn hears(&self, number: u64) -> bool {
        let mut beat = self.pulse.beat.subscribe();
        matches!(
            timeout(ANSWER, beat.wait_for(|heard| *heard >= number)).await,
            Ok(Ok(_))
        )
    }

    async fn send(&self, session: &mut Option<Session>, number: u64) -> Result<(), QueryError> {
        if session.as_ref().is_none_or(|session| session.is_closed()) {
            *session = Some(self.settings.with_settings(SETTINGS).open().await?);
        }
        let Some(session) = session else {
            return Err(QueryError::Timeout);
        };
        let number = number.to_string();
        let params: [&(dyn ToSql + Sync); 2] = [&self.channel, &TextParam(Some(&number))];
        match timeout(
            ANSWER,
            session.execute("SELECT pg_catalog.pg_notify($1, $2)", &params),
        )
        .await
        {
            Ok(done) => done.map(drop).map_err(|error| QueryError::Lost(chain(&error))),
            Err(_) => Err(QueryError::Timeout),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_channel_fits_and_differs() {
        let name = channel_name(&"ñ".repeat(60));
        assert!(name.len() <= 63, "{name}");
        assert_ne!(channel_name("a"), channel_name("a"));
    }
}
