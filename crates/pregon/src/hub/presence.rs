//! Who is in which channel, on all shards of this node and on the nodes that share its log. Only channels whose section sets `presence`
//! are known here.
//!
//! A client that follows a channel with several sessions is one member: it joins with the first and leaves with the last, on whatever
//! nodes they are. Every node tells the others of its own members; those of a node that is gone leave with it.

use std::collections::BTreeMap;
use std::ops::Bound;
use std::sync::Arc;
use std::time::SystemTime;

use hashbrown::HashMap;
use parking_lot::Mutex;

use crate::log::{Body, Told, Volatile};
use crate::session::members::Page;

/// Members of one answer, and bytes of their names beside one that is larger: nobody shall make us write out a whole town at once.
const MEMBERS: usize = 1_000;
const BYTES: usize = 64 * 1024;

/// Members of a channel, in the order in which they are told.
type Members = BTreeMap<Arc<str>, Member>;

/// Where a member is.
#[derive(Default)]
struct Member {
    /// Sessions here.
    sessions: u32,
    /// Other nodes on which it has some.
    nodes: Vec<Arc<str>>,
}

impl Member {
    fn is_gone(&self) -> bool {
        self.sessions == 0 && self.nodes.is_empty()
    }
}

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
        let (came, first) = self.change(channel, client, |member| {
            member.sessions += 1;
            member.sessions == 1
        });
        self.tell(channel, client, came, true);
        if first {
            self.tell_others(channel, client, true);
        }
    }

    /// A session of `client` no longer follows the channel.
    pub(crate) fn leave(&self, channel: &Arc<str>, client: &Arc<str>) {
        let (went, last) = self.change(channel, client, |member| {
            let was = member.sessions;
            member.sessions = was.saturating_sub(1);
            was == 1
        });
        self.tell(channel, client, went, false);
        if last {
            self.tell_others(channel, client, false);
        }
    }

    /// Another node has its first session of `client` in the channel, or none any more.
    pub(crate) fn elsewhere(&self, node: &Arc<str>, channel: &Arc<str>, client: &Arc<str>, joined: bool) {
        let (changed, _) = self.change(channel, client, |member| {
            member.nodes.retain(|known| known != node);
            if joined {
                member.nodes.push(Arc::clone(node));
            }
        });
        self.tell(channel, client, changed, joined);
    }

    /// Nodes that are not `there` are gone, and their members with them.
    pub(crate) fn keep_nodes(&self, there: impl Fn(&Arc<str>) -> bool) {
        let mut left = Vec::new();
        self.channels.lock().retain(|channel, members| {
            members.retain(|client, member| {
                member.nodes.retain(&there);
                if member.is_gone() {
                    left.push((Arc::clone(channel), Arc::clone(client)));
                }
                !member.is_gone()
            });
            !members.is_empty()
        });
        for (channel, client) in left {
            self.tell(&channel, &client, true, false);
        }
    }

    /// The members that have sessions here, each with its channel.
    pub(crate) fn here(&self) -> Vec<(Arc<str>, Arc<str>)> {
        let channels = self.channels.lock();
        let mut here = Vec::new();
        for (channel, members) in channels.iter() {
            let mine = members.iter().filter(|(_, member)| member.sessions > 0);
            here.extend(mine.map(|(client, _)| (Arc::clone(channel), Arc::clone(client))));
        }
        here
    }

    /// Changes where a member is: whether that made it one or ended it, and what the change says.
    fn change<T>(
        &self,
        channel: &Arc<str>,
        client: &Arc<str>,
        change: impl FnOnce(&mut Member) -> T,
    ) -> (bool, T) {
        let mut channels = self.channels.lock();
        let members = channels.entry(Arc::clone(channel)).or_default();
        let member = members.entry(Arc::clone(client)).or_default();
        let was_gone = member.is_gone();
        let said = change(member);
        let is_gone = member.is_gone();
        if is_gone {
            members.remove(client);
        }
        if members.is_empty() {
            channels.remove(channel);
        }
        (was_gone != is_gone, said)
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

    fn tell_others(&self, channel: &Arc<str>, client: &Arc<str>, joined: bool) {
        self.volatile.tell_others(Told::Member {
            channel,
            client,
            joined,
        });
    }

    /// Tells the followers on this node, if something has changed.
    fn tell(&self, channel: &Arc<str>, client: &Arc<str>, changed: bool, joined: bool) {
        if !changed {
            return;
        }
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
    fn a_client_on_several_nodes_is_one_member_until_it_has_left_the_last() {
        let volatile = Arc::new(Volatile::default());
        let presence = Presence::new(Arc::clone(&volatile));
        let (channel, ana): (Arc<str>, Arc<str>) = ("c".into(), "ana".into());
        let (one, two): (Arc<str>, Arc<str>) = ("one".into(), "two".into());
        let told = |count| assert_eq!(volatile.count(), count);
        presence.elsewhere(&one, &channel, &ana, true);
        told(1);
        // Moved, and heard of twice.
        presence.join(&channel, &ana);
        presence.elsewhere(&one, &channel, &ana, true);
        presence.elsewhere(&one, &channel, &ana, false);
        presence.elsewhere(&two, &channel, &ana, true);
        told(1);
        assert_eq!(presence.here(), [(Arc::clone(&channel), Arc::clone(&ana))]);
        presence.leave(&channel, &ana);
        told(1);
        assert_eq!(presence.members("c", None).clients, [Arc::clone(&ana)]);
        presence.keep_nodes(|node| *node != two);
        told(2);
        assert!(presence.is_empty());
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
