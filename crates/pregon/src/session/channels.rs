//! Who follows which channel on one shard. Plain vectors without locks of their own: whoever has the shard has them.

use std::sync::Arc;

use hashbrown::HashMap;
use slab::Slab;

/// A channel's number on this shard.
pub(crate) type ChannelKey = u32;

/// A channel with its followers.
#[derive(Debug)]
pub(crate) struct Channel {
    pub name: Arc<str>,
    /// Slab keys of sessions.
    pub followers: Vec<u32>,
}

/// A session's place in a channel.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Subscription {
    pub channel: ChannelKey,
    /// Index in the channel's followers.
    pub slot: u32,
    /// Entries up to this offset are not part of the subscription (or were sent as replay).
    pub after: u64,
}

#[derive(Default)]
pub(crate) struct Channels {
    by_name: HashMap<Arc<str>, ChannelKey, foldhash::fast::RandomState>,
    slab: Slab<Channel>,
}

impl Channels {
    pub(crate) fn find(&self, name: &str) -> Option<ChannelKey> {
        self.by_name.get(name).copied()
    }

    pub(crate) fn get(&self, key: ChannelKey) -> Option<&Channel> {
        self.slab.get(key as usize)
    }

    /// Name of a channel; empty for a key that is gone, which does not happen while a subscription holds it.
    pub(crate) fn name(&self, key: ChannelKey) -> Arc<str> {
        self.get(key)
            .map_or_else(|| Arc::from(""), |channel| Arc::clone(&channel.name))
    }

    pub(crate) fn iter(&self) -> impl Iterator<Item = (ChannelKey, &Channel)> {
        self.slab.iter().map(|(key, channel)| (key as u32, channel))
    }

    /// The channels at these places, each with the number of its followers.
    pub(crate) fn page(&self, places: std::ops::Range<usize>) -> impl Iterator<Item = (Arc<str>, usize)> {
        let there = places.filter_map(|place| self.slab.get(place));
        there.map(|channel| (Arc::clone(&channel.name), channel.followers.len()))
    }

    /// Places that there are, empty ones included.
    pub(crate) fn places(&self) -> usize {
        self.slab.capacity()
    }

    /// Adds a follower; the channel is made if nobody followed it.
    pub(crate) fn join(&mut self, name: &str, session: u32, after: u64) -> Subscription {
        let key = self.find(name).unwrap_or_else(|| self.create(name));
        let slot = self.slab.get_mut(key as usize).map_or(0, |channel| {
            channel.followers.push(session);
            (channel.followers.len() - 1) as u32
        });
        Subscription {
            channel: key,
            slot,
            after,
        }
    }

    /// Removes a follower. Returns the session that now has `subscription.slot`, if another one moved there.
    pub(crate) fn leave(&mut self, subscription: Subscription) -> Option<u32> {
        let channel = self.slab.get_mut(subscription.channel as usize)?;
        let slot = subscription.slot as usize;
        if slot >= channel.followers.len() {
            return None;
        }
        channel.followers.swap_remove(slot);
        let moved = channel.followers.get(slot).copied();
        if channel.followers.is_empty() {
            let channel = self.slab.remove(subscription.channel as usize);
            self.by_name.remove(&channel.name);
        } else if channel.followers.capacity() > 64
            && channel.followers.capacity() > 4 * channel.followers.len()
        {
            channel.followers.shrink_to(2 * channel.followers.len());
        }
        moved
    }

    /// Takes a channel's followers out for a loop that neither joins nor leaves.
    pub(crate) fn take_followers(&mut self, key: ChannelKey) -> Vec<u32> {
        self.slab
            .get_mut(key as usize)
            .map(|channel| std::mem::take(&mut channel.followers))
            .unwrap_or_default()
    }

    /// Puts them back.
    pub(crate) fn give_back_followers(&mut self, key: ChannelKey, followers: Vec<u32>) {
        if let Some(channel) = self.slab.get_mut(key as usize) {
            channel.followers = followers;
        }
    }

    fn create(&mut self, name: &str) -> ChannelKey {
        let name: Arc<str> = Arc::from(name);
        let key = self.slab.insert(Channel {
            name: Arc::clone(&name),
            followers: Vec::new(),
        }) as u32;
        self.by_name.insert(name, key);
        key
    }
}
