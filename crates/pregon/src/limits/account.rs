//! What is known of one client address: its connections, its rates, and what was refused to it.

use std::net::IpAddr;
use std::sync::atomic::{AtomicU32, AtomicU64, AtomicUsize, Ordering};

use super::meter::{Excess, Rate, SharedMeter};
use crate::reason::Reason;

/// See the module. An IPv6 network of 64 bits counts as one address.
#[derive(Debug)]
pub struct Account {
    address: IpAddr,
    pub(super) connections: AtomicUsize,
    pub(super) connects: SharedMeter,
    commands: SharedMeter,
    rate: Rate,
    refused: [AtomicU32; Reason::ALL.len()],
    /// When something was refused last, by the node's clock; zero if nothing was.
    last: AtomicU64,
    /// Bytes of its unverified bodies.
    pub(super) bodies: AtomicUsize,
    /// Bytes of its large bodies.
    pub(super) body_bytes: SharedMeter,
}

impl Account {
    pub(super) fn new(address: IpAddr, rate: Rate) -> Self {
        Self {
            address,
            connections: AtomicUsize::new(0),
            connects: SharedMeter::default(),
            commands: SharedMeter::default(),
            rate,
            refused: Default::default(),
            last: AtomicU64::new(0),
            bodies: AtomicUsize::new(0),
            body_bytes: SharedMeter::default(),
        }
    }

    pub fn address(&self) -> IpAddr {
        self.address
    }

    pub fn connections(&self) -> usize {
        self.connections.load(Ordering::Relaxed)
    }

    /// Counts commands of one of its connections; an excess says for how long no more are taken.
    pub fn commands(&self, amount: u64, now: u64) -> Excess {
        self.commands.take(amount, self.rate, now)
    }

    /// Notes that something was refused, or that a client was sent away.
    pub fn refused(&self, reason: Reason, now: u64) {
        if let Some(count) = self.refused.get(reason as usize) {
            count.fetch_add(1, Ordering::Relaxed);
        }
        self.last.store(now.max(1), Ordering::Relaxed);
    }

    /// What was refused, by reason.
    pub fn reasons(&self) -> impl Iterator<Item = (Reason, u32)> + '_ {
        let counts = self.refused.iter().map(|count| count.load(Ordering::Relaxed));
        Reason::ALL
            .into_iter()
            .zip(counts)
            .filter(|(_, count)| *count > 0)
    }

    pub(super) fn total(&self) -> u64 {
        self.reasons().map(|(_, count)| u64::from(count)).sum()
    }

    /// Whether something was refused since then.
    pub(super) fn is_known_since(&self, then: u64) -> bool {
        let last = self.last.load(Ordering::Relaxed);
        last > 0 && last >= then
    }

    /// Whether it may be forgotten: nobody is there, and nothing is owed.
    pub(super) fn is_idle(&self, now: u64) -> bool {
        self.connections() == 0
            && self.bodies.load(Ordering::Relaxed) == 0
            && self.connects.is_even(now)
            && self.commands.is_even(now)
            && self.body_bytes.is_even(now)
    }
}
