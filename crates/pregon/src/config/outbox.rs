//! `[postgres.outbox]`: how long rows stay in the outbox, and how much room they may take.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::units::{Period, Size};

/// The table of captured changes; for `capture = "outbox"`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct Outbox {
    /// How long rows stay that are in the log already. A gateway with a log of its own that was away for less goes on without a gap.
    pub retention: Period,
    /// Bytes of rows that stay although they are in the log: a burst must not fill the disk for ten minutes.
    pub kept: Size,
    /// Bytes of the whole outbox. Beyond that the oldest rows go, also unread ones, which becomes a gap: a gateway that is away for days, or a
    /// transaction that nobody ends, must not fill the application's disk. About five million rows of 200 bytes.
    pub max: Size,
    /// Whether a change is delivered only once its commit is on the server's disk. Changes of writers with `synchronous_commit = off` are
    /// visible before that, and a crash takes them back. Costs one fsync for each look that finds something.
    pub durable_delivery: bool,
    /// Whether writers wake the gateway with a notification while few transactions write. Off, it looks 20 times a second when idle.
    pub doorbell: bool,
}

impl Default for Outbox {
    fn default() -> Self {
        Self {
            retention: Period::seconds(600),
            kept: Size::mib(256),
            max: Size::mib(1024),
            durable_delivery: false,
            doorbell: true,
        }
    }
}
