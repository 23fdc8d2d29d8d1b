//! What a client publishes in one portion is appended as one batch: one write of the log, one round of the shards, one answer.
//!
//! Publishes are gathered while the messages of a portion are taken, and asked for at its end. Any other command takes effect behind
//! them, so that it ends the gathering and waits with everything that is behind it. While a batch is under way the connection waits, and
//! what comes in meanwhile is the next batch.

use bytes::BytesMut;

use super::Key;
use super::shard::Shard;
use crate::session::command::{Ask, Asked, Publishing, Question, Replies, Reply, Then};

/// What a connection has published in this portion.
#[derive(Default)]
pub(crate) struct Gathered {
    list: Vec<Publishing>,
    replies: Replies,
}

impl Shard {
    /// Takes one more publish.
    pub(super) fn gather(&mut self, key: Key, asked: Asked, publishing: Publishing) {
        if let Some(conn) = self.conn(key) {
            let gathered = conn.gathered.get_or_insert_default();
            gathered.list.push(publishing);
            gathered.replies.push((asked, None));
        }
    }

    /// Whether the connection has published something that is not asked for yet.
    pub(super) fn has_gathered(&self, key: Key) -> bool {
        self.conns.get(key).is_some_and(|conn| conn.gathered.is_some())
    }

    /// Has what was gathered appended.
    pub(super) fn publish_gathered(&mut self, key: Key) {
        let by = self.shared.rights.load_full();
        let Some(gathered) = self.conn(key).and_then(|conn| conn.gathered.take()) else {
            return;
        };
        let Gathered { list, replies } = *gathered;
        let (question, then) = (Question::Publish(list), Then::Confirm(replies));
        self.ask(key, Ask { question, then, by });
    }

    /// The connection is gone before its portion was over: what it published before counts.
    pub(super) fn publish_of_gone(&self, gathered: Gathered) {
        self.shared.desk.ask(Question::Publish(gathered.list), drop);
    }

    /// A reply that stands behind publishes waits for theirs.
    pub(super) fn gather_reply(&mut self, key: Key, asked: Asked, reply: Reply) {
        let gathered = self.conn(key).and_then(|conn| conn.gathered.as_mut());
        match gathered {
            Some(gathered) => gathered.replies.push((asked, Some(reply))),
            None => self.reply(key, asked, &reply),
        }
    }

    /// Answers commands in their order, with one write where the protocol has words for them.
    pub(super) fn replies(&mut self, key: Key, replies: &[(Asked, Reply)]) {
        let mut joined = BytesMut::new();
        for (asked, reply) in replies {
            let Some(variant) = self.conns.get(key).map(|conn| conn.variant) else {
                return;
            };
            if let Reply::Refused { .. } = reply {
                self.send(key, joined.split().freeze());
                self.reply(key, *asked, reply);
            } else {
                joined.extend_from_slice(&self.encoder.reply(variant, *asked, reply));
            }
        }
        self.send(key, joined.freeze());
    }
}
