//! Removes the oldest segments when the log is larger than it may be, or when all in them is older.

use std::sync::Arc;

use super::Core;
use super::codec;
use super::segment::Segment;

impl Core {
    /// Removes what retention no longer keeps. Called by the syncer alone.
    pub(super) fn retire(&self) {
        while let Some(segment) = self.superfluous() {
            if let Err(error) = self.retire_segment(&segment) {
                tracing::warn!(%error, path = %segment.path.display(), "an old segment of the log could not be removed");
                break;
            }
        }
        self.measure();
    }

    /// The oldest segment if it has to go; the newest, which grows, never does.
    fn superfluous(&self) -> Option<Arc<Segment>> {
        let segments = self.segments.read();
        let [oldest, _, ..] = segments.as_slice() else {
            return None;
        };
        let bytes: u64 = segments.iter().map(|segment| segment.len()).sum();
        let newest = codec::time_of(oldest.extent.read().last_time);
        let aged = newest.elapsed().is_ok_and(|age| age > self.keeping.window.age);
        (bytes > self.keeping.size || aged).then(|| Arc::clone(oldest))
    }

    /// First it is known that the channels have lost something, then they do.
    fn retire_segment(&self, segment: &Segment) -> std::io::Result<()> {
        let table = segment.table();
        let (last, newest_gap, newest) = {
            let extent = segment.extent.read();
            (extent.last, extent.newest_gap, extent.last_time)
        };
        // On a copy: shards ask what is pruned, and must not wait for a file.
        let mut pruned = self.pruned.read().clone();
        let table = table.unwrap_or_else(|error| {
            tracing::warn!(%error, path = %segment.path.display(), "which channels a segment had is unknown: it counts for all");
            pruned.lose(last);
            Default::default()
        });
        pruned.add(table, newest_gap, newest);
        pruned.save(&self.folder.pruned())?;
        {
            let mut known = self.pruned.write();
            pruned.join(&known);
            *known = pruned;
        }
        self.segments.write().retain(|other| other.first != segment.first);
        segment.remove()
    }
}
