//! A place in the log: the log's identity (epoch) and a number in it (offset). Clients treat it as an opaque string.

use std::fmt;
use std::str::FromStr;

/// Identity of a log's history. It changes exactly when history was lost, so that an old offset is never mistaken for a new one.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Epoch(pub u32);

impl Epoch {
    /// A fresh random epoch.
    pub fn random() -> Self {
        Self(rand::random::<u32>())
    }
}

impl fmt::Display for Epoch {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:08x}", self.0)
    }
}

/// A place in the log. Everything at or before it has been seen; later entries have greater offsets.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Position {
    pub epoch: Epoch,
    pub offset: u64,
}

impl fmt::Display for Position {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}-{}", self.epoch, self.offset)
    }
}

/// The text is no position of any pregón log.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
#[error("not a position: send back the text that the server gave, unchanged")]
pub struct BadPosition;

impl FromStr for Position {
    type Err = BadPosition;

    fn from_str(text: &str) -> Result<Self, BadPosition> {
        let (epoch, offset) = text.split_once('-').ok_or(BadPosition)?;
        let canonical = epoch.len() == 8 && epoch.bytes().all(|b| matches!(b, b'0'..=b'9' | b'a'..=b'f'));
        if !canonical || !offset.bytes().all(|b| b.is_ascii_digit()) {
            return Err(BadPosition);
        }
        Ok(Self {
            epoch: Epoch(u32::from_str_radix(epoch, 16).map_err(|_| BadPosition)?),
            offset: offset.parse().map_err(|_| BadPosition)?,
        })
    }
}

/// Where a client wants to resume.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Since {
    Position(Position),
    /// As far back as this duration, for example `5m`.
    Ago(std::time::Duration),
    /// A place in some other server's history: what lies between is unknown.
    Foreign,
}

impl FromStr for Since {
    type Err = BadPosition;

    fn from_str(text: &str) -> Result<Self, BadPosition> {
        if let Ok(position) = text.parse() {
            return Ok(Self::Position(position));
        }
        humantime::parse_duration(text)
            .map(Self::Ago)
            .map_err(|_| BadPosition)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn every_position_survives_its_text(epoch: u32, offset: u64) {
            let position = Position { epoch: Epoch(epoch), offset };
            prop_assert_eq!(position.to_string().parse(), Ok(position));
        }

        #[test]
        fn no_text_panics(text in ".*") {
            let _ = text.parse::<Position>();
            let _ = text.parse::<Since>();
        }
    }

    #[test]
    fn foreign_texts_are_refused() {
        for text in [
            "",
            "-",
            "1-2",
            "0000000g-1",
            "00000001-",
            "00000001--1",
            "00000001-+1",
            "00000001-18446744073709551616",
        ] {
            assert_eq!(text.parse::<Position>(), Err(BadPosition), "{text}");
        }
    }

    #[test]
    fn durations_are_understood() {
        assert_eq!("5m".parse(), Ok(Since::Ago(std::time::Duration::from_secs(300))));
    }
}
