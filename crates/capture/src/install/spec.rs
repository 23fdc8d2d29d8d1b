//! What a configuration asks the database for.

use crate::change::Op;

/// One watched table.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct WatchSpec {
    pub name: String,
    pub schema: String,
    pub table: String,
    pub operations: Vec<Op>,
    /// SQL over the row's columns; a row for which it is not true is not captured.
    pub condition: Option<String>,
    /// The columns of the captured row; all without it.
    pub columns: Option<Vec<String>>,
    /// Whether an update carries the row before it (a delete always does).
    pub old: bool,
    /// The function's name, in schema `pregon` unless qualified; `notify_<watch>` without it.
    pub function: Option<String>,
    /// The trigger's name; `pregon_<watch>` without it.
    pub trigger: Option<String>,
    /// Replace a function or trigger of that name even if it is not ours.
    pub adopt: bool,
}

impl WatchSpec {
    /// A watch with the defaults: insert, update and delete, all columns, no condition.
    pub fn new(name: impl Into<String>, schema: impl Into<String>, table: impl Into<String>) -> Self {
        Self {
            name: name.into(),
            schema: schema.into(),
            table: table.into(),
            operations: vec![Op::Insert, Op::Update, Op::Delete],
            condition: None,
            columns: None,
            old: false,
            function: None,
            trigger: None,
            adopt: false,
        }
    }
}

/// Who may call `pregon.publish` beside the members of `pregon_publisher`.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct PublishSpec {
    /// Existing roles that get `pregon_publisher`.
    pub roles: Vec<String>,
}

/// How changes leave the database. One variant per capture mode.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Mode {
    /// Triggers that NOTIFY.
    #[default]
    Notify,
    /// Triggers that write into `pregon.outbox`, in the transaction of the write.
    Outbox,
    /// A logical slot and a publication; no triggers.
    Wal,
}

/// Everything that should be installed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Target {
    pub watches: Vec<WatchSpec>,
    pub publish: PublishSpec,
    /// The role that the gateway connects with; it gets the least that it needs.
    pub gateway_role: Option<String>,
    pub mode: Mode,
    /// Whether gateways share a log that lies in this database.
    pub log: bool,
    /// Name of the slot and the publication of [`Mode::Wal`].
    pub slot: String,
    /// The role that reads the slot; the gateway's role if absent.
    pub replication_role: Option<String>,
    /// The gateway's own queries: a right that one of them may rely on is not taken back.
    pub queries: Vec<String>,
    /// Whether watches of ours that are not in `watches` are removed. Off where two configurations share a database.
    pub prune: bool,
}

impl Default for Target {
    fn default() -> Self {
        Self {
            watches: Vec::new(),
            publish: PublishSpec::default(),
            gateway_role: None,
            mode: Mode::Notify,
            log: false,
            slot: "pregon".to_owned(),
            replication_role: None,
            queries: Vec::new(),
            prune: true,
        }
    }
}
