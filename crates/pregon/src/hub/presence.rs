//! Who is in which channel, on all shards of this node. Only channels whose section sets `presence` are known here.
//!
//! A client that follows a channel with several sessions is one member: it joins with the first and leaves with the last.

use std::collections::BTreeMap;
use std::ops::Bound;
use std::sync::Arc;
use std::time::SystemTime;

use hashbrown::HashMap;
use parking_lot::Mutex;

use crate::log::{Body, Volatile};
use crate::session::members::Page;

/// Members of one answer, and bytes of their names beside one that is larger: nobody shall make us write out a whole town at once.
const MEMBERS: usize = 1_000;
const BYTES: usize = 64 * 1024;

/// Members and how many sessions each has in a channel, in the order in which they are told.
type Members = BTreeMap<Arc<str>, u32>;

/// See the module.
pub(crate) struct Presence {
    channels: Mutex<HashMap<Arc<str>, Members, foldhash::fast::RandomState>>,
    volatile: Arc<Volatile>,
}

impl Presence {
    /// Joins and leaves are told through `volatile`.
    pub(crate) fn new(volatile: Arc<Volatile>) -> Self {
        Self {
            channels: Mutex::default(),
            volatile,
        }
    }

    /// A session of `client` follows the channel.
    pub(crate) fn join(&self, channel: &Arc<str>, client: &Arc<str>) {
        let first = {
            let mut channels = self.channels.lock();
            let members = channels.entry(Arc::clone(channel)).or_default();
            let sessions = members.entry(Arc::clone(client)).or_insert(0);
            *sessions += 1;
            *sessions == 1
        };
        if first {
            self.tell(channel, client, true);
        }
    }

    /// A session of `client` no longer follows the channel.
    pub(crate) fn leave(&self, channel: &Arc<str>, client: &Arc<str>) {
        let last = {
            let mut channels = self.channels.lock();
            let Some(members) = channels.get_mut(channel) else {
                return;
            };
            let Some(sessions) = members.get_mut(client) else {
                return;
            };
            *sessions -= 1;
            let last = *sessions == 0;
            if last {
                members.remove(client);
            }
            if members.is_empty() {
                channels.remove(channel);
            }
            last
        };
        if last {
            self.tell(channel, client, false);
        }
    }

    /// Whether nobody is a member of anything: then there is nothing to leave.
    pub(crate) fn is_empty(&self) -> bool {
        self.channels.lock().is_empty()
    }

    /// The members of a channel behind this one, or the first ones, as many as an answer holds.
    pub(crate) fn members(&self, channel: &str, since: Option<&str>) -> Page {
        let from = since.map_or(Bound::Unbounded, Bound::Excluded);
        let mut page = Page {
            clients: Vec::new(),
            more: false,
        };
        let channels = self.channels.lock();
        let Some(members) = channels.get(channel) else {
            return page;
        };
        let mut bytes = 0;
        for client in members
            .range::<str, _>((from, Bound::Unbounded))
            .map(|(client, _)| client)
        {
            bytes += client.len();
            if page.clients.len() == MEMBERS || (bytes > BYTES && !page.clients.is_empty()) {
                page.more = true;
                break;
            }
            page.clients.push(Arc::clone(client));
        }
        page
    }

    fn tell(&self, channel: &Arc<str>, client: &Arc<str>, joined: bool) {
        let body = Body::Member {
            channel: Arc::clone(channel),
            client: Arc::clone(client),
            joined,
        };
        self.volatile.push(body, SystemTime::now());
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_client_is_one_member_whatever_number_of_sessions_it_has() {
        let volatile = Arc::new(Volatile::default());
        let presence = Presence::new(Arc::clone(&volatile));
        let (channel, ana, luis): (Arc<str>, Arc<str>, Arc<str>) = ("c".into(), "ana".into(), "luis".into());
        presence.join(&channel, &ana);
        presence.join(&channel, &ana);
        presence.join(&channel, &luis);
        presence.leave(&channel, &ana);
        assert_eq!(presence.members("c", None).clients, [Arc::clone(&ana), luis]);
        presence.leave(&channel, &ana);
        presence.leave(&channel, &ana);
        assert_eq!(volatile.count(), 3, "two joins and a leave are told");
        assert!(presence.members("d", None).clients.is_empty());
    }

    #[test]
    fn members_come_in_pages_of_a_bounded_size() {
        let presence = Presence::new(Arc::default());
        let (many, long): (Arc<str>, Arc<str>) = ("many".into(), "long".into());
        for n in 0..2 * MEMBERS + 1 {
            presence.join(&many, &format!("{n:05}").into());
        }
        for n in 0..9 {
            presence.join(&long, &format!("{n}{}", "x".repeat(BYTES / 3)).into());
        }
        presence.join(&long, &format!("9{}", "x".repeat(2 * BYTES)).into());
        let pages = |channel: &str| {
            let (mut sizes, mut seen) = (Vec::new(), Vec::new());
            let mut since: Option<Arc<str>> = None;
            loop {
                let page = presence.members(channel, since.as_deref());
                sizes.push(page.clients.len());
                since = page.next().map(Arc::from);
                seen.extend(page.clients);
                if since.is_none() {
                    assert!(seen.is_sorted_by(|one, other| one < other));
                    return sizes;
                }
            }
        };
        assert_eq!(pages("many"), [MEMBERS, MEMBERS, 1]);
        assert_eq!(pages("long"), [2, 2, 2, 2, 1, 1]);
    }
}
