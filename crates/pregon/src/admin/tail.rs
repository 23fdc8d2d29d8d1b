//! `GET /admin/api/tail`: the entries of the log as they come, as server-sent events, with filters.
//!
//! Reads the window ten times a second; whoever reads slowly is told how much was left out and goes on with the present. An entry does not
//! say which source it came of, so that a source stands for the channels that its routes can render.

use std::collections::VecDeque;
use std::convert::Infallible;
use std::sync::Arc;
use std::time::Duration;

use axum::extract::State;
use axum::response::sse::{Event, Sse};
use futures_util::Stream;
use serde::Deserialize;
use serde_json::json;

use super::asked::Params;
use super::stream::{Turn, event};
use super::{Admin, Failure, entry};
use crate::log::window::Tail;
use crate::log::{Body, Entry};
use crate::route::template::Pattern;

/// Time between two looks.
const EVERY: Duration = Duration::from_millis(100);

/// Entries that one look reads, and their payload.
const READ: usize = 4096;
const READ_BYTES: usize = 4 << 20;

/// Entries that one look shows: nobody reads more than two hundred a second, and the page must stay alive.
const SHOWN: usize = 20;

/// What is let through.
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Filter {
    /// A pattern such as `room_{id}`, or a part of the name.
    channel: Option<String>,
    event: Option<String>,
    source: Option<String>,
}

struct Reader {
    turn: Turn,
    filter: Filter,
    /// The channels of the filter's source.
    patterns: Option<Vec<Pattern>>,
    channel: Option<Pattern>,
    cursor: u64,
    ready: VecDeque<Event>,
}

pub(super) async fn tail(
    State(admin): State<Arc<Admin>>,
    Params(filter): Params<Filter>,
) -> Result<Sse<impl Stream<Item = Result<Event, Infallible>>>, Failure> {
    let patterns = match filter.source.as_deref() {
        None => None,
        Some(source) => {
            let patterns = admin.router.load().channels_of(source);
            if patterns.is_empty() {
                return Err(Failure::bad(format!("source: no route takes events of {source}")));
            }
            Some(patterns)
        }
    };
    let channel = filter.channel.as_deref().filter(|name| name.contains('{'));
    let channel = channel
        .map(Pattern::parse)
        .transpose()
        .map_err(|error| Failure::bad(format!("channel: {error}")))?;
    let cursor = admin.log.window().head();
    let begin = json!({ "position": admin.log.window().position(cursor).to_string() });
    let reader = Reader {
        turn: Turn::take(admin, EVERY)?,
        filter,
        patterns,
        channel,
        cursor,
        ready: VecDeque::from([event("begin", &begin)]),
    };
    Ok(Sse::new(futures_util::stream::unfold(
        reader,
        |mut reader| async move { Some((Ok(reader.next().await?), reader)) },
    )))
}

impl Reader {
    async fn next(&mut self) -> Option<Event> {
        loop {
            if let Some(ready) = self.ready.pop_front() {
                return Some(ready);
            }
            if !self.turn.next().await {
                return None;
            }
            self.look();
        }
    }

    fn look(&mut self) {
        let window = self.turn.admin.log.window();
        let mut entries = Vec::new();
        if window.after(self.cursor, READ, READ_BYTES, &mut entries) == Tail::Missed {
            let head = window.head();
            let skipped = json!({ "entries": head - self.cursor });
            self.cursor = head;
            return self.ready.push_back(event("skipped", &skipped));
        }
        let Some(last) = entries.last().map(|entry| entry.offset) else {
            return;
        };
        self.cursor = last;
        let wanted: Vec<_> = entries.iter().filter(|entry| self.wants(entry)).collect();
        let shown = wanted.iter().take(SHOWN).map(|e| event("entry", &entry::of(e)));
        self.ready.extend(shown);
        if wanted.len() > SHOWN {
            let skipped = json!({ "entries": wanted.len() - SHOWN });
            self.ready.push_back(event("skipped", &skipped));
        }
    }

    fn wants(&self, entry: &Entry) -> bool {
        let Body::Publication { channels, event, .. } = &entry.body else {
            // A gap concerns whoever looks at any of its channels.
            return self.filter.event.is_none();
        };
        let fits = |name: &Arc<str>| match (&self.channel, &self.filter.channel) {
            (Some(pattern), _) => pattern.is_match(name),
            (None, Some(part)) => name.contains(part.as_str()),
            (None, None) => true,
        };
        let of_source = |name: &Arc<str>| match &self.patterns {
            Some(patterns) => patterns.iter().any(|pattern| pattern.is_match(name)),
            None => true,
        };
        self.filter
            .event
            .as_deref()
            .is_none_or(|wanted| wanted == &**event)
            && channels.iter().any(|name| fits(name) && of_source(name))
    }
}
