//! How many connections there may be: in total and from one address. A permit is held as long as the connection lives.

use std::net::IpAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

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

/// One connection's place; given back when dropped.
#[derive(Debug)]
pub struct Permit {
    connections: Arc<Connections>,
    address: IpAddr,
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

    /// A place for a connection from `address`, or `None` if there is none left.
    pub fn admit(self: &Arc<Self>, address: IpAddr) -> Option<Permit> {
        let address = network(address);
        if self.total.fetch_add(1, Ordering::AcqRel) >= self.most {
            self.total.fetch_sub(1, Ordering::AcqRel);
            return None;
        }
        if self.per_address > 0 {
            let mut addresses = self.addresses.lock();
            let count = addresses.entry(address).or_insert(0);
            if *count >= self.per_address {
                drop(addresses);
                self.total.fetch_sub(1, Ordering::AcqRel);
                return None;
            }
            *count += 1;
        }
        Some(Permit {
            connections: Arc::clone(self),
            address,
        })
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

impl Drop for Permit {
    fn drop(&mut self) {
        self.connections.total.fetch_sub(1, Ordering::AcqRel);
        if self.connections.per_address == 0 {
            return;
        }
        let mut addresses = self.connections.addresses.lock();
        if let Some(count) = addresses.get_mut(&self.address) {
            *count -= 1;
            if *count == 0 {
                addresses.remove(&self.address);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn both_limits_hold_and_places_come_back() {
        let connections = Connections::new(3, 2);
        let here: IpAddr = "10.0.0.1".parse().unwrap();
        let there: IpAddr = "2001:db8::1".parse().unwrap();
        let neighbour: IpAddr = "2001:db8::2".parse().unwrap();
        let first = connections.admit(here).unwrap();
        let _second = connections.admit(here).unwrap();
        assert!(connections.admit(here).is_none(), "two per address");
        let _third = connections.admit(there).unwrap();
        assert!(connections.admit(neighbour).is_none(), "three in total");
        drop(first);
        let _fourth = connections.admit(neighbour).unwrap();
        assert!(connections.admit(here).is_none());
        assert_eq!(connections.total(), 3);
    }
}
