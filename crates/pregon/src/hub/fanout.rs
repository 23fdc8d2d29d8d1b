//! New entries to the connections that follow them: the hot path.
//!
//! A batch is sorted by channel. A connection that follows one of the batch's channels gets that channel's frames joined in
//! one write, encoded once for everybody; one that follows several gets its entries in log order. Connections that are behind
//! are skipped: they hold a cursor and catch up later.
//!
//! [`Fanout`] delivers a batch to an [`Audience`], and knows nothing else of a shard. The shard's part stands behind it: where
//! batches come from, what is done about connections that failed, and what is counted.

use std::sync::Arc;

use bytes::{Bytes, BytesMut};
use smallvec::SmallVec;

use super::backlog::Slowness;
use super::batch::Batch;
use super::codec::{Encoder, Variant};
use super::conn::{Backlog, Conn, Passing};
use super::connections::Connections;
use super::shard::Shard;
use super::{Key, Shared, returning};
use crate::log::window::Tail;
use crate::log::{Body, Entry, Epoch, Position};
use crate::metrics::Reason;
use crate::session::channels::{ChannelKey, Channels};

/// Entries of one batch: more do not make a write cheaper.
const BATCH: usize = 256;

/// Payload of one batch, bytes: bounds what a blocked session pins.
const BATCH_BYTES: usize = 256 * 1024;

/// Who may get a batch, and how it is turned into bytes.
pub(super) struct Audience<'a> {
    pub conns: &'a mut Connections,
    pub channels: &'a mut Channels,
    pub encoder: &'a mut Encoder,
    /// Live bytes that may wait for a connection that takes nothing (`[limits] queue`).
    pub queue: usize,
}

/// Delivers batches. It owns the current batch and what is remembered from one to the next.
pub(super) struct Fanout {
    /// Entries up to this offset were delivered.
    pub head: u64,
    /// Volatile publications up to this number were delivered.
    passed: u64,
    /// The batch under way, empty between two.
    batch: Batch,
    /// Number of the batch, to mark the connections that it has reached.
    round: u32,
    /// Connections that the batch could not be given to, and why.
    failed: Vec<(Key, Slowness)>,
}

/// What was delivered by a batch.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
struct Delivered {
    /// Entries times connections.
    deliveries: u64,
    bytes: u64,
}

/// How the current batch is delivered.
#[derive(Debug, Clone, Copy)]
struct Sending {
    /// A connection that got it has everything up to this offset.
    upto: u64,
    /// Set where the batch is volatile.
    passing: Option<Passing>,
    epoch: Epoch,
    /// The time of the round, by the clock of the node.
    now: u64,
}

impl Sending {
    /// Whether a ping goes with the batch, which the client's pong acknowledges.
    fn asks(&self, conn: &mut Conn) -> bool {
        self.passing.is_none() && conn.asks(self.upto, self.now)
    }

    /// The batch with the ping behind it, so that both take one write.
    fn with_ping(&self, bytes: &Bytes) -> Bytes {
        let position = Position {
            epoch: self.epoch,
            offset: self.upto,
        };
        let mut joined = Vec::with_capacity(bytes.len() + 40);
        joined.extend_from_slice(bytes);
        returning::ping(position, &mut joined);
        joined.into()
    }
}

impl Fanout {
    /// Begins behind `head` and behind so many volatile publications.
    pub(super) fn new(head: u64, passed: u64) -> Self {
        Self {
            head,
            passed,
            batch: Batch::default(),
            round: 0,
            failed: Vec::new(),
        }
    }

    /// Whether the window or the ring of volatile publications has something new.
    pub(super) fn is_behind(&self, shared: &Shared) -> bool {
        shared.window.head() != self.head || shared.volatile.has(self.passed)
    }

    /// Delivers the batch to everyone whom it concerns.
    fn deliver(&mut self, audience: &mut Audience<'_>, sending: Sending) -> Delivered {
        self.sort(audience.channels);
        let mut delivered = Delivered::default();
        match self.batch.touched.as_slice() {
            [only] if sending.passing.is_none() && !self.batch.has_except() => {
                let channel = only.channel;
                self.deliver_channel(audience, channel, sending, &mut delivered);
            }
            _ => self.deliver_mixed(audience, sending, &mut delivered),
        }
        delivered
    }

    /// Notes for every followed channel which entries concern it.
    fn sort(&mut self, channels: &Channels) {
        let entries = std::mem::take(&mut self.batch.entries);
        for (index, entry) in entries.iter().enumerate() {
            let index = index as u16;
            match &entry.body {
                Body::Publication { .. } | Body::Member { .. } => {
                    for name in entry.channels() {
                        if let Some(key) = channels.find(name) {
                            self.batch.touch(key, name, index);
                        }
                    }
                }
                Body::Gap(gap) => {
                    let concerned = channels.iter().filter(|(_, channel)| gap.concerns(&channel.name));
                    for (key, channel) in concerned {
                        self.batch.touch(key, &channel.name, index);
                    }
                }
            }
        }
        self.batch.entries = entries;
    }

    /// The whole batch is about one channel: one piece of bytes per variant, one write per connection.
    fn deliver_channel(
        &mut self,
        audience: &mut Audience<'_>,
        channel: ChannelKey,
        sending: Sending,
        delivered: &mut Delivered,
    ) {
        let count = self
            .batch
            .touched
            .first()
            .map_or(0, |touched| touched.entries.len());
        // Taken out for the loop: nothing below joins or leaves, failures are dealt with after it.
        let followers = audience.channels.take_followers(channel);
        let mut encoded: Option<(Variant, Bytes)> = None;
        let mut asking: Option<(Variant, Bytes)> = None;
        for &index in &followers {
            let Some(conn) = audience.conns.follower_mut(index) else {
                continue;
            };
            let bytes = match &encoded {
                Some((same, bytes)) if *same == conn.variant => bytes,
                _ => {
                    let joined = self.batch.joined(0, conn.variant, audience.encoder);
                    &encoded.insert((conn.variant, joined)).1
                }
            };
            let bytes = match sending.asks(conn) {
                false => bytes,
                true => match &asking {
                    Some((same, asking)) if *same == conn.variant => asking,
                    _ => &asking.insert((conn.variant, sending.with_ping(bytes))).1,
                },
            };
            let sent = send(conn, bytes, count, sending, audience.queue, delivered);
            self.failed.extend(sent.err());
        }
        audience.channels.give_back_followers(channel, followers);
    }

    fn deliver_mixed(&mut self, audience: &mut Audience<'_>, sending: Sending, delivered: &mut Delivered) {
        let picked = self.batch.has_except();
        for (index, place, several) in self.mark(audience) {
            let Some(variant) = audience.conns.follower(index).map(|conn| conn.variant) else {
                continue;
            };
            let (bytes, count) = if several || picked {
                self.merge_for(audience, index)
            } else {
                let count = self.batch.touched.get(place);
                let count = count.map_or(0, |touched| touched.entries.len());
                (self.batch.joined(place, variant, audience.encoder), count)
            };
            if let Some(conn) = audience.conns.follower_mut(index) {
                let bytes = match !bytes.is_empty() && sending.asks(conn) {
                    true => sending.with_ping(&bytes),
                    false => bytes,
                };
                let sent = send(conn, &bytes, count, sending, audience.queue, delivered);
                self.failed.extend(sent.err());
            }
        }
    }

    /// Every connection that the batch concerns, once: its index, the place of its first touched channel, and whether there
    /// are more.
    fn mark(&mut self, audience: &mut Audience<'_>) -> Vec<(u32, usize, bool)> {
        self.round = self.round.wrapping_add(1);
        let mut concerned: Vec<(u32, usize)> = Vec::new();
        for (place, touched) in self.batch.touched.iter().enumerate() {
            let Some(channel) = audience.channels.get(touched.channel) else {
                continue;
            };
            for &index in &channel.followers {
                let Some(conn) = audience.conns.follower_mut(index) else {
                    continue;
                };
                if conn.touched.0 == self.round {
                    conn.touched.1 += 1;
                } else {
                    conn.touched = (self.round, 1);
                    concerned.push((index, place));
                }
            }
        }
        let conns = &audience.conns;
        let several = |index: u32| conns.follower(index).is_some_and(|conn| conn.touched.1 > 1);
        concerned
            .into_iter()
            .map(|(index, place)| (index, place, several(index)))
            .collect()
    }

    /// The entries of all channels that a connection follows, in log order, each once; and how many they are.
    fn merge_for(&mut self, audience: &mut Audience<'_>, index: u32) -> (Bytes, usize) {
        let Audience {
            conns,
            channels,
            encoder,
            ..
        } = audience;
        let Some(conn) = conns.follower(index) else {
            return (Bytes::new(), 0);
        };
        let batch = &mut self.batch;
        let mut parts: SmallVec<[(u16, u8, usize, ChannelKey); 32]> = SmallVec::new();
        for session in &conn.sessions {
            for subscription in &session.subscriptions {
                if let Some((_, touched)) = batch.touched(subscription.channel) {
                    let place = |&index: &u16| {
                        let place = batch.place(index, &touched.name);
                        (index, session.namespace, place, subscription.channel)
                    };
                    parts.extend(touched.entries.iter().map(place));
                }
            }
        }
        parts.sort_unstable();
        // A publication once in each namespace; a gap for every channel that it concerns.
        let entry = |index: u16| batch.entries.get(usize::from(index));
        let gap = |index: u16| entry(index).is_some_and(|entry| entry.is_gap());
        parts.dedup_by(|later, first| (later.0, later.1) == (first.0, first.1) && !gap(first.0));
        if batch.has_except() {
            parts.retain(|part| {
                entry(part.0).is_none_or(|entry| !follows_any(channels, conn, entry.except()))
            });
        }
        let mut joined = BytesMut::new();
        for &(entry, _, _, channel) in &parts {
            let name = channels.name(channel);
            joined.extend_from_slice(&batch.single(entry, channel, &name, conn.variant, encoder));
        }
        (joined.freeze(), parts.len())
    }

    /// How many connections follow a channel of the entry (counted twice if they follow two).
    fn reached(&self, channels: &Channels, index: u16) -> u32 {
        let touched = self.batch.touched.iter();
        touched
            .filter(|touched| touched.entries.contains(&index))
            .filter_map(|touched| channels.get(touched.channel))
            .map(|channel| channel.followers.len() as u32)
            .sum()
    }
}

/// Whether a connection follows one of the channels.
pub(super) fn follows_any(known: &Channels, conn: &Conn, channels: &[Arc<str>]) -> bool {
    let mut channels = channels.iter().filter_map(|name| known.find(name));
    channels.any(|channel| conn.subscription(channel).is_some())
}

/// Writes a batch's bytes to a connection that is live; who is behind gets them later.
///
/// # Errors
///
/// The connection cannot go on.
fn send(
    conn: &mut Conn,
    bytes: &Bytes,
    count: usize,
    sending: Sending,
    queue: usize,
    delivered: &mut Delivered,
) -> Result<(), (Key, Slowness)> {
    if bytes.is_empty() {
        return Ok(());
    }
    if let Some(backlog) = &mut conn.backlog {
        if let Some(passing) = sending.passing {
            backlog.pass(bytes, sending.upto, passing);
            return Ok(());
        }
        backlog.lag += bytes.len();
        // Who gets a replay is behind on purpose; a client that takes nothing is found by its heartbeat.
        let live = backlog.replays.is_empty();
        return match live && backlog.blocked && backlog.lag > queue {
            true => Err((conn.key, Slowness::Slow)),
            false => Ok(()),
        };
    }
    delivered.deliveries += count as u64;
    delivered.bytes += bytes.len() as u64;
    conn.write(bytes, sending.upto)
        .map_err(|_| (conn.key, Slowness::Gone))
}

impl Shard {
    /// Delivers everything that the window has beyond the head, and the volatile publications behind it.
    pub(super) fn fan_out(&mut self) {
        self.fan_out_kept();
        if self.shared.volatile.has(self.fanout.passed) {
            self.fan_out_volatile();
        }
    }

    /// Delivers volatile publications. They have the position up to which their readers have everything.
    fn fan_out_volatile(&mut self) {
        let (passed, passing) = self.shared.volatile.after(self.fanout.passed);
        self.fanout.passed = passed;
        let (epoch, head) = (self.shared.window.epoch(), self.fanout.head);
        let entries = passing
            .into_iter()
            .map(|passing| Arc::new(Entry::volatile(head, epoch, passing.at, passing.body)));
        self.fanout.batch.entries.extend(entries);
        let is_member = |entry: &Arc<Entry>| matches!(entry.body, Body::Member { .. });
        let passing = match self.fanout.batch.entries.iter().all(is_member) {
            true => Passing::Anytime,
            false => Passing::InPlace,
        };
        self.deliver(Sending {
            upto: head,
            passing: Some(passing),
            epoch,
            now: self.now,
        });
        self.fanout.batch.clear();
    }

    fn fan_out_kept(&mut self) {
        loop {
            let Fanout { head, batch, .. } = &mut self.fanout;
            let tail = self
                .shared
                .window
                .after(*head, BATCH, BATCH_BYTES, &mut batch.entries);
            // Behind the read: whoever gave an order did so before it appended what comes after.
            let ordered = self.orders.cut(*head, &mut batch.entries);
            let last = batch.entries.last().map(|entry| entry.offset);
            if tail == Tail::Missed {
                self.catch_up_with_window();
            } else if let Some(last) = last {
                self.deliver(Sending {
                    upto: last,
                    passing: None,
                    epoch: self.shared.window.epoch(),
                    now: self.now,
                });
                self.account();
                self.end_with_gap();
                self.fanout.head = last;
                self.written.note(last);
            }
            self.fanout.batch.clear();
            self.carry_out_orders();
            if tail != Tail::Missed && last.is_none() && !ordered {
                return;
            }
        }
    }

    /// The window moved past this shard: every connection continues from its cursor, where it finds what it missed.
    fn catch_up_with_window(&mut self) {
        let behind = self.fanout.head;
        self.fanout.head = self.shared.window.head();
        tracing::warn!(
            from = behind,
            to = self.fanout.head,
            "a shard was slower than the log: its sessions resume"
        );
        for conn in self.conns.iter_mut() {
            if conn.backlog.is_none() {
                conn.backlog = Some(Backlog::new(behind));
                self.ready.push_back(conn.key);
            }
        }
    }

    /// Delivers the batch, counts what was delivered, and ends the connections that it could not be given to.
    fn deliver(&mut self, sending: Sending) {
        let mut audience = Audience {
            conns: &mut self.conns,
            channels: &mut self.subscriptions.channels,
            encoder: &mut self.encoder,
            queue: self.shared.limits.queue,
        };
        let delivered = self.fanout.deliver(&mut audience, sending);
        self.shared.metrics.deliveries.inc_by(delivered.deliveries);
        self.shared.metrics.delivered_bytes.inc_by(delivered.bytes);
        while let Some((key, why)) = self.fanout.failed.pop() {
            self.fail(key, why);
        }
    }

    /// Counts how long entries took, and tells of those that nobody followed.
    fn account(&self) {
        let metrics = &self.shared.metrics;
        for (index, entry) in self.fanout.batch.entries.iter().enumerate() {
            let sessions = self.fanout.reached(&self.subscriptions.channels, index as u16);
            if sessions > 0 {
                metrics.delivery.observe(entry.age().as_secs_f64());
            }
            let reached = entry.reached(sessions, u32::from(self.shared.shards));
            if reached == Some(0) && !entry.channels().is_empty() {
                metrics.dropped(Reason::Nobody);
                self.shared.desk.nobody(entry);
            }
        }
    }

    /// Ends the subscriptions that a gap of the batch concerns, of clients whose protocol has no other word for it.
    fn end_with_gap(&mut self) {
        if !self.fanout.batch.entries.iter().any(|entry| entry.is_gap()) {
            return;
        }
        let mut ended = Vec::new();
        for touched in &self.fanout.batch.touched {
            let mut entries = touched.entries.iter();
            let of = |index: &u16| self.fanout.batch.entries.get(usize::from(*index));
            if !entries.any(|index| of(index).is_some_and(|entry| entry.is_gap())) {
                continue;
            }
            let channel = self.subscriptions.channels.get(touched.channel);
            let followers = channel
                .map(|channel| channel.followers.as_slice())
                .unwrap_or_default();
            let conns = followers.iter().filter_map(|&place| self.conns.follower(place));
            let conns = conns.filter(|conn| conn.variant.codec.gap_ends_subscription());
            ended.extend(conns.map(|conn| (conn.key, Arc::clone(&touched.name))));
        }
        for (key, channel) in ended {
            self.ended_by_gap(key, &channel);
        }
    }
}

#[cfg(test)]
mod tests;
