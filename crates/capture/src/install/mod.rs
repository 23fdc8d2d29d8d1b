//! What pregón puts into a database: planned as SQL that can be read first, applied in one transaction, compared, removed.
//!
//! [`plan`] reads only and reports everything that is wrong at once; an empty plan means up to date. [`apply`] is what may run
//! DDL. Objects of ours carry a comment with a fingerprint; an object without it is never replaced unless the watch says
//! `adopt`. The client must not be inside a transaction: the functions here begin and end their own.
//!
//! ```text
//! Target ─▶ watch + base (what should be) ─┐
//!                                           ├─▶ plan (what is missing or different) ─▶ apply
//! found (what is there) ───────────────────┘
//! ```

mod apply;
mod base;
mod shared;
mod roles;
mod beside;
mod compared;
mod drop;
mod error;
mod found;
mod granted;
mod notify;
mod grants;
mod own;
mod types;
mod partitions;
mod revoke;
mod rivals;
mod missing;
mod plan;
mod wal;
mod identity;
mod late;
pub(crate) mod narrow;
mod nested;
mod publication;
mod remade;
mod spec;
mod standing;
mod status;
mod triggers;
mod validate;
mod watch;

pub use apply::apply;
pub use compared::status_of;
pub use drop::drop;
pub(crate) use error::SLOT_WAITS;
pub use error::{InstallError, Problem};
pub use missing::{Coverage, Member, coverage, have_rows};
pub use notify::notify_flaw;
pub(crate) use notify::{FLAW, notify_remedy};
pub use plan::{Plan, Step, StepKind, plan};
pub use rivals::{is_awaited, rivals};
pub use spec::{Mode, PublishSpec, Target, WatchSpec};
pub use standing::{Expected, Standing, expected, standing};
pub use status::{FunctionStatus, ObjectStatus, State, Status, TriggerStatus, status};
pub use wal::is_slot_name;
pub(crate) use wal::{PLUGIN_REMEDY, lacks_pgoutput};

/// The schema of everything that belongs to pregón.
pub const SCHEMA: &str = "pregon";
/// The role that owns it; it cannot log in and is never a superuser.
pub const OWNER_ROLE: &str = "pregon_owner";
/// The role whose members may call `pregon.publish`.
pub const PUBLISHER_ROLE: &str = "pregon_publisher";
/// The NOTIFY channel of every watch and of `pregon.publish`.
pub const CHANNEL: &str = "pregon";

/// Comments of our objects begin with this.
const MARK: &str = "pregon: ";

/// Held by who installs, shared by who plans. Any number that nobody else uses: the bytes of "pregon".
const ADVISORY_LOCK: i64 = 0x7072_6567_6f6e;
