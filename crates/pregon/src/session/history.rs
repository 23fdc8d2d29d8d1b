//! The past that travels with a reply: for clients whose protocol has no word for a replayed event.

use std::sync::Arc;

use pregon_wire::socketio::room;

use super::replay::{Plan, StartAt, plan};
use crate::log::past::Found;
use crate::log::window::{Follow, Merged, Most};
use crate::log::{Entry, Past};

/// What was asked for.
#[derive(Debug, Clone)]
pub(crate) struct Request {
    pub channels: Vec<Arc<str>>,
    pub from: StartAt,
    /// The join: what comes after it is live.
    pub upto: u64,
    pub most: Most,
    pub write: WriteEntry,
}

/// Writes a publication as the client's protocol has it in a reply: a JSON object, by the name of the channel that it came through.
pub(crate) type WriteEntry = fn(&Entry, &str, &mut Vec<u8>);

/// Entries as JSON objects with commas between.
#[derive(Debug, Default)]
pub(crate) struct History {
    pub json: Vec<u8>,
    /// Nothing of what was asked for is missing.
    pub complete: bool,
}

impl Request {
    /// What the window has of it; `None` if [`Request::read`] has to look further.
    pub(crate) fn here(&self, past: &Past) -> Option<History> {
        let (follows, complete) = self.follows(past, &|_, _| None)?;
        match past.find(&follows, 0, self.upto, self.most) {
            Found::Here(merged) => Some(self.render(Some(merged), complete)),
            Found::Older => None,
            Found::Gone => Some(self.render(None, complete)),
        }
    }

    /// All that the log has of it. Blocks.
    pub(crate) fn read(&self, past: &Past) -> History {
        let last = |channel: &str, n: u32| Some(past.before_last(channel, n as usize));
        let Some((follows, complete)) = self.follows(past, &last) else {
            return History::default();
        };
        let from = follows
            .iter()
            .map(|follow| follow.after)
            .min()
            .unwrap_or(self.upto);
        self.render(past.read_all(&follows, from, self.upto, self.most), complete)
    }

    /// Where each channel begins, and whether all can be had; `None` if `last` does not know.
    fn follows(
        &self,
        past: &Past,
        last: &dyn Fn(&str, u32) -> Option<u64>,
    ) -> Option<(Vec<Follow<'_>>, bool)> {
        let (mut follows, mut complete) = (Vec::with_capacity(self.channels.len()), true);
        for channel in &self.channels {
            let after = match plan(past, channel, self.from) {
                Plan::Replay { after } => after,
                Plan::Younger { after } => {
                    complete = false;
                    after
                }
                Plan::Last { n } => last(channel, n)?,
                Plan::Live | Plan::Gap { .. } => {
                    complete = false;
                    continue;
                }
            };
            follows.push(Follow { channel, after });
        }
        Some((follows, complete))
    }

    fn render(&self, merged: Option<Merged>, complete: bool) -> History {
        let complete = complete && merged.as_ref().is_some_and(|merged| merged.complete);
        let mut history = History {
            json: Vec::new(),
            complete,
        };
        for entry in merged.map(|merged| merged.entries).unwrap_or_default() {
            history.complete &= !entry.is_gap();
            if entry.is_gap() {
                continue;
            }
            if !history.json.is_empty() {
                history.json.push(b',');
            }
            let mut channels = entry.channels().iter();
            let channel = channels.find(|named| self.channels.contains(named));
            let channel = channel.map_or("", |channel| room::split(channel).1);
            (self.write)(&entry, channel, &mut history.json);
        }
        history
    }
}
