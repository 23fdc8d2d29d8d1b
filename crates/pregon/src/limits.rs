//! How many connections there may be, in total and from one address, how fast they may come, and who may not come at all. A place is
//! held as long as anyone holds its permit.

mod account;
pub mod bodies;
pub mod descriptors;
pub mod meter;

use std::net::IpAddr;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, OnceLock};

use arc_swap::ArcSwap;
use hashbrown::HashMap;
use parking_lot::Mutex;

pub use account::Account;
pub use meter::{Clock, Meter, Rate};

use crate::config::net::Network;
use crate::reason::Reason;

/// How long it is remembered what was refused to an address that is gone, microseconds.
const REMEMBERED: u64 = 600 * 1_000_000;

/// Addresses without a connection that are remembered; beyond them those to which least was refused are forgotten.
const ABSENT: usize = 4096;

/// What connections are held to.
#[derive(Debug, Clone, Copy)]
pub struct Bounds {
    pub most: usize,
    /// File descriptors that all connections together may take.
    pub descriptors: usize,
    /// Zero means no limit per address.
    pub per_address: usize,
    /// Connections from one address.
    pub connects: Rate,
    /// Commands and requests of all connections from one address.
    pub commands: Rate,
}

impl Default for Bounds {
    fn default() -> Self {
        Self {
            most: usize::MAX,
            descriptors: usize::MAX,
            per_address: 0,
            connects: Rate::FREE,
            commands: Rate::FREE,
        }
    }
}

/// Counts connections. An IPv6 network of 64 bits counts as one address, because one client has as many as it likes.
#[derive(Debug)]
pub struct Connections {
    clock: Clock,
    total: AtomicUsize,
    /// What they have open: one each, and what some take beside.
    descriptors: AtomicUsize,
    bounds: Bounds,
    accounts: Mutex<Accounts>,
    denied: ArcSwap<Vec<Network>>,
}

type Accounts = HashMap<IpAddr, Arc<Account>, foldhash::fast::RandomState>;

/// Why a connection may not stay.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Refusal {
    /// The operator denies its address.
    Denied,
    /// There are too many of its address.
    TooMany,
    /// They come too fast.
    TooFast,
}

impl Refusal {
    /// What it is counted as.
    pub fn reason(self) -> Reason {
        match self {
            Self::Denied => Reason::Denied,
            Self::TooMany => Reason::Connections,
            Self::TooFast => Reason::Rate,
        }
    }
}

/// One connection's place, given back when the last clone is dropped: an HTTP connection keeps its place while a stream on it
/// holds it too.
#[derive(Debug, Clone)]
pub struct Permit(Arc<Place>);

#[derive(Debug)]
struct Place {
    connections: Arc<Connections>,
    /// Set once it is counted.
    owner: OnceLock<Owner>,
}

#[derive(Debug)]
struct Owner {
    /// The address itself, not its network.
    address: IpAddr,
    account: Arc<Account>,
}

impl Connections {
    pub fn new(bounds: Bounds, clock: Clock) -> Arc<Self> {
        Arc::new(Self {
            clock,
            total: AtomicUsize::new(0),
            descriptors: AtomicUsize::new(0),
            bounds,
            accounts: Mutex::default(),
            denied: ArcSwap::default(),
        })
    }

    /// Connections now.
    pub fn total(&self) -> usize {
        self.total.load(Ordering::Relaxed)
    }

    /// What its rates are measured by.
    pub fn clock(&self) -> Clock {
        self.clock
    }

    pub fn now(&self) -> u64 {
        self.clock.now()
    }

    /// From now on nobody of these networks is let in. Entries that are no network are left out; `check` names them before.
    pub fn deny(&self, networks: &[String]) {
        let networks = networks.iter().filter_map(|text| Network::parse(text)).collect();
        self.denied.store(Arc::new(networks));
    }

    fn denies(&self, address: IpAddr) -> bool {
        let denied = self.denied.load();
        !denied.is_empty() && denied.iter().any(|network| network.contains(address))
    }

    /// A place in the total, or `None` if there is none left. Whose it is may be told later.
    pub fn admit(self: &Arc<Self>) -> Option<Permit> {
        if self.total.fetch_add(1, Ordering::AcqRel) >= self.bounds.most {
            self.total.fetch_sub(1, Ordering::AcqRel);
            return None;
        }
        if !self.open(1) {
            self.total.fetch_sub(1, Ordering::AcqRel);
            return None;
        }
        Some(Permit(Arc::new(Place {
            connections: Arc::clone(self),
            owner: OnceLock::new(),
        })))
    }

    /// Counts descriptors, if there is room for them.
    fn open(&self, count: usize) -> bool {
        let fits = |open: usize| {
            open.checked_add(count)
                .filter(|open| *open <= self.bounds.descriptors)
        };
        self.descriptors
            .fetch_update(Ordering::AcqRel, Ordering::Acquire, fits)
            .is_ok()
    }

    /// Notes something that was refused to an address before its connection had a place.
    pub fn refused(&self, address: IpAddr, reason: Reason) {
        let now = self.now();
        let mut accounts = self.accounts.lock();
        self.account(&mut accounts, network(address)).refused(reason, now);
    }

    /// Those to which most was refused lately, the worst first.
    pub fn worst(&self, most: usize) -> Vec<Arc<Account>> {
        let then = self.now().saturating_sub(REMEMBERED);
        let mut worst: Vec<(u64, Arc<Account>)> = self
            .accounts
            .lock()
            .values()
            .filter(|account| account.is_known_since(then))
            .map(|account| (account.total(), Arc::clone(account)))
            .collect();
        worst.sort_unstable_by(|(a, one), (b, other)| b.cmp(a).then(one.address().cmp(&other.address())));
        worst.truncate(most);
        worst.into_iter().map(|(_, account)| account).collect()
    }

    /// Forgets addresses that have been gone for a while; called every few seconds.
    pub fn prune(&self) {
        let now = self.now();
        let mut accounts = self.accounts.lock();
        accounts.retain(|_, account| {
            !account.is_idle(now) || account.is_known_since(now.saturating_sub(REMEMBERED))
        });
        if accounts.capacity() > 1024 && accounts.capacity() > 4 * accounts.len() {
            accounts.shrink_to_fit();
        }
    }

    fn account(&self, accounts: &mut Accounts, network: IpAddr) -> Arc<Account> {
        if let Some(account) = accounts.get(&network) {
            return Arc::clone(account);
        }
        if accounts.len() > self.total() + ABSENT {
            forget_absent(accounts);
        }
        let account = Arc::new(Account::new(network, self.bounds.commands));
        accounts.insert(network, Arc::clone(&account));
        account
    }
}

/// Keeps half of the places of those who are gone, for those to which most was refused, so that this is seldom done.
fn forget_absent(accounts: &mut Accounts) {
    let mut absent: Vec<(u64, IpAddr)> = accounts
        .iter()
        .filter(|(_, account)| account.connections() == 0)
        .map(|(address, account)| (account.total(), *address))
        .collect();
    absent.sort_unstable_by(|one, other| other.cmp(one));
    for (_, address) in absent.into_iter().skip(ABSENT / 2) {
        accounts.remove(&address);
    }
}

impl Permit {
    /// One more place for the same client, or why there is none.
    pub fn again(&self) -> Result<Self, Refusal> {
        let another = self.0.connections.admit().ok_or(Refusal::TooMany)?;
        if let Some(owner) = self.0.owner.get() {
            another.is_of(owner.address)?;
        }
        Ok(another)
    }

    /// Room for descriptors that the connection takes beside its socket; `None` if there is none left.
    pub fn beside(&self, count: usize) -> Option<Beside> {
        let connections = &self.0.connections;
        connections.open(count).then(|| Beside {
            connections: Arc::clone(connections),
            count,
        })
    }

    /// Whose place it is, as far as that is known: an address, or a network of IPv6.
    pub fn address(&self) -> Option<IpAddr> {
        self.account().map(|account| account.address())
    }

    /// What is known of the address.
    pub fn account(&self) -> Option<&Arc<Account>> {
        self.0.owner.get().map(|owner| &owner.account)
    }

    /// The clock that rates of its address are measured by.
    pub fn clock(&self) -> Clock {
        self.0.connections.clock
    }

    /// Whether the operator denies the address by now.
    pub fn is_denied(&self) -> bool {
        let Place { connections, owner } = &*self.0;
        owner.get().is_some_and(|owner| connections.denies(owner.address))
    }

    /// Notes something that was refused.
    pub fn refused(&self, reason: Reason) {
        if let Some(account) = self.account() {
            account.refused(reason, self.0.connections.now());
        }
    }

    /// Counts requests of the connection; an excess says for how long no more are taken.
    pub fn requests(&self, amount: u64) -> meter::Excess {
        match self.account() {
            Some(account) => account.commands(amount, self.0.connections.now()),
            None => meter::Excess::default(),
        }
    }

    /// Counts the connection for `address`, unless that is refused. Told twice, the first one stays.
    pub fn is_of(&self, address: IpAddr) -> Result<(), Refusal> {
        let Place { connections, owner } = &*self.0;
        if owner.get().is_some() {
            return Ok(());
        }
        let counted = self.count(address);
        if let Err(refusal) = counted {
            connections.refused(address, refusal.reason());
        }
        counted
    }

    fn count(&self, address: IpAddr) -> Result<(), Refusal> {
        let Place { connections, owner } = &*self.0;
        if connections.denies(address) {
            return Err(Refusal::Denied);
        }
        let bounds = &connections.bounds;
        let now = connections.now();
        let mut accounts = connections.accounts.lock();
        let account = connections.account(&mut accounts, network(address));
        if bounds.per_address > 0 && account.connections() >= bounds.per_address {
            return Err(Refusal::TooMany);
        }
        if account.connects.take_if_free(1, bounds.connects, now).is_err() {
            return Err(Refusal::TooFast);
        }
        account.connections.fetch_add(1, Ordering::Relaxed);
        let lost = owner.set(Owner { address, account });
        if let Err(Owner { account, .. }) = lost {
            account.connections.fetch_sub(1, Ordering::Relaxed);
        }
        Ok(())
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

/// Descriptors of a connection beside its socket, given back when it is dropped.
#[derive(Debug)]
pub struct Beside {
    connections: Arc<Connections>,
    count: usize,
}

impl Drop for Beside {
    fn drop(&mut self) {
        self.connections
            .descriptors
            .fetch_sub(self.count, Ordering::AcqRel);
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        self.connections.total.fetch_sub(1, Ordering::AcqRel);
        self.connections.descriptors.fetch_sub(1, Ordering::AcqRel);
        let Some(Owner { account, .. }) = self.owner.get() else {
            return;
        };
        let now = self.connections.now();
        // Under the lock, so that nobody is counted on an account that is being forgotten.
        let mut accounts = self.connections.accounts.lock();
        account.connections.fetch_sub(1, Ordering::Relaxed);
        if account.is_idle(now) && !account.is_known_since(1) {
            accounts.remove(&account.address());
        }
    }
}

#[cfg(test)]
mod tests;
