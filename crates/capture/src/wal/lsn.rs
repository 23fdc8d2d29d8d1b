//! Places in the write-ahead log.

use std::fmt;
use std::str::FromStr;

/// A byte position in the WAL, written `16/B374D848`.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Lsn(pub u64);

impl fmt::Display for Lsn {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:X}/{:X}", self.0 >> 32, self.0 & 0xFFFF_FFFF)
    }
}

impl FromStr for Lsn {
    type Err = ();

    fn from_str(text: &str) -> Result<Self, ()> {
        let (high, low) = text.split_once('/').ok_or(())?;
        let part = |text: &str| u32::from_str_radix(text, 16).map_err(|_| ());
        Ok(Self(u64::from(part(high)?) << 32 | u64::from(part(low)?)))
    }
}

/// A place in the stream of changes: an LSN and a number behind it. Inside a transaction that is the LSN of its commit and the
/// number of the change, from 1; behind a transaction the LSN at which its commit record ends, and 0. Since the next commit cannot
/// begin before that, places rise strictly.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Place {
    pub lsn: Lsn,
    pub index: u64,
}

impl Place {
    /// Behind everything that ends at `lsn`.
    pub fn after(lsn: Lsn) -> Self {
        Self { lsn, index: 0 }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn the_text_reads_back(lsn: u64) {
            prop_assert_eq!(Lsn(lsn).to_string().parse::<Lsn>(), Ok(Lsn(lsn)));
        }
    }

    #[test]
    fn other_texts_are_none() {
        for text in ["", "1", "1/", "/1", "g/1", "1/100000000"] {
            assert!(text.parse::<Lsn>().is_err(), "{text}");
        }
        assert_eq!("16/B374D848".parse::<Lsn>().unwrap(), Lsn(0x16_B374_D848));
    }
}
