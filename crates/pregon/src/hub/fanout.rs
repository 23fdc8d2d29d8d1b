//! New entries to the sessions that follow them: the hot path.
//!
//! A batch is sorted by channel. A session that follows one of the batch's channels gets that channel's frames joined in
//! one write, encoded once for everybody; one that follows several gets its entries in log order. Sessions that are behind
//! are skipped: they hold a cursor and catch up later.

use std::sync::Arc;

use bytes::{Bytes, BytesMut};
use smallvec::SmallVec;

use super::Key;
use super::backlog::Slowness;
use super::batch::Batch;
use super::codec::Variant;
use super::conn::{Backlog, Conn, Passing};
use super::shard::Shard;
use crate::log::window::Tail;
use crate::log::{Body, Entry};
use crate::metrics::Reason;
use crate::session::channels::ChannelKey;

/// Entries of one batch: more do not make a write cheaper.
const BATCH: usize = 256;

/// Payload of one batch, bytes: bounds what a blocked session pins.
const BATCH_BYTES: usize = 256 * 1024;

/// What a batch did, added to the metrics once.
#[derive(Default)]
struct Sums {
    deliveries: u64,
    bytes: u64,
    /// The batch is not kept.
    passing: Option<Passing>,
}

impl Shard {
    /// Delivers everything that the window has beyond the head, and what is not kept behind it.
    pub(super) fn fan_out(&mut self) {
        self.fan_out_kept();
        if self.shared.volatile.has(self.passed) {
            self.fan_out_volatile();
        }
    }

    /// Delivers what is not kept. It has the position up to which its readers have everything.
    fn fan_out_volatile(&mut self) {
        let (passed, passing) = self.shared.volatile.after(self.passed);
        self.passed = passed;
        let epoch = self.shared.window.epoch();
        let mut batch = std::mem::take(&mut self.batch);
        batch.clear();
        let entries = passing
            .into_iter()
            .map(|passing| Arc::new(Entry::volatile(self.head, epoch, passing.at, passing.body)));
        batch.entries.extend(entries);
        self.sort(&mut batch);
        let is_member = |entry: &Arc<Entry>| matches!(entry.body, Body::Member { .. });
        let passing = match batch.entries.iter().all(is_member) {
            true => Passing::Anytime,
            false => Passing::InPlace,
        };
        let mut sums = Sums {
            passing: Some(passing),
            ..Sums::default()
        };
        self.deliver_mixed(&mut batch, self.head, &mut sums);
        self.shared.metrics.deliveries.inc_by(sums.deliveries);
        self.shared.metrics.delivered_bytes.inc_by(sums.bytes);
        batch.clear();
        self.batch = batch;
    }

    fn fan_out_kept(&mut self) {
        loop {
            let mut batch = std::mem::take(&mut self.batch);
            batch.clear();
            let tail = self
                .shared
                .window
                .after(self.head, BATCH, BATCH_BYTES, &mut batch.entries);
            // Behind the read: whoever gave an order did so before it appended what comes after.
            let ordered = self.orders.cut(self.head, &mut batch.entries);
            if tail == Tail::Missed {
                self.catch_up_with_window();
            } else if let Some(last) = batch.entries.last().map(|entry| entry.offset) {
                self.deliver(&mut batch, last);
                self.head = last;
                self.written.note(last);
            }
            let more = tail == Tail::Missed || !batch.entries.is_empty() || ordered;
            batch.clear();
            self.batch = batch;
            self.carry_out_orders();
            if !more {
                return;
            }
        }
    }

    /// The window moved past this shard: every session continues from its cursor, where it finds what it missed.
    fn catch_up_with_window(&mut self) {
        let behind = self.head;
        self.head = self.shared.window.head();
        tracing::warn!(
            from = behind,
            to = self.head,
            "a shard was slower than the log: its sessions resume"
        );
        for conn in self.conns.iter_mut() {
            if conn.backlog.is_none() {
                conn.backlog = Some(Backlog::new(behind));
                self.ready.push_back(conn.key);
            }
        }
    }

    fn deliver(&mut self, batch: &mut Batch, last: u64) {
        self.sort(batch);
        let mut sums = Sums::default();
        match batch.touched.as_slice() {
            [only] if !batch.has_except() => {
                let channel = only.channel;
                self.deliver_channel(batch, channel, last, &mut sums);
            }
            _ => self.deliver_mixed(batch, last, &mut sums),
        }
        self.account(batch, &sums);
    }

    /// Notes for every followed channel which entries concern it.
    fn sort(&self, batch: &mut Batch) {
        let entries = std::mem::take(&mut batch.entries);
        for (index, entry) in entries.iter().enumerate() {
            let index = index as u16;
            match &entry.body {
                Body::Publication { .. } | Body::Member { .. } => {
                    for name in entry.channels() {
                        if let Some(key) = self.channels.find(name) {
                            batch.touch(key, name, index);
                        }
                    }
                }
                Body::Gap(gap) => {
                    for (key, channel) in self
                        .channels
                        .iter()
                        .filter(|(_, channel)| gap.concerns(&channel.name))
                    {
                        batch.touch(key, &channel.name, index);
                    }
                }
            }
        }
        batch.entries = entries;
    }

    /// The whole batch is about one channel: one piece of bytes per variant, one write per session.
    fn deliver_channel(&mut self, batch: &mut Batch, channel: ChannelKey, last: u64, sums: &mut Sums) {
        let count = batch.touched.first().map_or(0, |touched| touched.entries.len());
        // Taken out for the loop: nothing below joins or leaves, failures are dealt with after it.
        let followers = self.channels.take_followers(channel);
        let mut encoded: Option<(Variant, Bytes)> = None;
        for &index in &followers {
            let Some(variant) = self.conns.follower(index).map(|conn| conn.variant) else {
                continue;
            };
            let bytes = match &encoded {
                Some((same, bytes)) if *same == variant => bytes,
                _ => {
                    &encoded
                        .insert((variant, batch.joined(0, variant, &mut self.encoder)))
                        .1
                }
            };
            self.send_live(index, bytes, last, count, sums);
        }
        self.channels.give_back_followers(channel, followers);
        self.close_failed();
    }

    fn deliver_mixed(&mut self, batch: &mut Batch, last: u64, sums: &mut Sums) {
        let picked = batch.has_except();
        for (index, place, several) in self.mark(batch) {
            let Some(variant) = self.conns.follower(index).map(|conn| conn.variant) else {
                continue;
            };
            let (bytes, count) = if several || picked {
                self.merge_for(batch, index)
            } else {
                let count = batch
                    .touched
                    .get(place)
                    .map_or(0, |touched| touched.entries.len());
                (batch.joined(place, variant, &mut self.encoder), count)
            };
            self.send_live(index, &bytes, last, count, sums);
        }
        self.close_failed();
    }

    /// Every session that the batch concerns, once: its index, the place of its first touched channel, and whether there
    /// are more.
    fn mark(&mut self, batch: &Batch) -> Vec<(u32, usize, bool)> {
        self.round = self.round.wrapping_add(1);
        let mut concerned: Vec<(u32, usize)> = Vec::new();
        for (place, touched) in batch.touched.iter().enumerate() {
            let Some(channel) = self.channels.get(touched.channel) else {
                continue;
            };
            for &index in &channel.followers {
                let Some(conn) = self.conns.follower_mut(index) else {
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
        let several = |index: u32| self.conns.follower(index).is_some_and(|conn| conn.touched.1 > 1);
        concerned
            .into_iter()
            .map(|(index, place)| (index, place, several(index)))
            .collect()
    }

    /// The entries of all channels that a session follows, in log order, each once.
    fn merge_for(&mut self, batch: &mut Batch, index: u32) -> (Bytes, usize) {
        let Some(conn) = self.conns.follower(index) else {
            return (Bytes::new(), 0);
        };
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
            parts.retain(|part| entry(part.0).is_none_or(|entry| !self.follows_any(conn, entry.except())));
        }
        let variant = conn.variant;
        let mut joined = BytesMut::new();
        for &(entry, _, _, channel) in &parts {
            let name = self.channels.name(channel);
            joined.extend_from_slice(&batch.single(entry, channel, &name, variant, &mut self.encoder));
        }
        (joined.freeze(), parts.len())
    }

    pub(super) fn follows_any(&self, conn: &Conn, channels: &[Arc<str>]) -> bool {
        let mut channels = channels.iter().filter_map(|name| self.channels.find(name));
        channels.any(|channel| conn.subscription(channel).is_some())
    }

    fn send_live(&mut self, index: u32, bytes: &Bytes, last: u64, count: usize, sums: &mut Sums) {
        let Some(conn) = self.conns.follower_mut(index) else {
            return;
        };
        if bytes.is_empty() {
            return;
        }
        if let (Some(backlog), Some(passing)) = (&mut conn.backlog, sums.passing) {
            backlog.pass(bytes, last, passing);
            return;
        }
        if let Some(backlog) = &mut conn.backlog {
            backlog.lag += bytes.len();
            // Who gets a replay is behind on purpose; a client that takes nothing is found by its heartbeat.
            let live = backlog.replays.is_empty();
            if live && backlog.blocked && backlog.lag > self.shared.limits.queue {
                self.failed.push((conn.key, Slowness::Slow));
            }
            return;
        }
        sums.deliveries += count as u64;
        sums.bytes += bytes.len() as u64;
        if conn.write(bytes, last).is_err() {
            self.failed.push((conn.key, Slowness::Gone));
        }
    }

    fn close_failed(&mut self) {
        while let Some((key, why)) = self.failed.pop() {
            self.fail(key, why);
        }
    }

    fn account(&self, batch: &Batch, sums: &Sums) {
        let metrics = &self.shared.metrics;
        metrics.deliveries.inc_by(sums.deliveries);
        metrics.delivered_bytes.inc_by(sums.bytes);
        for (index, entry) in batch.entries.iter().enumerate() {
            let sessions = self.reached(batch, index as u16);
            if sessions > 0 {
                metrics.delivery.observe(entry.age().as_secs_f64());
            }
            if entry.reached(sessions, u32::from(self.shared.shards)) == Some(0)
                && !entry.channels().is_empty()
            {
                self.nobody(entry);
            }
        }
    }

    /// How many sessions of this shard follow a channel of the entry (counted twice if they follow two).
    fn reached(&self, batch: &Batch, index: u16) -> u32 {
        let touched = batch
            .touched
            .iter()
            .filter(|touched| touched.entries.contains(&index));
        touched
            .filter_map(|touched| self.channels.get(touched.channel))
            .map(|channel| channel.followers.len() as u32)
            .sum()
    }

    fn nobody(&self, entry: &Arc<Entry>) {
        self.shared.metrics.dropped(Reason::Nobody);
        self.shared.desk.nobody(entry);
    }
}

/// The session that a shard is done with, by key.
pub(super) type Failed = Vec<(Key, Slowness)>;
