//! The subscriptions of one connection, and which of them takes a message.
//!
//! Redis sends a message once for each subscription that it matches. It is taken once by each kind of intake: through an exact
//! channel if there is one, otherwise through the pattern that was declared first. Names decide; payloads are not compared,
//! because two equal messages are two messages.

use std::mem::discriminant;
use std::sync::Arc;

use hashbrown::HashMap;
use smallvec::SmallVec;

use super::super::emitter;
use super::glob::Glob;

/// What is subscribed to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Topic {
    Channel(String),
    Pattern(String),
}

/// Who takes the messages of a subscription. To add one is a variant here and an arm in `pubsub`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Intake {
    /// A source of this name: each message becomes an event.
    Source(Arc<str>),
    /// Emitters of Socket.IO: each message says itself which rooms it is for.
    Emitters,
}

impl Intake {
    /// Whether both are of one kind, so that a message is taken by one of them.
    fn rivals(&self, other: &Self) -> bool {
        discriminant(self) == discriminant(other)
    }
}

/// One entry of the set.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Subscription {
    pub topic: Topic,
    pub intake: Intake,
}

/// All subscriptions of a connection.
#[derive(Debug, Default)]
pub(super) struct Set {
    channels: HashMap<String, SmallVec<[Intake; 1]>>,
    /// In the order of declaration.
    patterns: Vec<(String, Glob, Intake)>,
}

impl Set {
    pub(super) fn new(subscriptions: Vec<Subscription>) -> Self {
        let mut set = Self::default();
        for Subscription { topic, intake } in subscriptions {
            match topic {
                Topic::Channel(channel) => set.channels.entry(channel).or_default().push(intake),
                Topic::Pattern(pattern) => {
                    let glob = Glob::new(pattern.as_bytes());
                    set.patterns.push((pattern, glob, intake));
                }
            }
        }
        set
    }

    pub(super) fn is_empty(&self) -> bool {
        self.channels.is_empty() && self.patterns.is_empty()
    }

    pub(super) fn channels(&self) -> Vec<&str> {
        self.channels.keys().map(String::as_str).collect()
    }

    pub(super) fn patterns(&self) -> Vec<&str> {
        self.patterns
            .iter()
            .map(|(pattern, ..)| pattern.as_str())
            .collect()
    }

    /// Names of all sources that are fed: what a loss is told for.
    pub(super) fn sources(&self) -> Vec<Arc<str>> {
        let exact = self.channels.values().flatten();
        let all = exact.chain(self.patterns.iter().map(|(.., intake)| intake));
        let names = all.map(|intake| match intake {
            Intake::Source(name) => Arc::clone(name),
            Intake::Emitters => Arc::from(emitter::SOURCE),
        });
        let mut names: Vec<_> = names.collect();
        names.sort_unstable();
        names.dedup();
        names
    }

    /// Whether a message may be for any channel, so that a loss is told to all.
    pub(super) fn may_reach_all(&self) -> bool {
        let exact = self.channels.values().flatten();
        let mut all = exact.chain(self.patterns.iter().map(|(.., intake)| intake));
        all.any(|intake| *intake == Intake::Emitters)
    }

    /// Who takes a message that came on `channel`, through `pattern` or through the channel itself.
    pub(super) fn takers(&self, pattern: Option<&[u8]>, channel: &[u8]) -> SmallVec<[&Intake; 1]> {
        let exact = std::str::from_utf8(channel)
            .ok()
            .and_then(|channel| self.channels.get(channel))
            .map_or(&[][..], SmallVec::as_slice);
        let Some(pattern) = pattern else {
            return exact.iter().collect();
        };
        let through = self.patterns.iter().enumerate();
        let through = through.filter(|(_, (own, ..))| own.as_bytes() == pattern);
        let free = through.filter(|(index, (.., intake))| {
            let earlier = self.patterns.iter().take(*index);
            let mut earlier = earlier.filter(|(_, glob, _)| glob.matches(channel));
            !exact.iter().any(|other| other.rivals(intake))
                && !earlier.any(|(.., other)| other.rivals(intake))
        });
        free.map(|(_, (.., intake))| intake).collect()
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    fn set(channels: &[&str], patterns: &[&str]) -> Set {
        let source = |text: &str| Intake::Source(Arc::from(text));
        let channels = channels.iter().map(|text| Subscription {
            topic: Topic::Channel((*text).to_owned()),
            intake: source(text),
        });
        let patterns = patterns.iter().map(|text| Subscription {
            topic: Topic::Pattern((*text).to_owned()),
            intake: source(text),
        });
        Set::new(channels.chain(patterns).collect())
    }

    /// What all copies that Redis would send of one message come to.
    fn taken(set: &Set, channel: &str) -> Vec<String> {
        let mut copies: Vec<Option<&str>> = Vec::new();
        if set.channels.contains_key(channel) {
            copies.push(None);
        }
        for (pattern, glob, _) in &set.patterns {
            if glob.matches(channel.as_bytes()) {
                copies.push(Some(pattern));
            }
        }
        let takers = copies
            .iter()
            .flat_map(|copy| set.takers(copy.map(str::as_bytes), channel.as_bytes()));
        takers
            .map(|intake| match intake {
                Intake::Source(name) => name.to_string(),
                Intake::Emitters => "emitters".into(),
            })
            .collect()
    }

    #[test]
    fn an_exact_channel_comes_before_patterns_and_the_first_pattern_before_the_others() {
        let set = set(&["events"], &["ws:room:*", "ws:*", "*"]);
        assert_eq!(taken(&set, "events"), ["events"]);
        assert_eq!(taken(&set, "ws:room:a"), ["ws:room:*"]);
        assert_eq!(taken(&set, "ws:other"), ["ws:*"]);
        assert_eq!(taken(&set, "else"), ["*"]);
    }

    #[test]
    fn every_message_is_taken_once_whatever_overlaps() {
        let set = set(&["a", "ab"], &["a*", "?b", "[a-c]*", "*"]);
        for channel in ["a", "ab", "b", "cb", "zz", "abc", ""] {
            assert_eq!(taken(&set, channel).len(), 1, "{channel}");
        }
    }

    #[test]
    fn a_channel_that_is_no_text_still_comes_through_its_pattern() {
        let set = set(&["a"], &["x*", "*"]);
        assert_eq!(set.takers(Some(b"*"), b"\xff\xfe").len(), 1);
        assert_eq!(set.takers(Some(b"*"), b"x\xfe").len(), 0);
    }
}
