//! Channels and patterns: one connection that is subscribed to all of them, in one task.
//!
//! Pub/sub has no history: what is published while no connection stands is lost, so every new connection after the first
//! begins with a gap for all sources, before anything that it brought.

use std::pin::{Pin, pin};
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use bytes::Bytes;
use pregon_wire::resp::Frame;
use tokio::time::{Instant, Sleep, sleep};
use tokio_util::sync::CancellationToken;

use super::super::Attached;
use super::super::emitter::Emitters;
use super::super::pending::Pending;
use super::connect::{Connector, Host};
use super::feed::Feed;
use super::link::Link;
use super::retry::{Lost, Retry};
use super::subscription::{Intake, Set};
use crate::event::{Event, What};
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
    pub(super) lost: Option<Position>,
}

/// A message as it stands in the buffer of the connection.
#[derive(Clone, Copy)]
struct Message<'a> {
    /// Of a pattern's subscription.
    pattern: Option<&'a [u8]>,
    channel: &'a [u8],
    payload: &'a [u8],
    at: SystemTime,
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
                link = Link::subscribe(&self.connector, &self.set, self.patience()) => link,
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

    /// Takes what a connection brings until it ends; `None` when `stop` came first.
    async fn follow(&mut self, mut link: Link, stop: &CancellationToken) -> Option<Lost> {
        if let Some(from) = self.lost.take() {
            self.gap(from).await;
        }
        tracing::info!(host = link.at.0, port = link.at.1, "subscribed to redis");
        self.feed.set_attached(true);
        let lost = self.take_until(&mut link, stop).await;
        self.lost = Some(self.feed.position());
        self.feed.set_attached(false);
        lost
    }

    async fn take_until(&mut self, link: &mut Link, stop: &CancellationToken) -> Option<Lost> {
        let connector = Arc::clone(&self.connector);
        let mut stopped = pin!(stop.cancelled());
        let mut moved = pin!(moved(&connector, link.at.clone(), self.heartbeat));
        let mut pulse = Pulse::new(self.heartbeat, self.patience());
        loop {
            // What came with the confirmations, too.
            match self.take(link).await {
                Ok(answered) => pulse.felt(answered),
                Err(lost) => return Some(lost),
            }
            let step = tokio::select! {
                biased;
                () = &mut stopped => return None,
                () = &mut moved => Err(Lost::Moved),
                filled = link.fill() => filled,
                // Behind what has come, so that a pause of ours is not taken for one of the server's.
                () = pulse.due() => pulse.ask(link).await,
            };
            if let Err(lost) = step {
                return Some(lost);
            }
        }
    }

    fn patience(&self) -> Duration {
        self.heartbeat.max(PATIENCE)
    }

    /// Takes every message that was read; whether there was an answer among them.
    async fn take(&mut self, link: &mut Link) -> Result<bool, Lost> {
        let mut pending = self.feed.pending();
        let (mut taken, mut answered) = (0, false);
        let at = SystemTime::now();
        let ended = loop {
            match link.next() {
                Ok(Some(Frame::Message {
                    pattern,
                    channel,
                    payload,
                })) => {
                    let message = Message {
                        pattern,
                        channel,
                        payload,
                        at,
                    };
                    self.route(message, &mut pending).await;
                    taken += 1;
                    if taken % BATCH == 0 {
                        pending.flush().await;
                    }
                }
                Ok(Some(Frame::Error(words))) => break Err(Lost::refused(words)),
                Ok(Some(Frame::Answer)) => answered = true,
                Ok(Some(Frame::Subscribed)) => {}
                Ok(None) => break Ok(answered),
                Err(lost) => break Err(lost),
            }
        };
        pending.flush().await;
        ended
    }

    async fn gap(&self, from: Position) {
        let everything = self.set.may_reach_all();
        self.feed.gap(&self.set.sources(), everything, from).await;
    }

    /// Hands a message to whoever takes it.
    async fn route(&mut self, message: Message<'_>, pending: &mut Pending) {
        let takers = self.set.takers(message.pattern, message.channel);
        for intake in takers {
            match (intake, &self.emitters) {
                (Intake::Source(name), _) => pending.event(event(&mut self.feed, name, &message)).await,
                (Intake::Emitters, Some(emitters)) => {
                    let taken = emitters.take_redis(message.channel, message.payload);
                    emitters.deliver(taken, pending).await;
                }
                (Intake::Emitters, None) => {}
            }
        }
    }
}

fn event(feed: &mut Feed, name: &Arc<str>, message: &Message<'_>) -> Event {
    let channel = Arc::from(String::from_utf8_lossy(message.channel));
    let what = What::Message {
        channel,
        text: feed.message(name, &Bytes::copy_from_slice(message.payload)),
    };
    Event {
        at: message.at,
        ..Event::new(Arc::clone(name), what)
    }
}

/// Asks now and then whether the server still answers.
struct Pulse {
    beat: Pin<Box<Sleep>>,
    heartbeat: Duration,
    patience: Duration,
    asked: bool,
}

impl Pulse {
    fn new(heartbeat: Duration, patience: Duration) -> Self {
        Self {
            beat: Box::pin(sleep(heartbeat)),
            heartbeat,
            patience,
            asked: false,
        }
    }

    /// Returns when it is time to ask, or when the answer is late.
    async fn due(&mut self) {
        self.beat.as_mut().await;
    }

    async fn ask(&mut self, link: &mut Link) -> Result<(), Lost> {
        if self.asked {
            return Err(Lost::Silent(self.patience));
        }
        link.ping(self.patience).await?;
        self.asked = true;
        self.beat.as_mut().reset(Instant::now() + self.patience);
        Ok(())
    }

    fn felt(&mut self, answered: bool) {
        if answered && std::mem::take(&mut self.asked) {
            self.beat.as_mut().reset(Instant::now() + self.heartbeat);
        }
    }
}

/// Returns when the sentinels name another master.
async fn moved(connector: &Connector, from: Host, every: Duration) {
    loop {
        sleep(every).await;
        if connector.moved(&from).await {
            return;
        }
    }
}
