//! Who is in which channel, on all shards of this node. Only channels whose section sets `presence` are known here.
//!
//! A client that follows a channel with several sessions is one member: it joins with the first and leaves with the last.

use std::sync::Arc;
use std::time::SystemTime;

use hashbrown::HashMap;
use parking_lot::Mutex;

use crate::log::{Body, Volatile};

/// Members and how many sessions each has in a channel.
type Members = HashMap<Arc<str>, u32, foldhash::fast::RandomState>;

/// See the module.
pub struct Presence {
    channels: Mutex<HashMap<Arc<str>, Members, foldhash::fast::RandomState>>,
    volatile: Arc<Volatile>,
}

impl Presence {
    /// Joins and leaves are told through `volatile`.
    pub fn new(volatile: Arc<Volatile>) -> Self {
        Self {
            channels: Mutex::default(),
            volatile,
        }
    }

    /// A session of `client` follows the channel.
    pub fn join(&self, channel: &Arc<str>, client: &Arc<str>) {
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
    pub fn leave(&self, channel: &Arc<str>, client: &Arc<str>) {
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
    pub fn is_empty(&self) -> bool {
        self.channels.lock().is_empty()
    }

    /// All members of a channel, sorted.
    pub fn members(&self, channel: &str) -> Vec<Arc<str>> {
        let channels = self.channels.lock();
        let mut members: Vec<Arc<str>> = channels
            .get(channel)
            .map(|members| members.keys().map(Arc::clone).collect())
            .unwrap_or_default();
        members.sort_unstable();
        members
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
        assert_eq!(presence.members("c"), [Arc::clone(&ana), luis]);
        presence.leave(&channel, &ana);
        presence.leave(&channel, &ana);
        assert_eq!(volatile.count(), 3, "two joins and a leave are told");
        assert!(presence.members("d").is_empty());
    }
}
