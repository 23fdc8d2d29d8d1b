//! Room for the bodies of requests whose senders are not known yet: for all together, for each address, and a reserve for small ones.
//!
//! A signature is checked over the whole body, so that strangers can make us keep bodies until then. They cannot take the room of
//! others: one address has a quarter, and large bodies leave some to small ones, in all and of each address. Nor can they take the
//! processor: large bodies of one address come no faster than that quarter each second.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use super::meter::{Clock, Rate};
use super::{Account, Permit};

/// A body up to this size may use the reserve: nearly every delivery of a webhook is smaller.
const SMALL: usize = 64 * 1024;

/// What one address may take, and what is kept for small bodies: parts of the whole.
const ADDRESS: usize = 4;
const RESERVE: usize = 8;

/// See the module.
#[derive(Debug)]
pub struct Bodies {
    most: usize,
    held: AtomicUsize,
}

impl Bodies {
    pub fn new(most: usize) -> Arc<Self> {
        Arc::new(Self {
            most,
            held: AtomicUsize::new(0),
        })
    }

    /// A body of which nothing has come yet.
    pub fn begin(self: &Arc<Self>, sender: Option<&Permit>) -> HeldBody {
        HeldBody {
            bodies: Arc::clone(self),
            sender: sender.and_then(Permit::account).cloned(),
            clock: sender.map(Permit::clock).unwrap_or_default(),
            bytes: 0,
        }
    }

    /// Bytes held now.
    pub fn held(&self) -> usize {
        self.held.load(Ordering::Relaxed)
    }
}

/// The room of one body, given back with it.
#[derive(Debug)]
pub struct HeldBody {
    bodies: Arc<Bodies>,
    sender: Option<Arc<Account>>,
    clock: Clock,
    /// Bytes of room that it has taken.
    bytes: usize,
}

/// There is no room for more.
#[derive(Debug, PartialEq, Eq)]
pub struct Full;

impl HeldBody {
    /// Whether there is room now for a body of which this many bytes are announced. Nothing is taken: somebody who announces much and
    /// sends little holds only the bytes that came.
    pub fn expect(&self, announced: usize) -> Result<(), Full> {
        let small = announced <= SMALL;
        let fits = |held: &AtomicUsize, most: usize| {
            let held = held.load(Ordering::Relaxed).saturating_add(announced);
            held <= room(most, small)
        };
        let sender = self.sender.as_ref();
        let all = fits(&self.bodies.held, self.bodies.most);
        let own = sender.is_none_or(|sender| fits(&sender.bodies, self.bodies.most / ADDRESS));
        if all && own { Ok(()) } else { Err(Full) }
    }

    /// Counts bytes that came of a large body, and says for how long no more are read.
    pub fn pause(&self, bytes: usize) -> Duration {
        let Some(sender) = self.sender.as_ref().filter(|_| self.bytes > SMALL) else {
            return Duration::ZERO;
        };
        let quarter = (self.bodies.most / ADDRESS) as u64;
        let rate = Rate {
            per_second: quarter,
            burst: quarter,
        };
        let excess = sender.body_bytes.take(bytes as u64, rate, self.clock.now());
        excess.pause()
    }

    /// Takes room for as many bytes more.
    pub fn grow(&mut self, bytes: usize) -> Result<(), Full> {
        let small = self.bytes + bytes <= SMALL;
        take(&self.bodies.held, bytes, room(self.bodies.most, small))?;
        if let Some(sender) = &self.sender
            && take(&sender.bodies, bytes, room(self.bodies.most / ADDRESS, small)).is_err()
        {
            self.bodies.held.fetch_sub(bytes, Ordering::Relaxed);
            return Err(Full);
        }
        self.bytes += bytes;
        Ok(())
    }
}

/// The part of `most` that a body may use: large ones leave the reserve.
fn room(most: usize, small: bool) -> usize {
    if small { most } else { most - most / RESERVE }
}

fn take(held: &AtomicUsize, bytes: usize, most: usize) -> Result<(), Full> {
    let more = |held: usize| held.checked_add(bytes).filter(|held| *held <= most);
    let taken = held.fetch_update(Ordering::Relaxed, Ordering::Relaxed, more);
    taken.map(|_| ()).map_err(|_| Full)
}

impl Drop for HeldBody {
    fn drop(&mut self) {
        self.bodies.held.fetch_sub(self.bytes, Ordering::Relaxed);
        if let Some(sender) = &self.sender {
            sender.bodies.fetch_sub(self.bytes, Ordering::Relaxed);
        }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use crate::limits::{Bounds, Connections};

    fn permit(address: &str) -> Permit {
        let connections = Connections::new(Bounds::default(), Clock::default());
        let permit = connections.admit().unwrap();
        permit.is_of(address.parse().unwrap()).unwrap();
        permit
    }

    #[test]
    fn large_bodies_of_one_address_come_as_fast_as_its_quarter_allows() {
        let bodies = Bodies::new(8 << 20);
        let (here, there) = (permit("10.0.0.1"), permit("10.0.0.2"));
        let mut small = bodies.begin(Some(&here));
        small.grow(SMALL).unwrap();
        assert_eq!(small.pause(100 << 20), Duration::ZERO);
        let mut large = bodies.begin(Some(&here));
        large.grow(SMALL + 1).unwrap();
        assert_eq!(large.pause(2 << 20), Duration::ZERO, "a burst");
        let pause = large.pause(2 << 20);
        assert!(
            pause > Duration::from_millis(900) && pause <= Duration::from_secs(1),
            "{pause:?}"
        );
        let mut other = bodies.begin(Some(&there));
        other.grow(SMALL + 1).unwrap();
        assert_eq!(other.pause(1 << 20), Duration::ZERO);
    }

    #[test]
    fn one_address_has_a_quarter_and_everybody_else_the_rest() {
        let bodies = Bodies::new(8 << 20);
        let (here, there) = (permit("10.0.0.1"), permit("10.0.0.2"));
        let mut first = bodies.begin(Some(&here));
        first.grow((2 << 20) - (2 << 20) / RESERVE).unwrap();
        let mut second = bodies.begin(Some(&here));
        second.grow(SMALL).unwrap();
        assert_eq!(second.grow(1), Err(Full), "what is left is for small ones");
        let mut other = bodies.begin(Some(&there));
        other.grow(1 << 20).unwrap();
        drop(first);
        second.grow(1).unwrap();
        drop((second, other));
        assert_eq!(bodies.held(), 0);
    }

    #[test]
    fn a_body_that_cannot_fit_is_refused_before_it_comes() {
        let bodies = Bodies::new(8 << 20);
        let (here, there) = (permit("10.0.0.1"), permit("10.0.0.2"));
        let mut first = bodies.begin(Some(&here));
        first.expect(1 << 20).unwrap();
        assert_eq!(bodies.held(), 0, "it has announced, and sent nothing");
        first.grow(1 << 20).unwrap();
        let second = bodies.begin(Some(&here));
        assert_eq!(second.expect(1 << 20), Err(Full));
        second.expect(SMALL).unwrap();
        bodies.begin(Some(&there)).expect(1 << 20).unwrap();
    }

    #[test]
    fn large_bodies_leave_room_to_small_ones() {
        let bodies = Bodies::new(8 << 20);
        let mut large = bodies.begin(None);
        large.grow(7 << 20).unwrap();
        assert_eq!(bodies.begin(None).grow(SMALL + 1), Err(Full));
        let mut small = bodies.begin(None);
        small.grow(SMALL).unwrap();
        assert_eq!(small.grow(1), Err(Full), "it is not small any more");
    }
}
