//! What back ends tell sockets of Socket.IO: to enter rooms, to leave them, to go.
//!
//! An order has a place in the log: what was appended before it is delivered first, and who enters a room by it gets what was
//! appended after it, however late a shard hears of it. A back end needs no right of the socket's; a fresh token or a reload asks
//! for the room as for any other, so that a socket stays where its claims would not let it only until then.

use std::collections::VecDeque;
use std::sync::{Arc, mpsc};

use pregon_wire::codes;
use pregon_wire::socketio::encode_disconnect;

use super::conn::Conn;
use super::fanout::follows_any;
use super::shard::Shard;
use super::{Hub, Key};
use crate::log::Entry;

/// See the module.
#[derive(Debug)]
pub(crate) struct Order {
    pub namespace: String,
    /// The channels whose followers are meant; all sockets of the namespace without it.
    pub rooms: Option<Vec<Arc<str>>>,
    /// The channels whose followers are not meant.
    pub except: Vec<Arc<str>>,
    pub action: Action,
}

/// What the sockets do.
#[derive(Debug)]
pub(crate) enum Action {
    Join(Vec<Arc<str>>),
    Leave(Vec<Arc<str>>),
    /// They leave the namespace, or with `close` the connection ends.
    Disconnect {
        close: bool,
    },
}

/// Tells an order to all nodes; it does not block.
pub(crate) type Tell = Box<dyn Fn(&Order) + Send + Sync>;

/// An order, and where the log was when it was given.
pub(super) struct Given {
    pub(super) order: Arc<Order>,
    pub(super) at: u64,
}

/// The orders that a shard has not carried out yet.
pub(super) struct Orders {
    given: mpsc::Receiver<Given>,
    next: VecDeque<Given>,
}

impl Orders {
    pub(super) fn new(given: mpsc::Receiver<Given>) -> Self {
        let next = VecDeque::new();
        Self { given, next }
    }

    /// Leaves the entries up to the next order; whether there is one. `head`: what was delivered already.
    pub(super) fn cut(&mut self, head: u64, entries: &mut Vec<Arc<Entry>>) -> bool {
        self.next.extend(self.given.try_iter());
        let Some(next) = self.next.front() else {
            return false;
        };
        let keep = entries.partition_point(|entry| entry.offset <= next.at.max(head));
        entries.truncate(keep);
        true
    }

    fn due(&mut self, head: u64) -> Option<Given> {
        self.next.front().filter(|given| given.at <= head)?;
        self.next.pop_front()
    }
}

impl Hub {
    /// From now on orders of back ends go to all nodes that share the log, this one included.
    pub(crate) fn share_orders(&self, tell: Tell) {
        // A node has one log, and its others are told by that.
        let _ = self.shared.others.set(tell);
    }

    /// Lets sockets do what a back end tells them, on all nodes that share the log. Before what is appended from now on.
    pub(crate) fn order(&self, order: Order) {
        match self.shared.others.get() {
            Some(tell) => tell(&order),
            None => self.carry_out(order),
        }
    }

    /// The same with the sockets of this node.
    pub(crate) fn carry_out(&self, order: Order) {
        let (order, at) = (Arc::new(order), self.shared.window.head());
        for shard in &self.shards {
            shard.order(Arc::clone(&order), at);
        }
    }
}

impl Shard {
    /// Carries out the orders that were given before anything behind the head.
    pub(super) fn carry_out_orders(&mut self) {
        while let Some(given) = self.orders.due(self.fanout.head) {
            self.order(&given.order, given.at);
        }
    }

    fn order(&mut self, order: &Order, at: u64) {
        let Some(namespace) = self.namespace_number(&order.namespace) else {
            return;
        };
        for key in self.addressed(namespace, order) {
            match &order.action {
                Action::Join(channels) => {
                    for channel in channels {
                        self.subscribe(key, namespace, channel, at);
                    }
                }
                Action::Leave(channels) => {
                    for channel in channels {
                        self.unsubscribe(key, channel);
                    }
                }
                Action::Disconnect { close: true } => self.close(key, &codes::CLOSE_DISCONNECTED, ""),
                Action::Disconnect { close: false } => self.expel(key, namespace),
            }
        }
    }

    fn addressed(&self, namespace: u8, order: &Order) -> Vec<Key> {
        let is_socket = |conn: &&Conn| {
            let session = conn.session(namespace);
            session.is_some_and(|session| session.named.is_some())
        };
        let is_excepted = |conn: &&Conn| follows_any(&self.subscriptions.channels, conn, &order.except);
        let Some(rooms) = &order.rooms else {
            return self
                .conns
                .iter()
                .filter(is_socket)
                .filter(|conn| !is_excepted(conn))
                .map(|conn| conn.key)
                .collect();
        };
        let channels = rooms
            .iter()
            .filter_map(|room| self.subscriptions.channels.find(room));
        let followers = channels.filter_map(|channel| self.subscriptions.channels.get(channel));
        let mut keys: Vec<Key> = followers
            .flat_map(|channel| &channel.followers)
            .filter_map(|&index| self.conns.follower(index))
            .filter(is_socket)
            .filter(|conn| !is_excepted(conn))
            .map(|conn| conn.key)
            .collect();
        keys.sort_unstable();
        keys.dedup();
        keys
    }

    /// The session of a namespace ends; its client is told, and does not come back by itself.
    fn expel(&mut self, key: Key, namespace: u8) {
        let mut out = Vec::new();
        encode_disconnect(self.encoder.namespace(namespace), &mut out);
        self.say(key, &out);
        self.exit(key, namespace);
    }
}
