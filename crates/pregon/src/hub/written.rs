//! When a shard wrote what: the newest offset of each of its last batches with the time. One small entry per batch, none per delivery.

use std::collections::VecDeque;
use std::time::SystemTime;

/// Batches that are remembered, 24 bytes each.
const MOST: usize = 2048;

/// See the module.
#[derive(Debug, Default)]
pub(super) struct Written {
    on: bool,
    /// What is remembered begins after this offset.
    before: u64,
    batches: VecDeque<(u64, SystemTime)>,
}

impl Written {
    /// Remembers nothing unless somebody may ask. The shard begins after `head`.
    pub(super) fn new(on: bool, head: u64) -> Self {
        Self {
            on,
            before: head,
            batches: VecDeque::new(),
        }
    }

    /// A batch up to `last` has been written.
    pub(super) fn note(&mut self, last: u64) {
        if !self.on {
            return;
        }
        if self.batches.len() == MOST
            && let Some((forgotten, _)) = self.batches.pop_front()
        {
            self.before = forgotten;
        }
        self.batches.push_back((last, SystemTime::now()));
    }

    /// When the batch with `offset` had been written; `None` if it is forgotten, or was before the shard began.
    pub(super) fn at(&self, offset: u64) -> Option<SystemTime> {
        // The first one that is remembered begins after the head that the shard had, or after what is forgotten.
        let place = self.batches.partition_point(|(last, _)| *last < offset);
        if offset <= self.before {
            return None;
        }
        self.batches.get(place).map(|(_, at)| *at)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_offset_has_the_time_of_its_batch_unless_that_is_forgotten() {
        let mut written = Written::new(true, 2);
        for last in [3, 5, 9] {
            written.note(last);
        }
        assert_eq!(written.at(4), written.at(5));
        assert!(written.at(9).is_some() && written.at(5) <= written.at(9));
        assert_eq!(written.at(10), None, "not yet");
        assert!(written.at(3).is_some());
        assert_eq!(written.at(2), None, "before the shard");
        for last in 10..10 + MOST as u64 {
            written.note(last);
        }
        assert_eq!(written.at(9), None, "forgotten");
        assert!(written.at(10).is_some());
        assert_eq!(written.batches.len(), MOST);
    }

    #[test]
    fn nothing_is_kept_where_nobody_asks() {
        let mut written = Written::new(false, 0);
        written.note(1);
        assert!(written.batches.is_empty());
    }
}
