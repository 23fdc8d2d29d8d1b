//! The id of an Engine.IO session: says which shard has it and where, and holds a secret, because whoever knows it acts for the client.

use std::fmt;
use std::str::FromStr;

use crate::hub::Key;

/// See the module. As text it is 52 hexadecimal digits.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Sid {
    pub shard: u16,
    pub key: Key,
    secret: u128,
}

impl Sid {
    pub(crate) fn new(shard: u16, key: Key) -> Self {
        Self {
            shard,
            key,
            secret: rand::random(),
        }
    }
}

impl fmt::Display for Sid {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { shard, key, secret } = self;
        write!(
            f,
            "{shard:04x}{:08x}{:08x}{secret:032x}",
            key.index, key.generation
        )
    }
}

/// A name that nobody guesses, of 20 letters and digits as the reference server's.
pub(crate) fn random() -> String {
    use rand::RngExt as _;
    let letters = rand::rng().sample_iter(rand::distr::Alphanumeric).take(20);
    letters.map(char::from).collect()
}

/// The text is no id of ours.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct BadSid;

impl FromStr for Sid {
    type Err = BadSid;

    fn from_str(text: &str) -> Result<Self, BadSid> {
        if text.len() != 52 || !text.bytes().all(|byte| byte.is_ascii_hexdigit()) {
            return Err(BadSid);
        }
        let part = |from: usize, to: usize| {
            let digits = text.get(from..to).ok_or(BadSid)?;
            u128::from_str_radix(digits, 16).map_err(|_| BadSid)
        };
        Ok(Self {
            shard: part(0, 4)? as u16,
            key: Key {
                index: part(4, 12)? as u32,
                generation: part(12, 20)? as u32,
            },
            secret: part(20, 52)?,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn every_id_survives_its_text(shard: u16, index: u32, generation: u32) {
            let sid = Sid::new(shard, Key { index, generation });
            prop_assert_eq!(sid.to_string().parse(), Ok(sid));
        }

        #[test]
        fn no_text_panics(text in ".*") {
            let _ = text.parse::<Sid>();
        }
    }
}
