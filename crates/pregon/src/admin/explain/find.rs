//! The event that is meant: by position, offset, its own id, or its number among those that no rule published.

use std::sync::Arc;

use super::super::{Admin, Failure};
use crate::log::window::{Follow, Most, Tail, Window};
use crate::log::{Body, Entry, Position};
use crate::pipeline::unrouted::Unrouted;

/// Entries that a search for an id looks at, from the newest; a second's work at most.
const SEARCHED: u64 = 1_000_000;

/// Entries of one step of it.
const STEP: u64 = 1024;

/// What was found.
pub(super) enum Found {
    Entry(Arc<Entry>),
    Unrouted(Arc<Unrouted>),
    Nothing(String),
}

pub(super) async fn event(admin: &Admin, text: &str, channel: Option<String>) -> Result<Found, Failure> {
    if text.is_empty() {
        return Err(Failure::bad(
            "event: a position, an offset, an event's id, or unrouted:NUMBER",
        ));
    }
    if let Some(number) = text.strip_prefix("unrouted:") {
        let number = number
            .parse()
            .map_err(|_| Failure::bad("event: unrouted:NUMBER"))?;
        let found = admin.unrouted.get(number);
        let gone = || {
            Found::Nothing(
                "only the last events that no rule published are remembered: it is not among them".into(),
            )
        };
        return Ok(found.map_or_else(gone, Found::Unrouted));
    }
    let window = admin.log.window();
    if let Ok(position) = text.parse::<Position>() {
        if position.epoch != window.epoch() {
            return Ok(Found::Nothing(
                "the position is of another log: its history is gone".into(),
            ));
        }
        return Ok(by_offset(admin, position.offset, channel).await);
    }
    if let Ok(offset) = text.parse::<u64>() {
        return Ok(by_offset(admin, offset, channel).await);
    }
    Ok(by_id(admin, text).await)
}

async fn by_offset(admin: &Admin, offset: u64, channel: Option<String>) -> Found {
    let window = admin.log.window();
    if offset == 0 || offset > window.head() {
        return Found::Nothing(format!(
            "the log has no such entry yet: its newest is {}",
            window.head()
        ));
    }
    let mut found = Vec::new();
    if window.after(offset - 1, 1, 1, &mut found) == Tail::Complete {
        return found.pop().map_or_else(
            || Found::Nothing("it was pruned this moment".into()),
            Found::Entry,
        );
    }
    let Some(channel) = channel else {
        return Found::Nothing(
            "it has left the window: name a channel of it, to look for it on the disk".into(),
        );
    };
    let read = move |past: &crate::log::Past| {
        let follow = Follow {
            channel: &channel,
            after: offset - 1,
        };
        let one = Most { entries: 1, bytes: 1 };
        past.read(&[follow], offset - 1, offset, one)
    };
    let merged = admin.desk.read(read).await.flatten();
    match merged.and_then(|merged| merged.entries.into_iter().next()) {
        Some(entry) => Found::Entry(entry),
        None => Found::Nothing("it was pruned, or is not of this channel".into()),
    }
}

/// The newest entry of this id: the source's own, with or without the number of its rule.
async fn by_id(admin: &Admin, id: &str) -> Found {
    let (window, id) = (Arc::clone(admin.log.window()), id.to_owned());
    let search = move || search(&window, &id);
    match tokio::task::spawn_blocking(search).await {
        Ok(Some(entry)) => Found::Entry(entry),
        _ => Found::Nothing(
            "no entry in memory has this id: it was never captured, no rule published it, it is not kept in the log, or it \
             has left the window; events of NOTIFY have no id"
                .into(),
        ),
    }
}

fn search(window: &Window, id: &str) -> Option<Arc<Entry>> {
    let is_it = |entry: &&Arc<Entry>| match &entry.body {
        Body::Publication { id: Some(own), .. } => {
            **own == *id || own.rsplit_once('/').is_some_and(|(own, _)| own == id)
        }
        _ => false,
    };
    let oldest = window.oldest().max(window.head().saturating_sub(SEARCHED));
    let mut upto = window.head();
    while upto >= oldest && upto > 0 {
        let from = upto.saturating_sub(STEP).max(oldest.saturating_sub(1));
        let mut entries = Vec::new();
        let count = usize::try_from(upto - from).unwrap_or(usize::MAX);
        if window.after(from, count, usize::MAX, &mut entries) == Tail::Missed {
            return None;
        }
        if let Some(found) = entries.iter().rev().find(is_it) {
            return Some(Arc::clone(found));
        }
        upto = from;
    }
    None
}
