//! How many connections there may be: in total and from one address. A place is held as long as anyone holds its permit.

use std::net::IpAddr;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, OnceLock};

use hashbrown::HashMap;
use parking_lot::Mutex;

/// Counts connections. An IPv6 network of 64 bits counts as one address, because one client has as many as it likes.
#[derive(Debug)]
pub struct Connections {
    total: AtomicUsize,
    most: usize,
    per_address: usize,
    addresses: Mutex<HashMap<IpAddr, usize, foldhash::fast::RandomState>>,
}

/// One connection's place, given back when the last clone is dropped: an HTTP connection keeps its place while a stream on it
/// holds it too.
#[derive(Debug, Clone)]
pub struct Permit(Arc<Place>);

#[derive(Debug)]
struct Place {
    connections: Arc<Connections>,
    /// Set once it is counted.
    address: OnceLock<IpAddr>,
}

impl Connections {
    /// `per_address` of zero means no limit per address.
    pub fn new(most: usize, per_address: usize) -> Arc<Self> {
        Arc::new(Self {
            total: AtomicUsize::new(0),
            most,
            per_address,
            addresses: Mutex::default(),
        })
    }

    /// Connections now.
    pub fn total(&self) -> usize {
        self.total.load(Ordering::Relaxed)
    }

    /// A place in the total, or `None` if there is none left. Whose it is may be told later.
    pub fn admit(self: &Arc<Self>) -> Option<Permit> {
        if self.total.fetch_add(1, Ordering::AcqRel) >= self.most {
            self.total.fetch_sub(1, Ordering::AcqRel);
            return None;
        }
        Some(Permit(Arc::new(Place {
            connections: Arc::clone(self),
            address: OnceLock::new(),
        })))
    }
}

impl Permit {
    /// One more place for the same client, or `None` if there is none left.
    pub fn again(&self) -> Option<Self> {
        let another = self.0.connections.admit()?;
        let counted = self.0.address.get().is_none_or(|address| another.is_of(*address));
        counted.then_some(another)
    }

    /// Whose place it is, as far as that is known: an address, or a network of IPv6.
    pub fn address(&self) -> Option<IpAddr> {
        self.0.address.get().copied()
    }

    /// Counts the connection for `address`; false if that has too many. Told twice, the first one stays.
    #[must_use]
    pub fn is_of(&self, address: IpAddr) -> bool {
        let Place {
            connections,
            address: own,
        } = &*self.0;
        if own.get().is_some() {
            return true;
        }
        let address = network(address);
        if connections.per_address == 0 {
            // It is not counted, but it is known.
            let _ = own.set(address);
            return true;
        }
        let mut addresses = connections.addresses.lock();
        let count = addresses.entry(address).or_insert(0);
        if *count >= connections.per_address {
            return false;
        }
        if own.set(address).is_ok() {
            *count += 1;
        }
        true
    }
}

fn network(address: IpAddr) -> IpAddr {
    match address.to_canonical() {
        IpAddr::V4(v4) => IpAddr::V4(v4),
        IpAddr::V6(v6) => {
            let [a, b, c, d, ..] = v6.segments();
            IpAddr::V6([a, b, c, d, 0, 0, 0, 0].into())
        }
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        self.connections.total.fetch_sub(1, Ordering::AcqRel);
        let Some(address) = self.address.get() else { return };
        let mut addresses = self.connections.addresses.lock();
        if let Some(count) = addresses.get_mut(address) {
            *count -= 1;
            if *count == 0 {
                addresses.remove(address);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    fn admit(connections: &Arc<Connections>, address: &str) -> Option<Permit> {
        let permit = connections.admit()?;
        permit.is_of(address.parse().unwrap()).then_some(permit)
    }

    #[test]
    fn both_limits_hold_and_places_come_back() {
        let connections = Connections::new(3, 2);
        let (here, there, neighbour) = ("10.0.0.1", "2001:db8::1", "2001:db8::2");
        let first = admit(&connections, here).unwrap();
        let _second = admit(&connections, here).unwrap();
        assert!(admit(&connections, here).is_none(), "two per address");
        let _third = admit(&connections, there).unwrap();
        assert!(admit(&connections, neighbour).is_none(), "three in total");
        assert!(first.again().is_none(), "whoever asks");
        drop(first);
        let _fourth = admit(&connections, neighbour).unwrap();
        assert!(admit(&connections, here).is_none());
        assert_eq!(connections.total(), 3);
    }

    #[test]
    fn a_place_counts_before_its_address_is_known_and_once_whoever_shares_it() {
        let connections = Connections::new(1, 1);
        let permit = connections.admit().unwrap();
        assert!(connections.admit().is_none());
        let here = "10.0.0.1".parse().unwrap();
        assert!(permit.is_of(here));
        let stream = permit.clone();
        assert!(stream.is_of(here), "it is counted already");
        drop(stream);
        assert_eq!(connections.total(), 1, "the connection is still there");
        drop(permit);
        assert_eq!(connections.total(), 0);
        assert!(connections.admit().unwrap().is_of(here));
    }
}
