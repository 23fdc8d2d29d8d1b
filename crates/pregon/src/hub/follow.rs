//! Subscriptions: how a session begins and ends to follow a channel, and what it gets of the past.

use std::sync::Arc;

use pregon_wire::{codes, words::GapReason};

use super::Key;
use super::codec::OwnGap;
use super::conn::Backlog;
use super::shard::Shard;
use super::subscriptions::Begun;
use crate::log::Position;
use crate::log::window::Most;
use crate::session::channels::Subscription;
use crate::session::command::{Ask, Asked, Question, Reply, Then, Wish};
use crate::session::history::{Request, WriteEntry};
use crate::session::recovery::Kept;
use crate::session::replay::{Plan, Replay, StartAt, plan_by};

/// Bytes of the past that travel with one reply; more than a client may be behind would only be cut.
pub(super) const HISTORY: usize = 1 << 20;

impl Shard {
    /// A subscribe: several channels where its name stands for several.
    pub(super) fn join(&mut self, key: Key, asked: Asked, wish: &Wish) {
        let Wish {
            channels,
            from,
            alias,
            ..
        } = wish;
        let channels = channels.as_slice();
        // Up to the log's head, so that no position that a client can name is still to come.
        self.fan_out();
        let Some(now) = self.now_of(key) else { return };
        let starts: Vec<StartAt> = channels
            .iter()
            .map(|channel| self.resumed(key, channel, *from))
            .collect();
        let is_since = |from: &StartAt| matches!(from, StartAt::Since(_));
        let from = starts.iter().copied().find(is_since).unwrap_or(*from);
        let past = self.conn(key).and_then(|conn| conn.variant.codec.writes_past());
        if from != StartAt::Now
            && let Some(write) = past
        {
            return self.join_with_history(key, asked, wish, now, write);
        }
        let rights = self.shared.rights.load_full();
        let plans = channels
            .iter()
            .zip(&starts)
            .map(|(channel, from)| plan_by(&rights, &self.shared.past, channel, *from));
        let (mut start, mut replayed, mut complete) = (now, true, !channels.is_empty());
        for plan in plans {
            match plan {
                Plan::Replay { after } => start = start.min(after),
                Plan::Younger { after } => (start, complete) = (start.min(after), false),
                Plan::Last { .. } => {}
                Plan::Live | Plan::Gap { .. } => (replayed, complete) = (false, false),
            }
        }
        let start = if replayed { start } else { now };
        let reply = Reply::Subscribed {
            position: self.shared.window.position(start),
            recovered: complete && matches!(from, StartAt::Since(_)),
            history: None,
            stands_for: alias.then(|| channels.to_vec()),
        };
        self.reply(key, asked, &reply);
        for (channel, from) in channels.iter().zip(starts) {
            self.follow(key, asked.namespace, channel, from);
        }
        self.keep_returning(key);
    }

    /// The protocol has no word for a replayed event: the past travels in the reply, and events are what is new.
    fn join_with_history(&mut self, key: Key, asked: Asked, wish: &Wish, now: u64, write: WriteEntry) {
        let (channels, from) = (wish.channels.as_slice(), wish.from);
        for channel in channels {
            self.follow(key, asked.namespace, channel, StartAt::Now);
        }
        let rights = self.shared.rights.load_full();
        let given = channels.iter().filter(|channel| rights.history(channel));
        let request = Request {
            channels: given.cloned().collect(),
            from,
            upto: now,
            most: Most {
                entries: self.shared.limits.history,
                bytes: HISTORY,
            },
            write,
        };
        let position = self.shared.window.position(now);
        let since = matches!(from, StartAt::Since(_)) && request.channels.len() == channels.len();
        let Some(history) = request.here(&self.shared.past) else {
            let then = Then::Subscribed {
                asked,
                wish: wish.clone(),
                position,
                since,
            };
            let (question, by) = (Question::History(request), rights);
            return self.ask(key, Ask { question, then, by });
        };
        let reply = Reply::Subscribed {
            position,
            recovered: history.complete && since,
            history: Some(history.json),
            stands_for: None,
        };
        self.reply(key, asked, &reply);
    }

    /// Subscribes and begins the replay, if one is asked for.
    pub(super) fn follow(&mut self, key: Key, namespace: u8, channel: &Arc<str>, from: StartAt) {
        let Some(now) = self.now_of(key) else { return };
        let Some(upto) = self.subscribe(key, namespace, channel, now) else {
            return;
        };
        let plan = plan_by(&self.shared.rights.load(), &self.shared.past, channel, from);
        match plan {
            Plan::Live => {}
            Plan::Replay { after } => self.replay(key, vec![(Arc::clone(channel), after)], upto, Vec::new()),
            Plan::Younger { after } => {
                let gap = self.gap(key, channel, None, after, GapReason::Restart);
                self.send(key, gap.into());
                self.replay(key, vec![(Arc::clone(channel), after)], upto, Vec::new());
            }
            Plan::Last { n } => self.replay_last(key, std::slice::from_ref(channel), n, upto, Vec::new()),
            Plan::Gap { from, reason } => {
                let gap = self.gap(key, channel, from, now, reason);
                self.send(key, gap.into());
            }
        }
    }

    /// Makes the subscription; returns the offset up to which a replay may go: the join, or what an earlier subscription
    /// to the channel already covers. `None` if the session is gone: nobody may follow in its place.
    pub(super) fn subscribe(&mut self, key: Key, namespace: u8, channel: &Arc<str>, now: u64) -> Option<u64> {
        let conn = self.conns.get_mut(key)?;
        if let Begun::Known { after } = self.subscriptions.begin(conn, namespace, channel, now)? {
            return Some(after);
        }
        if self.shared.rights.load().presence(channel) {
            let session = conn.session(namespace)?;
            self.shared.presence.join(channel, &session.member());
        }
        self.keep(key, namespace);
        Some(now)
    }

    /// Puts a replay of channels, each after its own offset, before what is live; `then` is said when it is complete.
    pub(super) fn replay(&mut self, key: Key, channels: Vec<(Arc<str>, u64)>, upto: u64, then: Vec<u8>) {
        let Some(now) = self.now_of(key) else { return };
        let Some(conn) = self.conns.get_mut(key) else {
            return;
        };
        let mut known = Vec::new();
        for subscription in conn.subscriptions_mut() {
            let name = self.subscriptions.channels.name(subscription.channel);
            match channels.iter().find(|(channel, _)| *channel == name) {
                // The client had everything up to `after`: from there on the session has this channel.
                Some((_, after)) if *after >= upto => subscription.after = subscription.after.max(*after),
                Some((_, after)) => subscription.after = subscription.after.min(*after),
                None => known.push((name, subscription.after)),
            }
        }
        let cursor = channels.iter().map(|(_, after)| *after).min().unwrap_or(upto);
        if cursor >= upto {
            return self.send(key, then.into());
        }
        let backlog = conn.backlog.get_or_insert_with(|| Backlog::new(now));
        backlog.replays.push_back(Replay {
            channels,
            known,
            last: None,
            fetching: false,
            cursor,
            upto,
            then,
        });
        self.ready.push_back(key);
    }

    /// As [`Shard::replay`], with the newest entries of each channel, which are far back.
    pub(super) fn replay_last(&mut self, key: Key, channels: &[Arc<str>], n: u32, upto: u64, then: Vec<u8>) {
        let Some(now) = self.now_of(key) else { return };
        let Some(conn) = self.conns.get_mut(key) else {
            return;
        };
        let followed = self.subscriptions.followed(conn.subscriptions());
        let known = followed.filter(|(name, _)| !channels.contains(name)).collect();
        let backlog = conn.backlog.get_or_insert_with(|| Backlog::new(now));
        backlog.replays.push_back(Replay {
            channels: channels
                .iter()
                .map(|channel| (Arc::clone(channel), upto))
                .collect(),
            known,
            last: Some(n),
            fetching: false,
            cursor: upto,
            upto,
            then,
        });
        self.ready.push_back(key);
    }

    /// Channels of a replay have turned out to begin there: from there on the session has them.
    pub(super) fn located(&mut self, key: Key, begins: Vec<(Arc<str>, u64)>) {
        let Some(conn) = self.conns.get_mut(key) else {
            return;
        };
        for subscription in conn.subscriptions_mut() {
            let name = self.subscriptions.channels.name(subscription.channel);
            if let Some((_, after)) = begins.iter().find(|(channel, _)| *channel == name) {
                subscription.after = subscription.after.min(*after);
            }
        }
    }

    /// The words for what a session could not be given; counted.
    pub(super) fn gap(
        &mut self,
        key: Key,
        channel: &str,
        from: Option<Position>,
        to: u64,
        reason: GapReason,
    ) -> Vec<u8> {
        self.shared.metrics.gaps.inc();
        let mut out = Vec::new();
        if let Some(conn) = self.conns.get(key) {
            let gap = OwnGap {
                channel,
                from,
                to: self.shared.window.position(to),
                reason,
            };
            self.encoder.gap(conn.variant, &gap, &mut out);
        }
        out
    }

    /// An unsubscribe; done if one of the channels was followed.
    pub(super) fn leave(&mut self, key: Key, asked: Asked, channels: &[Arc<str>]) {
        let mut left = false;
        for channel in channels {
            left |= self.unsubscribe(key, channel);
        }
        let reply = if left {
            Reply::Done
        } else {
            Reply::refused(
                &codes::NOT_SUBSCRIBED,
                "this session does not follow that channel",
            )
        };
        self.reply(key, asked, &reply);
    }

    /// The offset that a session has everything up to: the shard's head, or its own cursor while it is behind.
    pub(super) fn now_of(&mut self, key: Key) -> Option<u64> {
        let head = self.fanout.head;
        self.conn(key)
            .map(|conn| conn.backlog.as_ref().map_or(head, |backlog| backlog.cursor))
    }

    /// Takes a session out of a channel; `false` if it did not follow it.
    pub(super) fn unsubscribe(&mut self, key: Key, channel: &str) -> bool {
        let Some(ended) = self.subscriptions.end(&mut self.conns, key, channel) else {
            return false;
        };
        self.shared.presence.leave(&ended.channel, &ended.member);
        self.keep(key, ended.namespace);
        self.keep_returning(key);
        true
    }

    /// The sessions of a connection follow nothing any more.
    pub(super) fn unfollow(&mut self, key: Key) {
        let Some(conn) = self.conn(key) else { return };
        let namespaces: Vec<u8> = conn.sessions.iter().map(|session| session.namespace).collect();
        for namespace in namespaces {
            self.unfollow_namespace(key, namespace);
        }
    }

    /// The session of a namespace follows nothing any more.
    pub(super) fn unfollow_namespace(&mut self, key: Key, namespace: u8) {
        self.quit_presence(key, namespace);
        self.subscriptions.end_all(&mut self.conns, key, namespace);
    }

    /// The client is no longer a member of the channels that it follows.
    pub(super) fn quit_presence(&mut self, key: Key, namespace: u8) {
        if self.shared.presence.is_empty() {
            return;
        }
        for (channel, member) in self.memberships(key, namespace) {
            self.shared.presence.leave(&channel, &member);
        }
    }

    /// The client is a member of the channels that it follows.
    pub(super) fn enter_presence(&mut self, key: Key, namespace: u8) {
        let rights = self.shared.rights.load_full();
        for (channel, member) in self.memberships(key, namespace) {
            if rights.presence(&channel) {
                self.shared.presence.join(&channel, &member);
            }
        }
    }

    fn memberships(&mut self, key: Key, namespace: u8) -> Vec<(Arc<str>, Arc<str>)> {
        let conn = self.conns.get(key);
        let Some(session) = conn.and_then(|conn| conn.session(namespace)) else {
            return Vec::new();
        };
        if session.subscriptions.is_empty() {
            return Vec::new();
        }
        let member = session.member();
        let name = |subscription: &Subscription| {
            (
                self.subscriptions.channels.name(subscription.channel),
                Arc::clone(&member),
            )
        };
        session.subscriptions.iter().map(name).collect()
    }

    /// Keeps the session as it is, so that its client may have it back.
    pub(super) fn keep(&mut self, key: Key, namespace: u8) {
        let conn = self.conns.get(key);
        let Some(session) = conn.and_then(|conn| conn.session(namespace)) else {
            return;
        };
        let Some(named) = &session.named else { return };
        let Some(pid) = &named.pid else { return };
        let channels = session
            .subscriptions
            .iter()
            .map(|s| self.subscriptions.channels.name(s.channel));
        let kept = Kept {
            sid: Arc::clone(&named.sid),
            namespace,
            channels: channels.collect(),
            follows: None,
        };
        self.shared.kept.keep(pid, kept, self.owner(key));
    }
}
