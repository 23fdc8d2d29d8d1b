//! All that a log still has, as replay sees it: its window, and what it keeps beyond.
//!
//! Shards decide here where a replay begins; that never touches a disk. What the window no longer holds is read by
//! [`Past::read`], which blocks and therefore runs where blocking is allowed (`desk.rs`).

use std::sync::Arc;
use std::time::{Duration, SystemTime};

use super::Log;
use super::position::Since;
use super::window::{Follow, Merged, Most, Start, Window};

/// What a log keeps beyond its window.
pub trait History: Send + Sync + 'static {
    /// The newest offset of `channel` that is gone for good: what comes after it can be read. Does not block.
    fn pruned(&self, channel: &str) -> u64;

    /// The offset after which everything of `time` and later lies, and some that is earlier; `None` if something of `channel`
    /// that is later was pruned. Does not block.
    fn since(&self, channel: &str, time: SystemTime) -> Option<u64>;

    /// As [`Window::merge`], from what is kept; may stop before a limit is reached and then says where. Blocks.
    fn merge(&self, follows: &[Follow<'_>], after: u64, upto: u64, most: Most) -> Option<Merged>;

    /// The offset after which the newest `n` entries of `channel` up to `upto` begin, as far back as it looks. Blocks.
    fn before_last(&self, channel: &str, n: usize, upto: u64) -> u64;
}

/// See the module.
pub struct Past {
    window: Arc<Window>,
    history: Option<Arc<dyn History>>,
}

/// What can be had at once.
pub enum Found {
    /// Of the window.
    Here(Merged),
    /// [`Past::read`] has it.
    Older,
    /// Some of it is gone for good.
    Gone,
}

impl Past {
    /// What a log has.
    pub fn of(log: &dyn Log) -> Arc<Self> {
        Arc::new(Self {
            window: Arc::clone(log.window()),
            history: log.history(),
        })
    }

    pub fn window(&self) -> &Window {
        &self.window
    }

    /// Where a client's `since` begins for `channel`.
    pub fn start(&self, channel: &str, since: Since) -> Start {
        match (self.kept(channel, since), since) {
            (Start::After(after), Since::Ago(ago)) if self.window.is_younger_than(ago) => {
                Start::Younger(after)
            }
            (start, _) => start,
        }
    }

    /// The same, whenever the log began.
    fn kept(&self, channel: &str, since: Since) -> Start {
        let start = self.window.start(channel, since);
        let (Start::Pruned, Some(history)) = (start, &self.history) else {
            return start;
        };
        let after = match since {
            Since::Position(position) => Some(position.offset),
            Since::Ago(ago) => history.since(channel, ago_of(ago)),
            Since::Foreign => None,
        };
        match after {
            Some(after) if after >= history.pruned(channel) => Start::After(after),
            _ => Start::Pruned,
        }
    }

    /// The offset after which the newest `n` entries of `channel` begin; `None` if only [`Past::before_last`] can say.
    pub fn last(&self, channel: &str, n: usize) -> Option<u64> {
        let elsewhere = self
            .history
            .as_ref()
            .is_some_and(|history| history.pruned(channel) < self.window.pruned(channel));
        match self.window.has_last(channel, n) {
            Some(after) => Some(after),
            None if elsewhere => None,
            None => Some(self.window.before_last(channel, n)),
        }
    }

    /// As [`Past::last`], also where it is far back. Blocks.
    pub fn before_last(&self, channel: &str, n: usize) -> u64 {
        match (self.last(channel, n), &self.history) {
            (Some(after), _) => after,
            (None, Some(history)) => history.before_last(channel, n, self.window.head()),
            (None, None) => self.window.before_last(channel, n),
        }
    }

    /// The newest offset of `channel` that is gone for good.
    pub fn pruned(&self, channel: &str) -> u64 {
        match &self.history {
            Some(history) => history.pruned(channel),
            None => self.window.pruned(channel),
        }
    }

    /// What of it the window has. Does not block.
    pub fn find(&self, follows: &[Follow<'_>], after: u64, upto: u64, most: Most) -> Found {
        if let Some(merged) = self.window.merge(follows, after, upto, most) {
            return Found::Here(merged);
        }
        let Some(history) = &self.history else {
            return Found::Gone;
        };
        let gone = |follow: &Follow<'_>| {
            let from = after.max(follow.after);
            from < upto && history.pruned(follow.channel) > from
        };
        if follows.iter().any(gone) {
            Found::Gone
        } else {
            Found::Older
        }
    }

    /// The entries of several channels as [`Window::merge`] gives them, wherever they are; may be less than there is. `None` if
    /// some are gone for good. Blocks.
    pub fn read(&self, follows: &[Follow<'_>], after: u64, upto: u64, most: Most) -> Option<Merged> {
        match self.find(follows, after, upto, most) {
            Found::Here(merged) => Some(merged),
            Found::Older => self.history.as_ref()?.merge(follows, after, upto, most),
            Found::Gone => None,
        }
    }

    /// As [`Past::read`], up to the limits and never less.
    pub fn read_all(&self, follows: &[Follow<'_>], after: u64, upto: u64, most: Most) -> Option<Merged> {
        let mut all = Merged {
            reached: after,
            ..Merged::default()
        };
        let mut bytes = 0;
        while !all.complete {
            let left = Most {
                entries: most.entries - all.entries.len(),
                bytes: most.bytes.saturating_sub(bytes),
            };
            if left.entries == 0 || (left.bytes == 0 && bytes > 0) {
                // Whether there is more is said by one more entry.
                let one = Most { entries: 1, bytes: 1 };
                let next = self.read(follows, all.reached, upto, one)?;
                all.complete = next.complete && next.entries.is_empty();
                if all.complete || !next.entries.is_empty() {
                    return Some(all);
                }
                all.reached = next.reached;
                continue;
            }
            let next = self.read(follows, all.reached, upto, left)?;
            bytes += next.entries.iter().map(|entry| entry.weight()).sum::<usize>();
            all.entries.extend(next.entries);
            (all.complete, all.reached) = (next.complete, next.reached);
        }
        Some(all)
    }
}

fn ago_of(ago: Duration) -> SystemTime {
    SystemTime::now()
        .checked_sub(ago)
        .unwrap_or(SystemTime::UNIX_EPOCH)
}
