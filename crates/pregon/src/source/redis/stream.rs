//! A stream: one connection that reads it as a consumer of a group, in one task.
//!
//! At least once: an entry is confirmed (XACK) when the log has it. What was read and not confirmed comes again after a start,
//! under the same identity, which the log takes once. A gap is told where entries are gone that were never read: trimmed away,
//! deleted while they were pending, or lost together with the group.

use std::convert::Infallible;
use std::sync::Arc;
use std::time::Duration;

use tokio_util::sync::CancellationToken;

use super::super::Attached;
use super::connect::{Connector, Keyed};
use super::entry::{Entry, Id, message};
use super::feed::Feed;
use super::group::{Group, Info};
use super::retry::{Lost, Retry};
use crate::config::{RedisStream, StreamStart};
use crate::event::{Event, EventId, What};
use crate::log::Position;

/// An answer may take this long beyond the time that was asked for.
const PATIENCE: Duration = Duration::from_secs(5);

/// The task with what it needs.
pub(super) struct Reader {
    connector: Arc<Connector>,
    group: Group,
    name: Arc<str>,
    channel: Arc<str>,
    field: String,
    from: StreamStart,
    heartbeat: Duration,
    feed: Feed,
    known: Option<Known>,
}

/// How far the stream was read.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Known {
    last: Id,
    /// How many of the entries that ever were are behind us, where that is known.
    read: Option<u64>,
    /// Position at the last time when nothing was missing.
    at: Position,
    /// Times that the stream began anew while we were here: its ids may come again, for other entries.
    life: u32,
}

impl Reader {
    pub(super) fn new(
        connector: Arc<Connector>,
        config: RedisStream,
        heartbeat: Duration,
        feed: Feed,
    ) -> Self {
        Self {
            connector,
            name: Arc::from(config.name),
            channel: Arc::from(config.stream.as_str()),
            field: config.field,
            from: config.from,
            group: Group {
                stream: config.stream,
                name: config.group,
            },
            heartbeat,
            feed,
            known: None,
        }
    }

    pub(super) fn attached(&self) -> Attached {
        self.feed.attached.clone()
    }

    /// Reads until `stop`. What is cut off in between was not confirmed and comes again.
    pub(super) async fn run(mut self, stop: CancellationToken) {
        let mut retry = Retry::default();
        loop {
            let read = tokio::select! {
                read = self.read(&mut retry) => read,
                () = stop.cancelled() => break,
            };
            let Err(lost) = read;
            self.feed.set_attached(false);
            if !retry.pause(&self.connector.shown(), &lost, &stop).await {
                break;
            }
        }
        self.feed.set_attached(false);
    }

    async fn read(&mut self, retry: &mut Retry) -> Result<Infallible, Lost> {
        let mut connection = self.connector.keyed(self.heartbeat + PATIENCE).await?;
        self.prepare(&mut connection).await?;
        retry.attached();
        self.feed.set_attached(true);
        tracing::info!(stream = &*self.channel, "reading a redis stream");
        self.pending(&mut connection).await?;
        self.fresh(&mut connection).await
    }

    /// Finds the group or makes it. One that we knew and that is gone is a gap.
    async fn prepare(&mut self, connection: &mut Keyed) -> Result<(), Lost> {
        let mut info = self.group.info(connection).await?;
        if info.as_ref().is_none_or(|info| info.group.is_none()) {
            let start = self.start(info.map(|info| info.newest));
            self.group.make(connection, &start).await?;
            if let Some(known) = &self.known {
                tracing::warn!(
                    stream = &*self.channel,
                    group = self.group.name,
                    "the consumer group was gone and is made anew"
                );
                self.gap(known.at).await;
            }
            info = self.group.info(connection).await?;
        }
        let group = info.and_then(|info| info.group).unwrap_or_default();
        let before = self.known.as_ref();
        self.known = Some(Known {
            last: group.last,
            read: group.read,
            at: before.map_or_else(|| self.feed.position(), |known| known.at),
            life: before.map_or(0, |known| known.life),
        });
        Ok(())
    }

    /// Where a group that is not there begins. With newer entries than those that we read the stream is the one that we knew;
    /// otherwise it began anew.
    fn start(&mut self, newest: Option<Id>) -> String {
        match (&mut self.known, self.from) {
            (None, StreamStart::New) => "$".into(),
            (None, StreamStart::Start) => "0".into(),
            (Some(known), _) if newest.is_some_and(|newest| newest >= known.last) => known.last.to_string(),
            (Some(known), _) => {
                known.life += 1;
                "0".into()
            }
        }
    }

    /// Takes what an earlier run read and did not confirm.
    async fn pending(&mut self, connection: &mut Keyed) -> Result<(), Lost> {
        let mut confirmed = Vec::new();
        loop {
            let (_, entries) = self.group.step(connection, &confirmed, "0").await?;
            if entries.is_empty() {
                return Ok(());
            }
            confirmed = self.take(entries).await?;
        }
    }

    /// Takes new entries for ever.
    async fn fresh(&mut self, connection: &mut Keyed) -> Result<Infallible, Lost> {
        let mut confirmed = Vec::new();
        loop {
            let (info, mut entries) = self.group.step(connection, &confirmed, ">").await?;
            self.compare(&info, entries.is_empty()).await;
            if entries.is_empty() {
                entries = self.group.wait(connection, self.heartbeat).await?;
            }
            let count = entries.len() as u64;
            confirmed = self.take(entries).await?;
            if let Some(read) = self.known.as_mut().and_then(|known| known.read.as_mut()) {
                *read += count;
            }
        }
    }

    /// Finds out whether more entries are gone than were read. `info` is from before the read; `all` says that nothing was left.
    async fn compare(&mut self, info: &Info, all: bool) {
        let Some(known) = &mut self.known else { return };
        let trimmed = known
            .read
            .zip(info.removed)
            .filter(|(read, removed)| removed > read);
        let from = known.at;
        if let Some((read, removed)) = trimmed {
            let missing = removed - read;
            tracing::warn!(
                stream = &*self.channel,
                missing,
                "entries were trimmed away before they were read"
            );
            known.read = Some(removed);
            self.gap(from).await;
        }
        if let Some(known) = self.known.as_mut().filter(|_| all) {
            known.read = info.added;
            known.at = self.feed.position();
        }
    }

    /// Appends entries; returns which may be confirmed.
    async fn take(&mut self, entries: Vec<Entry>) -> Result<Vec<Id>, Lost> {
        let mut events = Vec::with_capacity(entries.len());
        let mut ids = Vec::with_capacity(entries.len());
        let mut deleted = 0_u64;
        for Entry { id, fields } in entries {
            ids.push(id);
            match fields {
                Some(fields) => events.push(self.event(id, fields)),
                None => deleted += 1,
            }
        }
        self.feed.ingest(events).await?;
        let from = self.known.as_ref().map(|known| known.at);
        if let Some(from) = from.filter(|_| deleted > 0) {
            tracing::warn!(
                stream = &*self.channel,
                deleted,
                "entries were deleted before they were confirmed"
            );
            self.gap(from).await;
        }
        if let Some(known) = &mut self.known {
            known.last = ids.iter().copied().max().unwrap_or_default().max(known.last);
            known.at = self.feed.position();
        }
        Ok(ids)
    }

    async fn gap(&self, from: Position) {
        self.feed.gap(std::slice::from_ref(&self.name), false, from).await;
    }

    fn event(&mut self, id: Id, fields: Vec<(Vec<u8>, Vec<u8>)>) -> Event {
        let message = message(fields, &self.field);
        let life = match self.known.as_ref().map_or(0, |known| known.life) {
            0 => String::new(),
            life => format!("#{life}"),
        };
        let what = What::Message {
            channel: Arc::clone(&self.channel),
            text: self.feed.message(&self.name, &message),
        };
        Event {
            id: EventId::named(format!("redis/{}{life}/{id}", self.channel)),
            at: id.at(),
            ..Event::new(Arc::clone(&self.name), what)
        }
    }
}
