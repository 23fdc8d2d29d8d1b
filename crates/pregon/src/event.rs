//! What sources yield and what the router makes of it: `Event` (not yet addressed) and `Publication` (addressed).
//!
//! Both carry their JSON as the raw bytes that the source gave, so that a row is parsed only where a rule looks inside it.

use std::sync::Arc;
use std::time::SystemTime;

use bytes::Bytes;
use smallvec::SmallVec;

/// What happened to a row, or that the event is a message and no row.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Op {
    Insert,
    Update,
    Delete,
    Truncate,
    Message,
}

impl Op {
    /// The word used in conditions, templates and default event names.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Insert => "insert",
            Self::Update => "update",
            Self::Delete => "delete",
            Self::Truncate => "truncate",
            Self::Message => "message",
        }
    }
}

/// Identity of an event within its source: the log appends an identity once.
///
/// `None` as `position` means that the source cannot repeat itself (NOTIFY), so nothing needs to be remembered.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Default)]
pub struct EventId(pub Option<Arc<str>>);

impl EventId {
    /// An identity for events that are never sent twice.
    pub fn unique() -> Self {
        Self(None)
    }

    /// An identity given by the source, for example an idempotency key and an index.
    pub fn named(id: impl Into<Arc<str>>) -> Self {
        Self(Some(id.into()))
    }
}

/// A fact from a source, not yet addressed to anyone.
#[derive(Debug, Clone)]
pub struct Event {
    /// Name of the watch or listen (as in the configuration), or `publish` for ready-made publications.
    pub source: Arc<str>,
    pub op: Op,
    /// The row after the change, as JSON.
    pub row: Option<Bytes>,
    /// The row before the change, as JSON, where the watch asks for it.
    pub old: Option<Bytes>,
    /// A message's text (JSON or not); absent for rows.
    pub message: Option<Bytes>,
    /// The channel that the event came from: a NOTIFY or Redis channel, or the channel of a publish.
    pub channel: Option<Arc<str>>,
    /// The event's name, where the publisher gave one.
    pub name: Option<Arc<str>>,
    pub id: EventId,
    /// When it happened as far as the source knows (the trigger's clock), otherwise when it was received.
    pub at: SystemTime,
}

/// A payload: JSON as it came, or text that is no JSON (a bare NOTIFY payload).
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Data {
    Json(Bytes),
    Text(Bytes),
}

impl Data {
    /// Takes a message: JSON if it parses as such, otherwise text.
    pub fn sniff(bytes: Bytes) -> Self {
        match serde_json::from_slice::<&serde_json::value::RawValue>(&bytes) {
            Ok(_) => Self::Json(bytes),
            Err(_) => Self::Text(bytes),
        }
    }

    /// The bytes as they came; what a bare endpoint sends.
    pub fn raw(&self) -> &Bytes {
        match self {
            Self::Json(bytes) | Self::Text(bytes) => bytes,
        }
    }

    /// The payload as a JSON value: text becomes a JSON string.
    pub fn json(&self) -> std::borrow::Cow<'_, [u8]> {
        match self {
            Self::Json(bytes) => std::borrow::Cow::Borrowed(bytes),
            Self::Text(bytes) => {
                let text = String::from_utf8_lossy(bytes);
                std::borrow::Cow::Owned(serde_json::Value::from(text).to_string().into_bytes())
            }
        }
    }
}

/// A field of a payload that is still encrypted, as it came from its source.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Sealed {
    /// Its key in the payload.
    pub field: Arc<str>,
    /// Name of the `[[decrypt]]` section that opens it: a text, so that a log can keep it.
    pub with: Arc<str>,
    /// What it is bound to; `None` where the section binds nothing, or where a value for that was missing.
    pub aad: Option<Bytes>,
}

/// Data addressed to channels; the log gives it a position.
#[derive(Debug, Clone)]
pub struct Publication {
    /// At least one channel. A session that follows several of them gets the publication once.
    pub channels: SmallVec<[Arc<str>; 2]>,
    /// The event's name as clients see it.
    pub event: Arc<str>,
    pub data: Data,
    /// Which fields of the data are encrypted; opened when the entry enters the window.
    pub sealed: Box<[Sealed]>,
    pub id: EventId,
    pub at: SystemTime,
}
