//! Kinds of schemas, writes and changes that a seed may draw.

use std::str::FromStr;

/// One kind; [`Feature::ALL`] is their list.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Feature {
    /// Triggers of the application, and changes of them while it runs.
    Triggers,
    /// Foreign keys, with cascades, to another table and to the table itself.
    References,
    /// Keys of other types than numbers, and of several columns.
    Keys,
    /// Columns of every type, with odd names and defaults.
    Types,
    /// Stored and virtual generated columns.
    Generated,
    /// Other replica identities and indexes than a plain primary key.
    Identities,
    /// A watch with a condition.
    Conditions,
    /// A watch of some of the columns.
    Columns,
    /// Rows before updates, and with them updates of keys.
    Old,
    /// Values that NOTIFY cannot carry and that are stored outside of their row.
    Large,
    /// Partitioned tables.
    Partitions,
    /// Tables that inherit.
    Inheritance,
    /// Columns that come, go and change their names while rows are written.
    Shapes,
    /// Partitions that come and go.
    Attaching,
    /// Transactions that overlap.
    Overlaps,
}

impl Feature {
    /// Every kind.
    pub const ALL: &'static [(Self, &'static str)] = &[
        (Self::Triggers, "triggers"),
        (Self::References, "references"),
        (Self::Keys, "keys"),
        (Self::Types, "types"),
        (Self::Generated, "generated"),
        (Self::Identities, "identities"),
        (Self::Conditions, "conditions"),
        (Self::Columns, "columns"),
        (Self::Old, "old"),
        (Self::Large, "large"),
        (Self::Partitions, "partitions"),
        (Self::Inheritance, "inheritance"),
        (Self::Shapes, "shapes"),
        (Self::Attaching, "attaching"),
        (Self::Overlaps, "overlaps"),
    ];

    /// All of them.
    pub fn all() -> Vec<Self> {
        Self::ALL.iter().map(|(feature, _)| *feature).collect()
    }

    /// Its name in options and reports.
    pub fn as_str(self) -> &'static str {
        Self::ALL
            .iter()
            .find(|(feature, _)| *feature == self)
            .map_or("", |(_, name)| name)
    }
}

impl FromStr for Feature {
    type Err = anyhow::Error;

    fn from_str(name: &str) -> anyhow::Result<Self> {
        let found = Self::ALL.iter().find(|(_, known)| *known == name.trim());
        found.map(|(feature, _)| *feature).ok_or_else(|| {
            let names: Vec<&str> = Self::ALL.iter().map(|(_, name)| *name).collect();
            anyhow::anyhow!("`{name}` is not a feature; they are {}", names.join(", "))
        })
    }
}

/// How changes are captured.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Capture {
    /// `capture = "notify"`.
    Notify,
    /// `capture = "outbox"`.
    Outbox,
    /// `capture = "wal"`.
    Wal,
}

impl Capture {
    /// All three.
    pub const ALL: [Self; 3] = [Self::Notify, Self::Outbox, Self::Wal];

    /// As the configuration spells it.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Notify => "notify",
            Self::Outbox => "outbox",
            Self::Wal => "wal",
        }
    }
}

impl FromStr for Capture {
    type Err = anyhow::Error;

    fn from_str(name: &str) -> anyhow::Result<Self> {
        let found = Self::ALL.into_iter().find(|capture| capture.as_str() == name);
        found.ok_or_else(|| anyhow::anyhow!("`{name}` is not a capture; they are notify, outbox and wal"))
    }
}
