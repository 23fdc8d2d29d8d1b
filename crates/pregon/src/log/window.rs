//! The recent part of the log in memory, indexed by channel: what shards deliver from and what replay reads.
//!
//! One writer (the log) pushes; shards read under a shared lock and keep only offsets, so that a slow session costs one
//! integer. The window is bounded by bytes and age. For every channel it remembers the newest pruned offset, so that a
//! resume is a gap only if something of that very channel is missing.

use std::collections::VecDeque;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, AtomicU64, Ordering};
use std::time::{Duration, Instant, SystemTime};

use hashbrown::HashMap;
use parking_lot::RwLock;
use tokio::sync::Notify;

use super::entry::{Body, Entry};
use super::position::{Epoch, Position, Since};

pub use super::found::{Follow, Merged, Most, Start, Tail};

/// Channels whose pruned offset is remembered although the window holds nothing of them (about 100 bytes each).
const REMEMBERED: usize = 100_000;

/// How long a position of another node is waited for.
const PATIENCE: Duration = Duration::from_secs(1);

/// Bounds of the window.
#[derive(Debug, Clone, Copy)]
pub struct Retention {
    pub bytes: usize,
    pub age: Duration,
}

/// The recent entries, shared by the log and all shards.
pub struct Window {
    inner: RwLock<Inner>,
    head: AtomicU64,
    epoch: AtomicU32,
    /// Other nodes may be ahead of it: whoever names a position of theirs waits for what comes.
    coming: Option<Notify>,
    /// How old the log was at that moment, where that is known.
    age: Option<(Duration, Instant)>,
    readers: RwLock<Vec<Box<dyn Fn() + Send + Sync>>>,
}

struct Inner {
    retention: Retention,
    entries: VecDeque<Arc<Entry>>,
    /// The newest offset that is no longer held: entries after it are all here, with rising offsets that may leave numbers out.
    before: u64,
    bytes: usize,
    channels: HashMap<Arc<str>, Index, foldhash::fast::RandomState>,
    /// Channels of which only the pruned offset is known, in the order in which they became so.
    empty: VecDeque<Arc<str>>,
    /// Offsets of gap entries in the window.
    gaps: VecDeque<u64>,
    /// Newest pruned offset of the channels that were forgotten.
    floor: u64,
    /// Newest pruned gap entry; it may have concerned any channel.
    gap_floor: u64,
    newest_pruned: Option<Instant>,
}

#[derive(Default)]
struct Index {
    offsets: VecDeque<u64>,
    pruned: u64,
}

impl Window {
    /// An empty window at `offset` of `epoch`.
    pub fn new(epoch: Epoch, offset: u64, retention: Retention) -> Self {
        Self::behind(epoch, offset, None, retention)
    }

    /// An empty window behind entries that it does not hold, the newest of which was appended at `newest`.
    pub fn behind(epoch: Epoch, offset: u64, newest: Option<Instant>, retention: Retention) -> Self {
        let inner = Inner {
            newest_pruned: newest,
            ..Inner::behind(offset, retention)
        };
        Self {
            inner: RwLock::new(inner),
            head: AtomicU64::new(offset),
            epoch: AtomicU32::new(epoch.0),
            coming: None,
            age: None,
            readers: RwLock::default(),
        }
    }

    /// The same of a log that began then: of what was before it knows nothing.
    pub fn since(mut self, began: Option<SystemTime>) -> Self {
        // From here on the age grows with the monotonic clock: the other one may be set.
        self.age = began.map(|began| (began.elapsed().unwrap_or_default(), Instant::now()));
        self
    }

    /// The same of a log that other nodes append to: a position that is ahead of it will soon be there.
    pub fn awaited(mut self) -> Self {
        self.coming = Some(Notify::new());
        self
    }

    /// Whether this is a position of this log that another node may have given, and that has not come here yet.
    pub fn is_ahead(&self, position: Position) -> bool {
        self.coming.is_some() && position.epoch == self.epoch() && position.offset > self.head()
    }

    /// Waits until a position that is ahead has come, for a second at most.
    pub async fn reach(&self, position: Position) {
        let Some(coming) = &self.coming else { return };
        let reached = async {
            loop {
                let news = coming.notified();
                if !self.is_ahead(position) {
                    return;
                }
                news.await;
            }
        };
        // Whoever waited in vain is told that the position is not known here.
        let _ = tokio::time::timeout(PATIENCE, reached).await;
    }

    /// Whether the log began later than so long ago.
    pub fn is_younger_than(&self, ago: Duration) -> bool {
        self.age.is_some_and(|(age, at)| age + at.elapsed() < ago)
    }

    /// Calls `tell` when there is something new; it must not block for long.
    pub fn on_news(&self, tell: impl Fn() + Send + Sync + 'static) {
        self.readers.write().push(Box::new(tell));
    }

    pub fn epoch(&self) -> Epoch {
        Epoch(self.epoch.load(Ordering::Acquire))
    }

    /// Offset of the newest entry.
    pub fn head(&self) -> u64 {
        self.head.load(Ordering::Acquire)
    }

    pub fn position(&self, offset: u64) -> Position {
        Position {
            epoch: self.epoch(),
            offset,
        }
    }

    /// Bytes and entries held now.
    pub fn size(&self) -> (usize, usize) {
        let inner = self.inner.read();
        (inner.bytes, inner.entries.len())
    }

    /// Takes new entries, whose offsets rise above the head, and returns what was pruned. [`Window::tell`] is the caller's, once it
    /// holds no lock that a reader may want.
    pub fn push(&self, batch: Vec<Arc<Entry>>) -> Vec<Arc<Entry>> {
        let Some(newest) = batch.last().map(|entry| entry.offset) else {
            return Vec::new();
        };
        let mut inner = self.inner.write();
        for entry in batch {
            inner.push(entry);
        }
        let pruned = inner.prune(Instant::now());
        self.head.store(newest, Ordering::Release);
        self.come();
        pruned
    }

    /// Goes on behind `offset`, which is not before the head, with nothing of what was: a reader that is not there yet has missed it.
    pub fn restart(&self, epoch: Epoch, offset: u64) {
        let mut inner = self.inner.write();
        let offset = offset.max(self.head());
        *inner = Inner {
            newest_pruned: Some(Instant::now()),
            ..Inner::behind(offset, inner.retention)
        };
        self.epoch.store(epoch.0, Ordering::Release);
        self.head.store(offset, Ordering::Release);
        drop(inner);
        self.come();
    }

    fn come(&self) {
        if let Some(coming) = &self.coming {
            coming.notify_waiters();
        }
    }

    /// Tells the readers that there is something new, on this thread: they may read, and write to sockets.
    pub fn tell(&self) {
        for tell in self.readers.read().iter() {
            tell();
        }
    }

    /// Prunes by age alone; called from a timer so that a quiet log shrinks too.
    pub fn prune(&self) -> Vec<Arc<Entry>> {
        self.inner.write().prune(Instant::now())
    }

    /// Appends to `out` the entries after `offset`, at most `most`, stopping after `bytes` of payload.
    pub fn after(&self, offset: u64, most: usize, bytes: usize, out: &mut Vec<Arc<Entry>>) -> Tail {
        let inner = self.inner.read();
        if offset < inner.before {
            return Tail::Missed;
        }
        let skip = inner.upto(offset);
        let mut sum = 0;
        for entry in inner.entries.range(skip..).take(most) {
            sum += entry.weight();
            out.push(Arc::clone(entry));
            if sum >= bytes {
                break;
            }
        }
        Tail::Complete
    }

    /// Where a client's `since` begins for `channel`.
    pub fn start(&self, channel: &str, since: Since) -> Start {
        let inner = self.inner.read();
        match since {
            Since::Position(p) if p.epoch != self.epoch() || p.offset > self.head() => Start::Foreign,
            Since::Position(p) if p.offset < inner.pruned_of(channel) => Start::Pruned,
            Since::Position(p) => Start::After(p.offset),
            Since::Ago(ago) => inner.start_ago(channel, ago),
            Since::Foreign => Start::Foreign,
        }
    }

    /// The offset after which the newest `n` entries of `channel` begin.
    pub fn before_last(&self, channel: &str, n: usize) -> u64 {
        let inner = self.inner.read();
        let Some(index) = inner.channels.get(channel) else {
            return self.head();
        };
        let skip = index.offsets.len().saturating_sub(n);
        index.offsets.get(skip).map_or(self.head(), |first| first - 1)
    }

    /// The offset after which the newest `n` entries of `channel` begin, if the window holds so many.
    pub fn has_last(&self, channel: &str, n: usize) -> Option<u64> {
        let inner = self.inner.read();
        let offsets = &inner.channels.get(channel)?.offsets;
        let skip = offsets.len().checked_sub(n)?;
        Some(offsets.get(skip).map_or(self.head(), |first| first - 1))
    }

    /// The oldest offset held, or the next one.
    pub fn oldest(&self) -> u64 {
        let inner = self.inner.read();
        let oldest = inner.entries.front();
        oldest.map_or(inner.before + 1, |entry| entry.offset)
    }

    /// The newest offset of `channel` that is no longer held: what comes after it is.
    pub fn pruned(&self, channel: &str) -> u64 {
        self.inner.read().pruned_of(channel)
    }

    /// The entries of several channels in log order, each once: after `after` and each follow's own offset, up to `upto`.
    /// `None` if the window no longer holds all of them, checked in the same moment as they are read.
    pub fn merge(&self, follows: &[Follow<'_>], after: u64, upto: u64, most: Most) -> Option<Merged> {
        let inner = self.inner.read();
        let mut offsets = Vec::new();
        for follow in follows {
            let from = after.max(follow.after);
            if from < upto && inner.pruned_of(follow.channel) > from {
                return None;
            }
            if let Some(index) = inner.channels.get(follow.channel) {
                collect(
                    &index.offsets,
                    from,
                    upto,
                    most.entries.saturating_add(1),
                    &mut offsets,
                );
            }
            inner.collect_gaps(follow.channel, from, upto, &mut offsets);
        }
        offsets.sort_unstable();
        offsets.dedup();
        Some(inner.take(&offsets, upto, most))
    }
}

fn collect(offsets: &VecDeque<u64>, from: u64, upto: u64, most: usize, out: &mut Vec<u64>) {
    let first = offsets.partition_point(|&offset| offset <= from);
    out.extend(
        offsets
            .range(first..)
            .take(most)
            .take_while(|&&offset| offset <= upto),
    );
}

impl Inner {
    /// Nothing, behind an offset.
    fn behind(offset: u64, retention: Retention) -> Self {
        Self {
            retention,
            entries: VecDeque::new(),
            before: offset,
            bytes: 0,
            channels: HashMap::default(),
            empty: VecDeque::new(),
            gaps: VecDeque::new(),
            floor: offset,
            gap_floor: 0,
            newest_pruned: None,
        }
    }

    fn collect_gaps(&self, channel: &str, from: u64, upto: u64, offsets: &mut Vec<u64>) {
        for &gap in self.gaps.iter().filter(|&&gap| gap > from && gap <= upto) {
            if self
                .at(gap)
                .is_some_and(|entry| matches!(&entry.body, Body::Gap(g) if g.concerns(channel)))
            {
                offsets.push(gap);
            }
        }
    }

    /// The entries at these offsets, up to the limits and at least one.
    fn take(&self, offsets: &[u64], upto: u64, most: Most) -> Merged {
        let mut merged = Merged {
            entries: Vec::new(),
            complete: true,
            reached: upto,
        };
        let mut bytes = 0;
        for entry in offsets.iter().filter_map(|&offset| self.at(offset)) {
            if merged.entries.len() == most.entries || (bytes > 0 && bytes + entry.weight() > most.bytes) {
                merged.complete = false;
                merged.reached = merged.entries.last().map_or(0, |entry| entry.offset);
                break;
            }
            bytes += entry.weight();
            merged.entries.push(Arc::clone(entry));
        }
        merged
    }

    /// How many entries there are up to `offset`.
    fn upto(&self, offset: u64) -> usize {
        // Where no number is left out, which is most often so, the place follows from the offset.
        let guess = usize::try_from(offset.saturating_sub(self.before))
            .unwrap_or(usize::MAX)
            .min(self.entries.len());
        let last = guess.checked_sub(1).and_then(|last| self.entries.get(last));
        match last {
            Some(last) if last.offset > offset => {
                self.entries.partition_point(|entry| entry.offset <= offset)
            }
            _ => guess,
        }
    }

    fn at(&self, offset: u64) -> Option<&Arc<Entry>> {
        let entry = self.entries.get(self.upto(offset).checked_sub(1)?)?;
        (entry.offset == offset).then_some(entry)
    }

    fn push(&mut self, entry: Arc<Entry>) {
        debug_assert!(
            entry.offset > self.entries.back().map_or(self.before, |last| last.offset),
            "offsets rise"
        );
        self.bytes += entry.weight();
        for channel in entry.channels() {
            let fresh = || Index {
                pruned: self.floor,
                ..Index::default()
            };
            self.channels
                .entry_ref(channel)
                .or_insert_with(fresh)
                .offsets
                .push_back(entry.offset);
        }
        if matches!(entry.body, Body::Gap(_)) {
            self.gaps.push_back(entry.offset);
        }
        self.entries.push_back(entry);
    }

    fn prune(&mut self, now: Instant) -> Vec<Arc<Entry>> {
        let mut pruned = Vec::new();
        while let Some(oldest) = self.entries.front() {
            let aged = now.saturating_duration_since(oldest.appended) > self.retention.age;
            if self.bytes <= self.retention.bytes && !aged {
                break;
            }
            let Some(entry) = self.entries.pop_front() else {
                break;
            };
            self.forget(&entry);
            pruned.push(entry);
        }
        if !pruned.is_empty() {
            self.shrink();
        }
        pruned
    }

    fn forget(&mut self, entry: &Entry) {
        self.before = entry.offset;
        self.bytes -= entry.weight();
        self.newest_pruned = Some(entry.appended);
        if self.gaps.front() == Some(&entry.offset) {
            self.gaps.pop_front();
            self.gap_floor = entry.offset;
        }
        for channel in entry.channels() {
            let Some(index) = self.channels.get_mut(channel) else {
                continue;
            };
            index.offsets.pop_front();
            index.pruned = entry.offset;
            if index.offsets.is_empty() {
                self.empty.push_back(Arc::clone(channel));
            }
        }
        while self.empty.len() > REMEMBERED {
            self.forget_channel();
        }
    }

    fn forget_channel(&mut self) {
        let Some(channel) = self.empty.pop_front() else {
            return;
        };
        if self
            .channels
            .get(&channel)
            .is_some_and(|index| index.offsets.is_empty())
            && let Some(index) = self.channels.remove(&channel)
        {
            self.floor = self.floor.max(index.pruned);
        }
    }

    /// Gives memory back after a burst.
    fn shrink(&mut self) {
        if self.entries.capacity() > 1024 && self.entries.capacity() > 4 * self.entries.len() {
            self.entries.shrink_to(2 * self.entries.len());
        }
    }

    fn pruned_of(&self, channel: &str) -> u64 {
        self.channels
            .get(channel)
            .map_or(self.floor, |index| index.pruned)
            .max(self.gap_floor)
    }

    fn start_ago(&self, channel: &str, ago: Duration) -> Start {
        let Some(then) = Instant::now().checked_sub(ago) else {
            return self.start_oldest(channel);
        };
        if self.newest_pruned.is_some_and(|pruned| pruned >= then) && self.pruned_of(channel) > 0 {
            return Start::Pruned;
        }
        let older = self.entries.partition_point(|entry| entry.appended < then);
        let last = older.checked_sub(1).and_then(|last| self.entries.get(last));
        Start::After(last.map_or(self.before, |entry| entry.offset))
    }

    fn start_oldest(&self, channel: &str) -> Start {
        if self.newest_pruned.is_some() && self.pruned_of(channel) > 0 {
            Start::Pruned
        } else {
            Start::After(self.before)
        }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::indexing_slicing)]
    use proptest::prelude::*;
    use smallvec::smallvec;

    use super::*;
    use crate::event::{Data, Publication};

    fn window(bytes: usize) -> Window {
        Window::new(
            Epoch(7),
            0,
            Retention {
                bytes,
                age: Duration::from_secs(3600),
            },
        )
    }

    fn entry(offset: u64, channels: &[&str]) -> Arc<Entry> {
        let channels = channels.iter().map(|&channel| Arc::from(channel));
        let publication = Publication::new(channels, "e", Data::Json("1".into()));
        Arc::new(Entry::publication(offset, Epoch(7), publication))
    }

    fn ten() -> Most {
        Most {
            entries: 10,
            bytes: usize::MAX,
        }
    }

    fn offsets(entries: &[Arc<Entry>]) -> Vec<u64> {
        entries.iter().map(|entry| entry.offset).collect()
    }

    #[test]
    fn an_entry_of_two_followed_channels_comes_once() {
        let window = window(1 << 20);
        window.push(vec![entry(1, &["a", "b"]), entry(2, &["b"]), entry(3, &["c"])]);
        let follows = [
            Follow {
                channel: "a",
                after: 0,
            },
            Follow {
                channel: "b",
                after: 0,
            },
        ];
        let merged = window.merge(&follows, 0, 3, ten()).unwrap();
        assert_eq!((offsets(&merged.entries), merged.complete), (vec![1, 2], true));
        let merged = window
            .merge(&follows, 0, 3, Most { entries: 1, ..ten() })
            .unwrap();
        assert_eq!((offsets(&merged.entries), merged.complete), (vec![1], false));
        let merged = window.merge(&follows, 0, 3, Most { bytes: 1, ..ten() }).unwrap();
        assert_eq!(
            (offsets(&merged.entries), merged.complete),
            (vec![1], false),
            "one at least"
        );
    }

    #[test]
    fn a_resume_is_a_gap_only_if_its_own_channel_was_pruned() {
        let room_for_two = 2 * entry(1, &["a"]).weight();
        let window = window(room_for_two);
        window.push(
            (1..=5)
                .map(|n| entry(n, if n == 2 { &["b"] } else { &["a"] }))
                .collect(),
        );
        let at = |offset| Since::Position(window.position(offset));
        assert_eq!(window.start("a", at(2)), Start::Pruned);
        assert_eq!(window.start("a", at(3)), Start::After(3));
        assert_eq!(window.start("b", at(1)), Start::Pruned);
        assert_eq!(window.start("b", at(2)), Start::After(2));
        assert_eq!(window.start("never seen", at(0)), Start::After(0));
    }

    #[test]
    fn a_position_of_another_log_or_of_the_future_is_foreign() {
        let window = window(1 << 20);
        let other = Position {
            epoch: Epoch(8),
            offset: 0,
        };
        assert_eq!(window.start("a", Since::Position(other)), Start::Foreign);
        assert_eq!(
            window.start("a", Since::Position(window.position(1))),
            Start::Foreign
        );
    }

    #[test]
    fn a_reader_behind_the_window_is_told() {
        let window = window(2 * entry(1, &["a"]).weight());
        window.push((1..=5).map(|n| entry(n, &["a"])).collect());
        let mut out = Vec::new();
        assert_eq!(window.after(1, 10, usize::MAX, &mut out), Tail::Missed);
        assert_eq!(window.after(3, 10, usize::MAX, &mut out), Tail::Complete);
        assert_eq!(offsets(&out), [4, 5]);
    }

    #[test]
    fn a_gap_is_replayed_to_the_channels_that_it_concerns() {
        let window = window(1 << 20);
        let gap = super::super::entry::Gap {
            from: window.position(0),
            reason: pregon_wire::words::GapReason::Source,
            everything: false,
            patterns: Arc::from(vec![
                crate::route::template::Template::parse("sala_{id}")
                    .unwrap()
                    .pattern(),
            ]),
        };
        window.push(vec![
            entry(1, &["sala_1"]),
            Arc::new(Entry::gap(2, Epoch(7), gap)),
        ]);
        let of = |channel| {
            window
                .merge(&[Follow { channel, after: 0 }], 0, 2, ten())
                .unwrap()
                .entries
        };
        assert_eq!(offsets(&of("sala_1")), [1, 2]);
        assert_eq!(offsets(&of("otra")), [] as [u64; 0]);
    }

    #[test]
    fn what_was_pruned_is_never_left_out_silently() {
        let window = window(2 * entry(1, &["a"]).weight());
        window.push((1..=5).map(|n| entry(n, &["a"])).collect());
        let from = |after| {
            window
                .merge(&[Follow { channel: "a", after }], 0, 5, ten())
                .map(|m| offsets(&m.entries))
        };
        assert_eq!(from(2), None);
        assert_eq!(from(3), Some(vec![4, 5]));
        assert_eq!(from(5), Some(vec![]));
    }

    #[test]
    fn offsets_may_leave_numbers_out() {
        let window = window(3 * entry(1, &["a"]).weight());
        window.push([4, 5, 70, 900, 1001].map(|offset| entry(offset, &["a"])).into());
        let after = |offset| {
            let mut out = Vec::new();
            let tail = window.after(offset, 10, usize::MAX, &mut out);
            (tail, offsets(&out))
        };
        assert_eq!(after(4), (Tail::Missed, vec![]));
        assert_eq!(after(5), (Tail::Complete, vec![70, 900, 1001]));
        assert_eq!(after(69), (Tail::Complete, vec![70, 900, 1001]));
        assert_eq!(after(70), (Tail::Complete, vec![900, 1001]));
        assert_eq!(after(1000), (Tail::Complete, vec![1001]));
        assert_eq!(after(1001), (Tail::Complete, vec![]));
        assert_eq!((window.oldest(), window.head()), (70, 1001));
        assert_eq!(
            window.start("a", Since::Position(window.position(800))),
            Start::After(800)
        );
    }

    proptest! {
        /// Merging in pieces gives what a plain filter over all entries gives, whatever the pieces.
        #[test]
        fn merge_in_pieces_equals_a_filter(
            script in proptest::collection::vec((proptest::collection::vec(0_u8..4, 1..3), 1_u64..4), 1..60),
            follows in proptest::collection::vec((0_u8..4, 0_u64..40), 1..4),
            piece in 1_usize..7,
        ) {
            let names = ["a", "b", "c", "d"];
            let window = window(1 << 24);
            let mut placed = Vec::new();
            let mut offset = 0;
            for (channels, step) in &script {
                offset += step;
                placed.push((offset, channels));
                let mut channels: Vec<&str> = channels.iter().map(|&c| names[c as usize]).collect();
                channels.dedup();
                window.push(vec![entry(offset, &channels)]);
            }
            let follows: Vec<_> = follows.iter().map(|&(c, after)| Follow { channel: names[c as usize], after }).collect();
            let wanted: Vec<u64> = placed.iter().filter_map(|&(offset, channels)| {
                follows.iter().any(|f| offset > f.after && channels.iter().any(|&c| names[c as usize] == f.channel)).then_some(offset)
            }).collect();
            let mut got = Vec::new();
            let mut after = 0;
            loop {
                let part = window.merge(&follows, after, window.head(), Most { entries: piece, ..ten() }).unwrap();
                let Some(last) = part.entries.last() else { break };
                after = last.offset;
                got.extend(offsets(&part.entries));
                prop_assert_eq!(part.complete, got.len() == wanted.len());
            }
            prop_assert_eq!(got, wanted);
        }
    }

    #[test]
    fn smallvec_of_channels_stays_inline() {
        let channels: smallvec::SmallVec<[Arc<str>; 2]> = smallvec![Arc::from("a"), Arc::from("b")];
        assert!(!channels.spilled());
    }
}
