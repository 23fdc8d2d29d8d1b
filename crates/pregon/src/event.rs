//! What sources yield and what the router makes of it: `Event` (not yet addressed) and `Publication` (addressed).
//!
//! Both carry their JSON as the raw bytes that the source gave, so that a row is parsed only where a rule looks inside it.

use std::sync::Arc;
use std::time::SystemTime;

use bytes::Bytes;
use pregon_capture::change::Op;
use pregon_wire::socketio::fill_placeholders;
use smallvec::SmallVec;

use crate::auth::Claims;

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

/// The word that conditions, templates and default event names have in place of an operation, where no row changed.
pub(crate) const MESSAGE: &str = "message";

/// A fact from a source, not yet addressed to anyone.
#[derive(Debug, Clone)]
pub struct Event {
    /// Name of the watch, listen, webhook or source of Redis (as in the configuration), or `publish` for ready-made publications.
    pub source: Arc<str>,
    pub what: What,
    pub id: EventId,
    /// When it happened as far as the source knows (the trigger's clock), otherwise when it was received.
    pub at: SystemTime,
}

/// What happened.
#[derive(Debug, Clone)]
pub enum What {
    /// A row of a watched table changed.
    Row {
        op: Op,
        /// The row after the change, as JSON.
        new: Option<Bytes>,
        /// The row before the change, as JSON, where the watch asks for it.
        old: Option<Bytes>,
    },
    /// A NOTIFY or Redis channel had a message.
    Message { channel: Arc<str>, text: Bytes },
    /// A webhook had a delivery, with the name that its sender gave it.
    Delivery { name: Option<Arc<str>>, text: Bytes },
    /// The application has published to a channel: nothing has to address it.
    Published {
        channel: Arc<str>,
        name: Arc<str>,
        text: Bytes,
    },
    /// A client of Socket.IO has emitted. `text`: its first argument; `payload`: all of them.
    Emitted {
        name: Arc<str>,
        text: Bytes,
        payload: Data,
        claims: Option<Claims>,
    },
}

impl Event {
    /// An event of now that its source cannot repeat.
    pub fn new(source: Arc<str>, what: What) -> Self {
        Self {
            source,
            what,
            id: EventId::unique(),
            at: SystemTime::now(),
        }
    }

    /// What happened to the row; `None` where no row changed.
    pub fn op(&self) -> Option<Op> {
        match self.what {
            What::Row { op, .. } => Some(op),
            _ => None,
        }
    }

    /// The operation as conditions, templates and default event names say it.
    pub fn word(&self) -> &'static str {
        self.op().map_or(MESSAGE, Op::as_str)
    }

    /// The row after the change.
    pub fn new_row(&self) -> Option<&Bytes> {
        match &self.what {
            What::Row { new, .. } => new.as_ref(),
            _ => None,
        }
    }

    /// The row before the change.
    pub fn old_row(&self) -> Option<&Bytes> {
        match &self.what {
            What::Row { old, .. } => old.as_ref(),
            _ => None,
        }
    }

    /// A message's text (JSON or not); absent for rows.
    pub fn text(&self) -> Option<&Bytes> {
        match &self.what {
            What::Row { .. } => None,
            What::Message { text, .. }
            | What::Delivery { text, .. }
            | What::Published { text, .. }
            | What::Emitted { text, .. } => Some(text),
        }
    }

    /// The body that a query's columns are put over: the row, of a delete the deleted one, or the message.
    pub fn body_mut(&mut self) -> Option<&mut Bytes> {
        match &mut self.what {
            What::Row { new: Some(row), .. } => Some(row),
            What::Row { old, .. } => old.as_mut(),
            What::Message { text, .. }
            | What::Delivery { text, .. }
            | What::Published { text, .. }
            | What::Emitted { text, .. } => Some(text),
        }
    }

    /// The channel that the event came from or was published to.
    pub fn channel(&self) -> Option<&Arc<str>> {
        match &self.what {
            What::Message { channel, .. } | What::Published { channel, .. } => Some(channel),
            _ => None,
        }
    }

    /// The event's name, where its sender gave one.
    pub fn name(&self) -> Option<&Arc<str>> {
        match &self.what {
            What::Delivery { name, .. } => name.as_ref(),
            What::Published { name, .. } | What::Emitted { name, .. } => Some(name),
            _ => None,
        }
    }

    /// Who sent it, where it came from a client.
    pub fn claims(&self) -> Option<&Claims> {
        match &self.what {
            What::Emitted { claims, .. } => claims.as_ref(),
            _ => None,
        }
    }
}

/// A payload: JSON as it came, text that is no JSON (a bare NOTIFY payload), or what only Socket.IO can say.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Data {
    Json(Bytes),
    Text(Bytes),
    /// The arguments of a Socket.IO emit that are not exactly one JSON value.
    Args(Arc<Args>),
}

/// No argument, several, or some with bytes in them.
#[derive(Debug, PartialEq, Eq)]
pub struct Args {
    /// Raw JSON values with commas between; `{"_placeholder":true,"num":0}` stands for the first attachment.
    list: Bytes,
    attachments: Vec<Bytes>,
    /// What other protocols get: the only argument or a list of all, with attachments as base64 texts.
    json: Bytes,
}

impl Args {
    /// Arguments that were taken apart by the three methods below.
    pub fn of_parts(list: Bytes, attachments: Vec<Bytes>, json: Bytes) -> Self {
        Self {
            list,
            attachments,
            json,
        }
    }

    /// The arguments as one JSON value.
    pub fn json(&self) -> &[u8] {
        &self.json
    }

    /// What a Socket.IO event carries behind its name.
    pub fn list(&self) -> &[u8] {
        &self.list
    }

    /// In the order of their numbers.
    pub fn attachments(&self) -> &[Bytes] {
        &self.attachments
    }
}

impl Data {
    /// The arguments of an emit: `list` is the inside of a JSON array of `count` values, with placeholders for `attachments`.
    /// One value without attachments is plain JSON.
    pub fn args(list: Bytes, count: usize, attachments: Vec<Bytes>) -> Self {
        if count == 1 && attachments.is_empty() {
            return Self::Json(list);
        }
        let json = without_placeholders(&list, count, &attachments);
        Self::Args(Arc::new(Args {
            list,
            attachments,
            json,
        }))
    }

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
            Self::Args(args) => &args.json,
        }
    }

    /// Bytes that the payload holds.
    pub fn weight(&self) -> usize {
        match self {
            Self::Json(bytes) | Self::Text(bytes) => bytes.len(),
            Self::Args(args) => {
                args.list.len() + args.json.len() + args.attachments.iter().map(Bytes::len).sum::<usize>()
            }
        }
    }

    /// The payload as a JSON value: text becomes a JSON string.
    pub fn json(&self) -> std::borrow::Cow<'_, [u8]> {
        match self {
            Self::Json(bytes) => std::borrow::Cow::Borrowed(bytes),
            Self::Args(args) => std::borrow::Cow::Borrowed(&args.json),
            Self::Text(bytes) => {
                let text = String::from_utf8_lossy(bytes);
                std::borrow::Cow::Owned(serde_json::Value::from(text).to_string().into_bytes())
            }
        }
    }
}

/// The arguments as one JSON value that needs no Socket.IO to be read.
fn without_placeholders(list: &[u8], count: usize, attachments: &[Bytes]) -> Bytes {
    let mut array = Vec::with_capacity(list.len() + 2);
    array.push(b'[');
    array.extend_from_slice(list);
    array.push(b']');
    if attachments.is_empty() {
        return array.into();
    }
    let filled = match std::str::from_utf8(if count == 1 { list } else { &array }) {
        Ok(json) => fill_placeholders(json, &|number| base64_text(attachments, number)),
        Err(_) => return array.into(),
    };
    filled.into()
}

/// An attachment as a JSON text.
fn base64_text(attachments: &[Bytes], number: u64) -> Option<String> {
    use base64::Engine as _;
    let bytes = attachments.get(usize::try_from(number).ok()?)?;
    let text = base64::engine::general_purpose::STANDARD.encode(bytes);
    Some(format!("\"{text}\""))
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
    /// A session that follows one of these gets nothing (`except` of Socket.IO); usually none.
    pub except: Box<[Arc<str>]>,
    /// The event's name as clients see it.
    pub event: Arc<str>,
    pub data: Data,
    /// Which fields of the data are encrypted; opened when the entry enters the window.
    pub sealed: Box<[Sealed]>,
    /// The fields that were encrypted and have been opened.
    pub opened: Box<[Arc<str>]>,
    pub id: EventId,
    pub at: SystemTime,
}

impl Publication {
    /// A publication of now that its source never sends twice.
    pub fn new(channels: impl IntoIterator<Item = Arc<str>>, event: impl Into<Arc<str>>, data: Data) -> Self {
        Self {
            channels: channels.into_iter().collect(),
            except: Box::default(),
            event: event.into(),
            data,
            sealed: Box::default(),
            opened: Box::default(),
            id: EventId::unique(),
            at: SystemTime::now(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn args(list: &'static str, count: usize, attachments: &[&'static [u8]]) -> Data {
        let attachments = attachments
            .iter()
            .map(|bytes| Bytes::from_static(bytes))
            .collect();
        Data::args(list.into(), count, attachments)
    }

    fn json(data: &Data) -> String {
        String::from_utf8_lossy(&data.json()).into_owned()
    }

    #[test]
    fn one_argument_is_plain_json_and_others_are_a_list() {
        assert_eq!(args("10.50", 1, &[]), Data::Json("10.50".into()));
        assert_eq!(json(&args("10.50,{}", 2, &[])), "[10.50,{}]");
        assert_eq!(json(&args("", 0, &[])), "[]");
    }

    #[test]
    fn bytes_are_base64_for_those_who_know_no_attachments() {
        let one = args(
            r#"{"file":{"_placeholder":true,"num":0},"n":1}"#,
            1,
            &[&[1, 2, 3]],
        );
        assert_eq!(json(&one), r#"{"file":"AQID","n":1}"#);
        let two = args(
            r#"{"_placeholder":true,"num":1},{"_placeholder":true,"num":9}"#,
            2,
            &[b"", b"\xff"],
        );
        assert_eq!(json(&two), r#"["/w==",{"_placeholder":true,"num":9}]"#);
        let strange = args(
            r#"{"z":10.50,"f":{"_placeholder":true,"num":0},"a":1e400,"t":"cut \ud83d"}"#,
            1,
            &[b"\xff"],
        );
        assert_eq!(
            json(&strange),
            r#"{"z":10.50,"f":"/w==","a":1e400,"t":"cut \ud83d"}"#
        );
    }
}
