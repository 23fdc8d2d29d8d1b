//! Emitters of Socket.IO: what the application's back ends say to clients through PostgreSQL or Redis.
//!
//! The source that brings a message calls this from its own task, in the order of arrival, and appends what comes of it. A message
//! names its own rooms, so no route is asked; whoever may NOTIFY or PUBLISH may emit.

mod publication;
mod order;

use std::sync::Arc;

use hashbrown::{HashMap, HashSet};
use pregon_capture::attachment::{Attachment, Attachments};
use pregon_capture::query::{Pool, QueryError};
use pregon_wire::socketio::emitter::{self, Emitted, Noted};

pub(crate) use publication::{Emission, publication};

use super::pending::Pending;
use super::redis::subscription::{Intake, Subscription, Topic};
use crate::config::{Config, Emitter};
use crate::hub::Hub;
use crate::hub::orders::Order;
use crate::lines;
use crate::metrics::{Metrics, Reason, SourceLabel};

/// The source of emitted events in metrics.
pub(crate) const SOURCE: &str = "socketio-emitter";

/// What came of a message.
#[derive(Debug)]
pub(crate) enum Taken {
    Emission(Emission),
    Order(Order),
    /// It is for others, or was counted and said.
    Nothing,
    /// It is lost because the database did not answer: some rooms missed something.
    Lost,
}

/// What is known about the emitters of one node.
pub(crate) struct Emitters {
    /// Where no emitters are heard in Redis, `None`.
    redis_prefix: Option<String>,
    namespaces: HashSet<String>,
    /// Namespace of each NOTIFY channel.
    channels: HashMap<String, Arc<str>>,
    attachments: Attachments,
    pool: Option<Arc<Pool>>,
    /// Largest message, bytes: the same as of an HTTP publish.
    most: usize,
    metrics: Arc<Metrics>,
    hub: Arc<Hub>,
}

impl Emitters {
    /// `None` if the configuration names no emitters.
    pub(crate) fn build(
        config: &Config,
        pool: Option<Arc<Pool>>,
        metrics: &Arc<Metrics>,
        hub: &Arc<Hub>,
    ) -> Option<Arc<Self>> {
        let socketio = config.socketio();
        if socketio.emitters.is_empty() {
            return None;
        }
        let channels = socketio.postgres_channels();
        Some(Arc::new(Self {
            redis_prefix: socketio
                .hears(Emitter::Redis)
                .then(|| socketio.redis_prefix.clone()),
            namespaces: socketio.all_namespaces().map(str::to_owned).collect(),
            channels: channels
                .map(|(channel, namespace)| (channel, namespace.into()))
                .collect(),
            attachments: Attachments::new(&socketio.postgres_table),
            pool,
            most: config.limits.body.bytes(),
            metrics: Arc::clone(metrics),
            hub: Arc::clone(hub),
        }))
    }

    /// Whether a NOTIFY channel is one of emitters.
    pub(crate) fn owns(&self, channel: &str) -> bool {
        self.channels.contains_key(channel)
    }

    /// Takes a notification; what it refers to is read before anything that follows is taken.
    pub(crate) async fn take_postgres(&self, channel: &str, payload: &[u8]) -> Taken {
        let Some(namespace) = self.channels.get(channel) else {
            return Taken::Nothing;
        };
        let id = match emitter::postgres(namespace, payload) {
            Ok(Noted::Whole(emitted)) => return self.emitted(emitted),
            Ok(Noted::Stored(id)) => id,
            Err(error) => return self.refuse(&error),
        };
        match self.fetch(id).await {
            Ok(Attachment::Payload(stored)) => match emitter::stored(namespace, &stored) {
                Ok(emitted) => self.emitted(emitted),
                Err(error) => self.refuse(&error),
            },
            Ok(Attachment::Missing) => self.refuse(&"the attachment has gone from the table"),
            Ok(Attachment::TooLarge) => self.refuse(&TOO_LARGE),
            Err(error) => {
                self.refuse(&error);
                // Where the server refuses, every message would be a gap for every client: no gap until that is put right.
                if error.is_permanent() {
                    Taken::Nothing
                } else {
                    Taken::Lost
                }
            }
        }
    }

    /// What to subscribe to in Redis; nothing if no emitters are heard there.
    pub(crate) fn redis_subscriptions(&self) -> Vec<Subscription> {
        let Some(prefix) = &self.redis_prefix else {
            return Vec::new();
        };
        let topics = self.namespaces.iter().flat_map(|namespace| {
            [
                // Everyone of the namespace, and each room by its own name.
                Topic::Pattern(format!("{}#*", literally(&format!("{prefix}#{namespace}")))),
                Topic::Channel(format!("{prefix}-request#{namespace}#")),
            ]
        });
        let intake = Intake::Emitters;
        topics
            .map(|topic| Subscription {
                topic,
                intake: intake.clone(),
            })
            .collect()
    }

    /// Takes a message of a Redis channel.
    pub(crate) fn take_redis(&self, channel: &[u8], message: &[u8]) -> Taken {
        let Some(prefix) = &self.redis_prefix else {
            return Taken::Nothing;
        };
        if message.len() > self.most {
            return self.refuse(&TOO_LARGE);
        }
        match emitter::redis(prefix, &String::from_utf8_lossy(channel), message) {
            Ok(emitted) => self.emitted(emitted),
            Err(error) => self.refuse(&error),
        }
    }

    /// Adds what came of a message to what its source has taken; an order takes effect behind that.
    pub(crate) async fn deliver(&self, taken: Taken, pending: &mut Pending) {
        match taken {
            Taken::Emission(emission) if emission.volatile => pending.volatile(emission.publication).await,
            Taken::Emission(emission) => pending.publication(emission.publication).await,
            Taken::Order(order) => {
                pending.flush().await;
                self.hub.order(order);
            }
            Taken::Nothing | Taken::Lost => {}
        }
    }

    async fn fetch(&self, id: i64) -> Result<Attachment, QueryError> {
        let Some(pool) = &self.pool else {
            return Ok(Attachment::Missing);
        };
        match self.attachments.fetch(pool, id, self.most).await {
            // A connection that was idle may have been closed meanwhile.
            Err(QueryError::Lost(_)) => self.attachments.fetch(pool, id, self.most).await,
            done => done,
        }
    }

    fn emitted(&self, emitted: Emitted) -> Taken {
        match emitted {
            Emitted::Broadcast(broadcast) if self.namespaces.contains(&broadcast.to.namespace) => {
                match publication(broadcast) {
                    Ok(emission) => {
                        self.count();
                        Taken::Emission(emission)
                    }
                    Err(error) => self.refuse(&error),
                }
            }
            Emitted::Change(change) if self.namespaces.contains(&change.to.namespace) => {
                match order::order(change) {
                    Ok(order) => {
                        self.count();
                        Taken::Order(order)
                    }
                    Err(error) => self.refuse(&error),
                }
            }
            Emitted::Broadcast(_) | Emitted::Change(_) => Taken::Nothing,
            Emitted::Ignored(reason) => {
                tracing::trace!(reason, "a message of an emitter is not for clients");
                Taken::Nothing
            }
        }
    }

    fn count(&self) {
        let label = SourceLabel {
            source: SOURCE.into(),
        };
        self.metrics.events.get_or_create(&label).inc();
    }

    fn refuse(&self, error: &dyn std::fmt::Display) -> Taken {
        self.metrics.dropped(Reason::Emitter);
        tracing::warn!(name: lines::EACH_EVENT, %error, "a message of a socket.io emitter was not delivered");
        Taken::Nothing
    }
}

const TOO_LARGE: &str = "the message is larger than `[limits] body`";

/// A text as a pattern of Redis that matches it alone.
fn literally(text: &str) -> String {
    let mut pattern = String::with_capacity(text.len());
    for c in text.chars() {
        if matches!(c, '*' | '?' | '[' | ']' | '^' | '\\') {
            pattern.push('\\');
        }
        pattern.push(c);
    }
    pattern
}
