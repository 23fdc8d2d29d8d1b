//! A change of a row as every capture mode yields it.

use std::sync::Arc;
use std::time::SystemTime;

use bytes::Bytes;

/// What happened to the row.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Op {
    Insert,
    Update,
    Delete,
    Truncate,
}

impl Op {
    /// The word used in conditions, templates and event names.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Insert => "insert",
            Self::Update => "update",
            Self::Delete => "delete",
            Self::Truncate => "truncate",
        }
    }

    /// Reads the one-letter code that the triggers write.
    pub fn from_code(code: &str) -> Option<Self> {
        match code {
            "I" => Some(Self::Insert),
            "U" => Some(Self::Update),
            "D" => Some(Self::Delete),
            "T" => Some(Self::Truncate),
            _ => None,
        }
    }
}

/// One captured change. `row` and `old` are the raw JSON that PostgreSQL rendered.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Change {
    /// Name of the watch.
    pub watch: Arc<str>,
    pub op: Op,
    /// The row after the change; absent on delete and truncate.
    pub row: Option<Bytes>,
    /// The row before the change, where the watch asks for it; always on delete.
    pub old: Option<Bytes>,
    /// The row did not fit a notification and was read when it was delivered: it may be newer than the change.
    pub fetched: bool,
    /// The trigger's sequence number.
    pub seq: u64,
    /// The trigger's clock.
    pub at: Option<SystemTime>,
}
