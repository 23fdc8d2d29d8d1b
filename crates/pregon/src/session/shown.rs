//! An entry of the log as a session is shown it: through which of its channels, and in which words.

use std::sync::Arc;

use pregon_wire::plain;
use pregon_wire::socketio::room;
use smallvec::SmallVec;

use crate::log::{Body, Entry};

/// The channels of `followed` (each with the offset after which) through which a session gets the entry: one for a publication (in
/// each namespace of Socket.IO), the first that the route named; every one that it concerns for a gap.
pub(crate) fn through<'f>(entry: &Entry, followed: &'f [(Arc<str>, u64)]) -> SmallVec<[&'f Arc<str>; 1]> {
    let followed = followed
        .iter()
        .filter(|(_, after)| entry.offset > *after)
        .map(|(channel, _)| channel);
    match &entry.body {
        Body::Gap(gap) => followed.filter(|channel| gap.concerns(channel)).collect(),
        Body::Publication { .. } | Body::Member { .. } => first_of_each_namespace(entry, followed),
    }
}

fn first_of_each_namespace<'f>(
    entry: &Entry,
    followed: impl Iterator<Item = &'f Arc<str>>,
) -> SmallVec<[&'f Arc<str>; 1]> {
    let channels = entry.channels();
    let place = |channel: &Arc<str>| channels.iter().position(|named| named == channel);
    let mut named: SmallVec<[(usize, &Arc<str>); 1]> = followed
        .filter_map(|channel| Some((place(channel)?, channel)))
        .collect();
    named.sort_unstable_by_key(|(place, _)| *place);
    let mut through: SmallVec<[&Arc<str>; 1]> = SmallVec::new();
    for (_, channel) in named {
        let namespace = room::split(channel).0;
        if !through.iter().any(|other| room::split(other).0 == namespace) {
            through.push(channel);
        }
    }
    through
}

/// Writes a publication of the past as the JSON protocol says it, for replies that carry it.
pub(crate) fn write_past(entry: &Entry, channel: &str, out: &mut Vec<u8>) {
    write_event(entry, channel, true, out);
}

/// Writes a publication as the JSON protocol says it, on `channel`; nothing of any other entry.
pub(crate) fn write_event(entry: &Entry, channel: &str, replayed: bool, out: &mut Vec<u8>) {
    if let Body::Publication { event, data, .. } = &entry.body {
        let (position, time) = (&entry.position, &entry.time);
        plain::event(channel, event, &data.json(), position, time, replayed, out);
    }
}
