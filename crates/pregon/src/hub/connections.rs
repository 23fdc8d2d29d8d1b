//! The connections of a shard. A key is looked up here and nowhere else: it finds nobody once its place has another tenant.

use slab::Slab;

use super::conn::Conn;

/// A connection of a shard: its place, and a number that tells the place's tenants apart.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) struct Key {
    pub index: u32,
    pub generation: u32,
}

/// See the module. Places are used again, so that a place fits into an event of the poll and a list of followers.
#[derive(Default)]
pub(super) struct Connections {
    places: Slab<Conn>,
    generation: u32,
}

impl Connections {
    pub(super) fn get(&self, key: Key) -> Option<&Conn> {
        self.places.get(key.index as usize).filter(|conn| conn.key == key)
    }

    pub(super) fn get_mut(&mut self, key: Key) -> Option<&mut Conn> {
        self.places
            .get_mut(key.index as usize)
            .filter(|conn| conn.key == key)
    }

    /// The key of the connection that is inserted next.
    pub(super) fn next_key(&mut self) -> Key {
        self.generation = self.generation.wrapping_add(1);
        Key {
            index: self.places.vacant_key() as u32,
            generation: self.generation,
        }
    }

    /// Gives a connection the place of its key, which is the one that [`Self::next_key`] gave last.
    pub(super) fn insert(&mut self, conn: Conn) {
        let key = conn.key;
        let place = self.places.insert(conn);
        debug_assert_eq!((place, self.generation), (key.index as usize, key.generation));
    }

    /// Takes a connection out. The memory of a peak is given back when the last one goes.
    pub(super) fn remove(&mut self, key: Key) -> Option<Conn> {
        self.get(key)?;
        let conn = self.places.try_remove(key.index as usize);
        if self.places.is_empty() {
            self.places.shrink_to_fit();
        }
        conn
    }

    /// Whose socket has this token.
    pub(super) fn of_token(&self, token: mio::Token) -> Option<Key> {
        self.places.get(token.0).map(|conn| conn.key)
    }

    /// Whoever stands in a list of followers. It leaves its lists before it is removed, so that its place says who it is.
    pub(super) fn follower(&self, place: u32) -> Option<&Conn> {
        self.places.get(place as usize)
    }

    /// As [`Self::follower`].
    pub(super) fn follower_mut(&mut self, place: u32) -> Option<&mut Conn> {
        self.places.get_mut(place as usize)
    }

    /// The connections at these places.
    pub(super) fn page(&self, places: std::ops::Range<usize>) -> impl Iterator<Item = &Conn> {
        places.filter_map(|place| self.places.get(place))
    }

    /// Places that there are, empty ones included.
    pub(super) fn places(&self) -> usize {
        self.places.capacity()
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = &Conn> {
        self.places.iter().map(|(_, conn)| conn)
    }

    pub(super) fn iter_mut(&mut self) -> impl Iterator<Item = &mut Conn> {
        self.places.iter_mut().map(|(_, conn)| conn)
    }

    pub(super) fn len(&self) -> usize {
        self.places.len()
    }

    pub(super) fn is_empty(&self) -> bool {
        self.places.is_empty()
    }
}
