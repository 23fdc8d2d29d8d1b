//! Who follows which channel on one shard. A subscription stands in two lists: that of its session, and that of its channel. Both are
//! written here and nowhere else, so that they agree.

use std::sync::Arc;

use super::Key;
use super::conn::Conn;
use super::connections::Connections;
use super::rights::Doubts;
use crate::session::channels::{Channels, Subscription};

/// The subscriptions of a shard.
#[derive(Default)]
pub(super) struct Subscriptions {
    pub channels: Channels,
    /// Subscriptions whose right is being asked for again.
    pub doubts: Doubts,
}

/// How a subscription began.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Begun {
    New,
    /// The connection followed the channel already: it has every entry behind this offset.
    Known {
        after: u64,
    },
}

/// A subscription that has ended.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Ended {
    pub namespace: u8,
    pub channel: Arc<str>,
    /// The session as members of the channel know it.
    pub member: Arc<str>,
}

impl Subscriptions {
    /// The session of a namespace follows a channel, with the entries behind `now`; `None` if there is no such session.
    pub(super) fn begin(
        &mut self,
        conn: &mut Conn,
        namespace: u8,
        channel: &Arc<str>,
        now: u64,
    ) -> Option<Begun> {
        let known = self.channels.find(channel);
        if let Some(known) = known.and_then(|known| conn.subscription(known)) {
            self.doubts.forget(conn.key, namespace, known.channel);
            return Some(Begun::Known { after: known.after });
        }
        let place = conn.key.index;
        let session = conn.session_mut(namespace)?;
        let subscription = self.channels.join(channel, place, now);
        session.subscriptions.push(subscription);
        Some(Begun::New)
    }

    /// A connection follows a channel no longer; `None` if it did not.
    pub(super) fn end(&mut self, conns: &mut Connections, key: Key, channel: &str) -> Option<Ended> {
        let number = self.channels.find(channel)?;
        let name = self.channels.name(number);
        let conn = conns.get_mut(key)?;
        let follows = |s: &Subscription| s.channel == number;
        let session = conn
            .sessions
            .iter_mut()
            .find(|session| session.subscriptions.iter().any(follows))?;
        let place = session.subscriptions.iter().position(follows)?;
        let subscription = session.subscriptions.swap_remove(place);
        let (namespace, member) = (session.namespace, session.member());
        if let Some(backlog) = &mut conn.backlog {
            backlog.replays.iter_mut().for_each(|replay| replay.forget(&name));
        }
        self.leave(conns, key, namespace, subscription);
        Some(Ended {
            namespace,
            channel: name,
            member,
        })
    }

    /// The session of a namespace follows nothing any more.
    pub(super) fn end_all(&mut self, conns: &mut Connections, key: Key, namespace: u8) {
        let Some(session) = conns.get_mut(key).and_then(|conn| conn.session_mut(namespace)) else {
            return;
        };
        for subscription in std::mem::take(&mut session.subscriptions) {
            self.leave(conns, key, namespace, subscription);
        }
    }

    /// The name of each channel, and the offset behind which the subscription has its entries.
    pub(super) fn followed<'a>(
        &self,
        subscriptions: impl Iterator<Item = &'a Subscription>,
    ) -> impl Iterator<Item = (Arc<str>, u64)> {
        subscriptions.map(|subscription| (self.channels.name(subscription.channel), subscription.after))
    }

    /// Takes a connection out of the channel's list; whoever moved to its place there learns of it.
    fn leave(&mut self, conns: &mut Connections, key: Key, namespace: u8, subscription: Subscription) {
        self.doubts.forget(key, namespace, subscription.channel);
        let Some(moved) = self.channels.leave(subscription) else {
            return;
        };
        if let Some(other) = conns.follower_mut(moved)
            && let Some(theirs) = other
                .subscriptions_mut()
                .find(|s| s.channel == subscription.channel)
        {
            theirs.slot = subscription.slot;
        }
    }
}
