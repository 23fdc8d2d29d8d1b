//! Channels and patterns: one connection that is subscribed to all of them, in one task.
//!
//! Pub/sub has no history: what is published while no connection stands is lost, so every new connection after the first
//! begins with a gap for all sources, before anything that it brought.

use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use redis::AsyncConnectionConfig;
use redis::aio::MultiplexedConnection;
use tokio_util::sync::CancellationToken;

use super::super::Attached;
use super::super::emitter::Emitters;
use super::super::pending::Pending;
use super::connect::{Connector, Host};
use super::feed::Feed;
use super::inbox::{Inbox, Item, Message, inbox};
use super::retry::{Lost, Retry};
use super::subscription::{Intake, Set};
use crate::event::Event;
use crate::log::Position;

/// Messages routed and appended together.
const BATCH: usize = 256;

/// An answer may take this long even with a shorter heartbeat: machines pause.
const PATIENCE: Duration = Duration::from_secs(2);

/// The task with what it needs.
pub(super) struct PubSub {
    connector: Arc<Connector>,
    set: Set,
    emitters: Option<Arc<Emitters>>,
    heartbeat: Duration,
    feed: Feed,
    /// Position at which the connection was lost.
    lost: Option<Position>,
}

/// A connection on which every subscription is confirmed.
struct Link {
    connection: MultiplexedConnection,
    at: Host,
    inbox: Inbox,
}

impl PubSub {
    pub(super) fn new(
        connector: Arc<Connector>,
        set: Set,
        emitters: Option<Arc<Emitters>>,
        heartbeat: Duration,
        feed: Feed,
    ) -> Self {
        Self {
            connector,
            set,
            emitters,
            heartbeat,
            feed,
            lost: None,
        }
    }

    pub(super) fn attached(&self) -> Attached {
        self.feed.attached.clone()
    }

    /// Takes messages until `stop`; what had arrived by then is appended.
    pub(super) async fn run(mut self, stop: CancellationToken) {
        let mut retry = Retry::default();
        loop {
            let link = tokio::select! {
                link = self.subscribe() => link,
                () = stop.cancelled() => return,
            };
            let lost = match link {
                Err(lost) => lost,
                Ok(link) => {
                    retry.attached();
                    match self.follow(link, &stop).await {
                        Some(lost) => lost,
                        None => return,
                    }
                }
            };
            if !retry.pause(&self.connector.shown(), &lost, &stop).await {
                return;
            }
        }
    }

    async fn subscribe(&self) -> Result<Link, Lost> {
        let (slot, inbox) = inbox();
        let config = AsyncConnectionConfig::new()
            .set_push_sender(slot)
            .set_response_timeout(Some(self.patience()));
        let (mut connection, at) = self.connector.node(config).await?;
        let (channels, patterns) = (self.set.channels(), self.set.patterns());
        if !channels.is_empty() {
            connection.subscribe(channels).await?;
        }
        if !patterns.is_empty() {
            connection.psubscribe(patterns).await?;
        }
        Ok(Link {
            connection,
            at,
            inbox,
        })
    }

    /// Takes what a connection brings until it ends; `None` when `stop` came first.
    async fn follow(&mut self, link: Link, stop: &CancellationToken) -> Option<Lost> {
        let Link {
            connection,
            at,
            mut inbox,
        } = link;
        if let Some(from) = self.lost.take() {
            self.gap(from).await;
        }
        tracing::info!(host = at.0, port = at.1, "subscribed to redis");
        self.feed.set_attached(true);
        let connector = Arc::clone(&self.connector);
        let mut ended = pin!(watch(&connector, connection, at, self.heartbeat, self.patience()));
        let mut batch = Vec::with_capacity(BATCH);
        let lost = loop {
            tokio::select! {
                count = inbox.receive(&mut batch, BATCH) => {
                    self.take(&mut batch).await;
                    if count == 0 {
                        break Some(Lost::Closed);
                    }
                }
                lost = &mut ended => break Some(lost),
                () = stop.cancelled() => break None,
            }
        };
        // What came before the end is before the gap.
        inbox.close();
        while inbox.receive(&mut batch, BATCH).await > 0 {
            self.take(&mut batch).await;
        }
        self.lost = Some(self.feed.position());
        self.feed.set_attached(false);
        lost
    }

    fn patience(&self) -> Duration {
        self.heartbeat.max(PATIENCE)
    }

    async fn take(&mut self, batch: &mut Vec<Item>) {
        let mut pending = self.feed.pending();
        for item in batch.drain(..) {
            match item {
                Item::Message(message) => self.route(message, &mut pending).await,
                Item::Overflow(dropped) => {
                    pending.flush().await;
                    self.feed.overflowed(dropped);
                    self.gap(self.feed.position()).await;
                }
            }
        }
        pending.flush().await;
    }

    async fn gap(&self, from: Position) {
        let everything = self.set.may_reach_all();
        self.feed.gap(&self.set.sources(), everything, from).await;
    }

    /// Hands a message to whoever takes it.
    async fn route(&mut self, message: Message, pending: &mut Pending) {
        let takers = self.set.takers(message.pattern.as_deref(), &message.channel);
        for intake in takers {
            match (intake, &self.emitters) {
                (Intake::Source(name), _) => pending.event(event(&mut self.feed, name, &message)).await,
                (Intake::Emitters, Some(emitters)) => {
                    let taken = emitters.take_redis(&message.channel, &message.payload);
                    emitters.deliver(taken, pending).await;
                }
                (Intake::Emitters, None) => {}
            }
        }
    }
}

fn event(feed: &mut Feed, name: &Arc<str>, message: &Message) -> Event {
    let channel = Arc::from(String::from_utf8_lossy(&message.channel));
    let payload = feed.message(name, &message.payload);
    Event {
        at: message.at,
        ..Event::message(Arc::clone(name), Some(channel), payload)
    }
}

/// Asks again and again whether the connection still delivers, and whether it is still the right one; returns when not.
async fn watch(
    connector: &Connector,
    mut connection: MultiplexedConnection,
    at: Host,
    heartbeat: Duration,
    patience: Duration,
) -> Lost {
    loop {
        tokio::time::sleep(heartbeat).await;
        let answer = redis::cmd("PING").exec_async(&mut connection).await;
        match answer {
            Err(error) if error.is_timeout() => return Lost::Silent(patience),
            Err(error) => return error.into(),
            Ok(()) if connector.moved(&at).await => return Lost::Moved,
            Ok(()) => {}
        }
    }
}
