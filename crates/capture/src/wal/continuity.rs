//! Whether the stream goes on where it was left. Pure.
//!
//! An epoch is a number: its upper half names the history (server, timeline, database, slot, publication), its lower half is drawn
//! anew whenever something may have been lost.

use super::lsn::{Lsn, Place};

/// What is remembered of a stream.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Known {
    pub epoch: u64,
    /// Everything up to here is kept.
    pub place: Place,
}

/// What the server says when it is asked.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Found {
    /// Of the names of the history.
    pub(super) identity: u32,
    /// What the slot has forgotten up to.
    pub(super) confirmed: Lsn,
    /// How far the server has written.
    pub(super) written: Lsn,
}

/// Where to begin.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Start {
    pub(super) known: Known,
    /// Why something may have been lost.
    pub(super) gap: Option<&'static str>,
}

impl Start {
    /// Behind the transaction that was committed at `past`, which cannot be read, unless this begins later anyway.
    pub(super) fn behind(mut self, past: Option<Lsn>) -> Self {
        if let Some(past) = past.filter(|past| self.known.place.lsn <= *past) {
            // The server passes over what was committed before the place that it is asked for.
            self.known.place = Place::after(Lsn(past.0 + 1));
            self.gap = Some(
                "a transaction has a change that the server cannot send: what follows in it is passed over",
            );
        }
        self
    }
}

/// A hash of what names a history (FNV-1a, folded to a half).
pub(super) fn identity(names: &[&str]) -> u32 {
    let mut hash = 0xcbf2_9ce4_8422_2325_u64;
    for byte in names.iter().flat_map(|name| name.bytes().chain([0])) {
        hash = (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3);
    }
    // The upper half is kept, the lower folded into it.
    u32::try_from((hash >> 32) ^ (hash & 0xFFFF_FFFF)).unwrap_or_default()
}

/// Compares what is remembered with what is there.
pub(super) fn start(known: Option<Known>, found: Found, chance: u32) -> Start {
    let anew = |gap| Start {
        known: Known {
            epoch: u64::from(found.identity) << 32 | u64::from(chance),
            place: Place::after(found.confirmed),
        },
        gap,
    };
    let Some(known) = known else { return anew(None) };
    if known.epoch >> 32 != u64::from(found.identity) {
        return anew(Some("the server, its timeline or the publication is another one"));
    }
    if found.confirmed > known.place.lsn {
        return anew(Some(
            "the slot begins behind what was taken from it last: it was made anew, or another gateway used it",
        ));
    }
    if found.written < known.place.lsn {
        return anew(Some(
            "the server has less than was taken from it: it was restored",
        ));
    }
    Start { known, gap: None }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn found(confirmed: u64, written: u64) -> Found {
        Found {
            identity: 7,
            confirmed: Lsn(confirmed),
            written: Lsn(written),
        }
    }

    fn known(epoch: u64, lsn: u64) -> Option<Known> {
        let place = Place {
            lsn: Lsn(lsn),
            index: 3,
        };
        Some(Known { epoch, place })
    }

    #[test]
    fn a_stream_goes_on_only_without_a_hole() {
        let ours = 7 << 32 | 9;
        assert_eq!(
            start(known(ours, 100), found(100, 200), 1),
            Start {
                known: known(ours, 100).unwrap_or_else(|| unreachable!()),
                gap: None
            }
        );
        for (known, found) in [
            (known(8 << 32 | 9, 100), found(100, 200)),
            (known(ours, 100), found(101, 200)),
            (known(ours, 100), found(50, 99)),
        ] {
            let start = start(known, found, 1);
            assert!(start.gap.is_some());
            assert_eq!(
                start.known,
                Known {
                    epoch: 7 << 32 | 1,
                    place: Place::after(found.confirmed)
                }
            );
        }
        assert_eq!(start(None, found(5, 9), 1).gap, None);
    }

    proptest! {
        #[test]
        fn names_do_not_run_together(a in "[a-z]{0,4}", b in "[a-z]{1,4}") {
            prop_assert_ne!(identity(&[&a, &b]), identity(&[&format!("{a}{b}"), ""]));
        }
    }
}
