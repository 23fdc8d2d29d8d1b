//! What a row of the outbox says. Reads and waits for nothing.

use std::collections::HashSet;
use std::sync::Arc;
use std::time::SystemTime;

use bytes::Bytes;
use tokio_postgres::Row;

use crate::change::{Change, Op};
use crate::fault::Fault;

/// One row, as what its reader has to do with it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Item {
    /// A row of a watch changed.
    Change(Change),
    /// Somebody called `pregon.publish`.
    Published {
        channel: String,
        event: String,
        data: Bytes,
        at: SystemTime,
    },
    /// The trigger could not render a row of this watch: its followers missed something.
    RenderError { watch: Arc<str>, fault: Fault },
    /// Rows up to this id were deleted before anybody had read them, because the outbox had outgrown its limit.
    Dropped { upto: u64 },
    /// A transaction had to go on without its changes: the outbox did not take them.
    Missed {
        /// How often that has happened ever since the outbox was made.
        counted: u64,
    },
}

/// A row before it goes on.
#[derive(Debug)]
pub(super) struct Raw {
    watch: Option<String>,
    op: String,
    row: Option<String>,
    old: Option<String>,
    channel: Option<String>,
    event: Option<String>,
    at: SystemTime,
}

/// The columns in the order of [`Raw::read`].
pub(super) const COLUMNS: &str = "o.id, o.watch, o.op::text, o.row, o.old, o.channel, o.event, o.at";

/// The column behind them.
pub(super) const BEFORE: usize = 8;

/// Since 1970.
pub(super) fn micros(at: SystemTime) -> u64 {
    let since = at.duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
    u64::try_from(since.as_micros()).unwrap_or(u64::MAX)
}

impl Raw {
    /// Its id and the rest.
    pub(super) fn read(row: &Row) -> Result<(u64, Self), tokio_postgres::Error> {
        let id: i64 = row.try_get(0)?;
        let raw = Self {
            watch: row.try_get(1)?,
            op: row.try_get(2)?,
            row: row.try_get(3)?,
            old: row.try_get(4)?,
            channel: row.try_get(5)?,
            event: row.try_get(6)?,
            at: row.try_get(7)?,
        };
        Ok((id.try_into().unwrap_or(0), raw))
    }

    /// When it was written, in microseconds since 1970.
    pub(super) fn at(&self) -> u64 {
        micros(self.at)
    }

    /// Whether it becomes a gap: such a row is given on alone.
    pub(super) fn is_gap(&self) -> bool {
        self.op == "E" || self.op == "X"
    }

    /// What it weighs in memory, about.
    pub(super) fn size(&self) -> usize {
        let text = |text: &Option<String>| text.as_ref().map_or(0, String::len);
        128 + text(&self.row) + text(&self.old) + text(&self.channel)
    }

    /// A row that the server cannot send, with the reason. Whose it is may be known all the same.
    pub(super) fn unreadable(row: &Row, reason: &str) -> Result<(u64, Self), tokio_postgres::Error> {
        let id: i64 = row.try_get(0)?;
        let raw = Self {
            watch: row.try_get(1)?,
            op: "E".to_owned(),
            row: Some(reason.to_owned()),
            old: None,
            channel: None,
            event: None,
            at: row.try_get(2)?,
        };
        Ok((id.try_into().unwrap_or(0), raw))
    }

    /// `None` for a watch of another configuration on the same database, and for what no trigger of ours writes. `missed` is how often
    /// changes went past the outbox.
    pub(super) fn item(self, id: u64, watches: &HashSet<Arc<str>>, missed: u64) -> Option<Item> {
        match self.op.as_str() {
            // A publish that cannot be read may have been for any channel.
            "E" if self.watch.is_none() => Some(Item::Missed { counted: missed }),
            "P" => Some(Item::Published {
                channel: self.channel?,
                event: self.event.unwrap_or_default(),
                data: self.row?.into(),
                at: self.at,
            }),
            "X" => Some(Item::Dropped {
                upto: self.row?.parse().ok()?,
            }),
            code => {
                let watch = Arc::clone(watches.get(self.watch?.as_str())?);
                if code == "E" {
                    let fault = Fault::coded(&self.row.unwrap_or_default());
                    return Some(Item::RenderError { watch, fault });
                }
                Some(Item::Change(Change {
                    watch,
                    op: Op::from_code(code)?,
                    row: self.row.map(Bytes::from),
                    old: self.old.map(Bytes::from),
                    fetched: false,
                    seq: id,
                    at: Some(self.at),
                }))
            }
        }
    }
}
