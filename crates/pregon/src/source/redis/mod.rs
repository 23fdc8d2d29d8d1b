//! Redis: channels and patterns (at most once, with a gap for what may be missing) and streams (at least once).
//!
//! All channels and patterns share one connection and one task; each stream has a connection and a task of its own, because reading
//! one blocks its connection. No task hides a loss: the driver's own reconnecting is not used, a connection that ends is told as
//! lost, and every new one begins with its subscriptions.
//!
//! `address` and `connect` find the server; `subscription` says which message is taken by whom, with `glob`; `link` is what `pubsub` takes
//! messages from; `stream`, `group` and `entry` read streams; `feed` is the way into the pipeline.

pub(crate) mod connect;
pub(crate) mod keys;
pub(crate) mod subscription;
mod glob;
mod feed;
mod retry;
mod link;
mod pubsub;
mod group;
mod entry;
mod stream;

use std::sync::Arc;

use ::redis::AsyncConnectionConfig;
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

use self::connect::{Connector, SetupError};
use self::feed::Feed;
use self::pubsub::PubSub;
use self::stream::Reader;
use self::subscription::{Intake, Set, Subscription, Topic};
use super::Attached;
use super::emitter::Emitters;
use crate::config;
use crate::log::Position;
use crate::metrics::Metrics;
use crate::pipeline::Pipeline;

/// Connects once, as a source would; where the server is that answers.
pub(crate) async fn answers(redis: &config::Redis) -> anyhow::Result<String> {
    let connector = Connector::build(redis)?;
    let (mut connection, (host, port)) = connector.node(AsyncConnectionConfig::new()).await?;
    ::redis::cmd("PING").exec_async(&mut connection).await?;
    Ok(format!("{host}:{port}"))
}

/// What is taken from one Redis.
pub(crate) struct RedisSource {
    pubsub: Option<PubSub>,
    readers: Vec<Reader>,
}

impl RedisSource {
    /// The source of a checked configuration. Whoever wants messages for another intake adds subscriptions to the set here.
    pub(crate) fn build(
        redis: &config::Redis,
        emitters: Option<&Arc<Emitters>>,
        pipeline: &Arc<Pipeline>,
        metrics: &Arc<Metrics>,
    ) -> Result<Self, SetupError> {
        let connector = Arc::new(Connector::build(redis)?);
        let feed = |label: &str| Feed::new(label, pipeline, metrics);
        let mut all = subscriptions(redis);
        all.extend(
            emitters
                .into_iter()
                .flat_map(|emitters| emitters.redis_subscriptions()),
        );
        let set = Set::new(all);
        let pubsub = (!set.is_empty()).then(|| {
            let emitters = emitters.map(Arc::clone);
            PubSub::new(
                Arc::clone(&connector),
                set,
                emitters,
                *redis.heartbeat,
                feed("redis"),
            )
        });
        let readers = redis.stream.iter().map(|stream| {
            let feed = feed(&stream.name);
            Reader::new(Arc::clone(&connector), stream.clone(), *redis.heartbeat, feed)
        });
        Ok(Self {
            pubsub,
            readers: readers.collect(),
        })
    }

    /// Somebody else was subscribed up to this position: what came since is lost.
    pub(crate) fn lost_since(&mut self, position: Option<Position>) {
        if let Some(pubsub) = &mut self.pubsub {
            pubsub.lost = position;
        }
    }

    /// What `/readyz` waits for.
    pub(crate) fn attached(&self) -> Vec<(&'static str, Attached)> {
        let pubsub = self.pubsub.iter().map(|pubsub| ("redis", pubsub.attached()));
        let readers = self
            .readers
            .iter()
            .map(|reader| ("a redis stream", reader.attached()));
        pubsub.chain(readers).collect()
    }

    /// Starts the tasks; they end when `stop` is cancelled.
    pub(crate) fn spawn(self, tasks: &mut JoinSet<()>, stop: &CancellationToken) {
        if let Some(pubsub) = self.pubsub {
            tasks.spawn(pubsub.run(stop.clone()));
        }
        for reader in self.readers {
            tasks.spawn(reader.run(stop.clone()));
        }
    }
}

fn subscriptions(redis: &config::Redis) -> Vec<Subscription> {
    let channels = redis
        .channel
        .iter()
        .map(|at| (Topic::Channel(at.channel.clone()), &at.name));
    let patterns = redis
        .pattern
        .iter()
        .map(|at| (Topic::Pattern(at.pattern.clone()), &at.name));
    let all = channels.chain(patterns).map(|(topic, name)| Subscription {
        topic,
        intake: Intake::Source(Arc::from(name.as_str())),
    });
    all.collect()
}
