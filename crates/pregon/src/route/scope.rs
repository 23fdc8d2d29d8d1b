//! What rules look at: one event (`row`, `old`, `op`, `message`, `channel`) or one client (`claims`, `channel.<capture>`).
//!
//! A scope is made once per event and shared by all rules; rows are read only when a rule looks inside, and then once.
//! Templates and parameters name columns plainly (`{channel}` of a row is its column `channel`); expressions name variables.

use std::borrow::Cow;
use std::sync::OnceLock;
use std::sync::atomic::{AtomicU32, Ordering};

use cel::common::types::{CelMap, CelMapKey, CelNull, CelString};
use cel::common::value::{CowVal, Val};

use super::json::{CelJson, Fields, descend, plain};

use crate::event::{Event, MESSAGE};
use pregon_capture::change::Op;

/// A JSON text that is read on first use.
#[derive(Default)]
struct Lazy<'e> {
    json: Option<&'e [u8]>,
    fields: OnceLock<Fields<'e>>,
    value: OnceLock<Box<dyn Val + 'e>>,
    /// Values in it that could not be read, known once it was.
    unreadable: AtomicU32,
}

impl<'e> Lazy<'e> {
    fn new(json: Option<&'e [u8]>) -> Self {
        Self {
            json,
            ..Self::default()
        }
    }

    fn raw(&self, path: &[&str]) -> Option<&'e str> {
        let json = self.json?;
        let Some((first, rest)) = path.split_first() else {
            return std::str::from_utf8(json).ok();
        };
        descend(self.fields.get_or_init(|| Fields::read(json)).get(first)?, rest)
    }

    fn value<'b>(&'b self) -> CowVal<'b, 'b> {
        let value = self.value.get_or_init(|| match self.json {
            Some(json) => {
                let (value, unreadable) = CelJson::read(json);
                self.unreadable.store(unreadable, Ordering::Relaxed);
                value
            }
            None => Box::new(CelNull),
        });
        CowVal::Borrowed(value.as_ref())
    }
}

/// Whom or what the scope is of.
#[derive(Debug, Clone, Copy)]
enum Subject {
    /// A client whose rights are asked for.
    Client,
    /// A row that changed.
    Row(Op),
    /// A message, delivery, publish or emit.
    Message,
}

impl Subject {
    /// The operation as conditions and templates say it; a client has none.
    fn word(self) -> Option<&'static str> {
        match self {
            Self::Client => None,
            Self::Row(op) => Some(op.as_str()),
            Self::Message => Some(MESSAGE),
        }
    }
}

/// What a rule can see.
pub(crate) struct Scope<'e> {
    subject: Subject,
    row: Lazy<'e>,
    old: Lazy<'e>,
    message: Lazy<'e>,
    /// A message that is no JSON, as text.
    text: Option<&'e str>,
    claims: Lazy<'e>,
    channel: Option<&'e str>,
    /// The event's name, where its publisher gave one.
    event: Option<&'e str>,
    captures: OnceLock<Box<dyn Val + 'e>>,
    captured: &'e [(&'e str, &'e str)],
    /// Texts that a template or parameter named and that could not be read.
    texts: AtomicU32,
}

impl<'e> Scope<'e> {
    fn empty() -> Self {
        Self {
            subject: Subject::Client,
            row: Lazy::default(),
            old: Lazy::default(),
            message: Lazy::default(),
            text: None,
            claims: Lazy::default(),
            channel: None,
            event: None,
            captures: OnceLock::new(),
            captured: &[],
            texts: AtomicU32::new(0),
        }
    }

    /// The scope of an event. The `row` of a delete is the deleted row.
    pub(crate) fn event(event: &'e Event) -> Self {
        let old = event.old_row().map(|old| &**old);
        let message = event.text().map(|text| &**text);
        let json = message.filter(|text| serde_json::from_slice::<serde::de::IgnoredAny>(text).is_ok());
        Self {
            subject: event.op().map_or(Subject::Message, Subject::Row),
            row: Lazy::new(event.new_row().map(|new| &**new).or(old)),
            old: Lazy::new(old),
            message: Lazy::new(json),
            text: message
                .filter(|_| json.is_none())
                .and_then(|text| std::str::from_utf8(text).ok()),
            channel: event.channel().map(|channel| &**channel),
            event: event.name().map(|name| &**name),
            claims: Lazy::new(event.claims().map(|claims| claims.json())),
            ..Self::empty()
        }
    }

    /// The scope of a right: a client's claims (as JSON) and what a channel's name captured.
    pub(crate) fn client(claims: Option<&'e [u8]>, captured: &'e [(&'e str, &'e str)]) -> Self {
        Self {
            claims: Lazy::new(claims),
            captured,
            ..Self::empty()
        }
    }

    /// The value of a template's hole: a column (or a field of a JSON message), or a path from `row`, `old`, `message`, `claims`, `op`, `channel`.
    pub(crate) fn text(&self, name: &str) -> Option<Cow<'_, str>> {
        match self.subject {
            Subject::Row(_) | Subject::Message if name == "op" => {
                return self.subject.word().map(Cow::Borrowed);
            }
            Subject::Message => match name {
                "channel" => return self.channel.map(Cow::Borrowed),
                "event" if self.event.is_some() => return self.event.map(Cow::Borrowed),
                "message" if self.text.is_some() => return self.text.map(Cow::Borrowed),
                _ => {}
            },
            _ => {}
        }
        if matches!(self.subject, Subject::Client)
            && let Some(capture) = name.strip_prefix("channel.")
        {
            return self
                .captured
                .iter()
                .find(|(known, _)| *known == capture)
                .map(|(_, value)| Cow::Borrowed(*value));
        }
        let json = self.named(&name.split('.').collect::<Vec<_>>())?;
        let text = plain(json);
        if text.is_none() && json.starts_with('"') {
            self.texts.fetch_add(1, Ordering::Relaxed);
        }
        text
    }

    /// Whether the row or message has what a template or parameter names, be it null.
    pub(crate) fn has(&self, name: &str) -> bool {
        self.text(name).is_some() || self.named(&name.split('.').collect::<Vec<_>>()).is_some()
    }

    /// The JSON text of a path of variables, as expressions have them.
    pub(crate) fn raw(&self, path: &[&str]) -> Option<&'e str> {
        match path {
            ["row", rest @ ..] => self.row.raw(rest),
            ["old", rest @ ..] => self.old.raw(rest),
            ["message", rest @ ..] => self.message.raw(rest),
            ["claims", rest @ ..] => self.claims.raw(rest),
            _ => None,
        }
    }

    /// The JSON text that a template or a parameter names: a column or a field of a message plainly, or a path of variables.
    fn named(&self, path: &[&str]) -> Option<&'e str> {
        match (self.subject, path) {
            (_, []) => None,
            (Subject::Client, ["claims", ..]) => self.raw(path),
            (Subject::Client, ["row" | "old" | "message", ..]) => None,
            (Subject::Client, _) => self.claims.raw(path),
            (Subject::Message, ["row" | "old" | "message" | "claims", ..]) => self.raw(path),
            (Subject::Message, _) => self.message.raw(path),
            // A row has no message, channel, event or claims: such a name is its column's, and so is a bare `row` or `old`.
            (Subject::Row(_), ["row" | "old", _, ..]) => self.raw(path),
            (Subject::Row(_), _) => self.row.raw(path),
        }
    }

    /// How many values that a rule has looked at, or might have, could not be read and were null.
    pub(crate) fn unreadable(&self) -> u32 {
        let of = |lazy: &Lazy<'_>| lazy.unreadable.load(Ordering::Relaxed);
        // The row of a delete is the old one.
        let same = self.row.json.map(<[u8]>::as_ptr) == self.old.json.map(<[u8]>::as_ptr);
        let rows = if same {
            of(&self.row).max(of(&self.old))
        } else {
            of(&self.row) + of(&self.old)
        };
        rows + of(&self.message) + self.texts.load(Ordering::Relaxed)
    }

    /// The JSON text of a column, or of a field of a message, whatever its name is: `message` may be a column too.
    pub(crate) fn field(&self, name: &str) -> Option<&'e str> {
        self.row.raw(&[name]).or_else(|| self.message.raw(&[name]))
    }

    /// The value of a parameter in SQL, as text: objects and lists as JSON, null as `None`.
    pub(crate) fn sql_text(&self, name: &str) -> Option<String> {
        if let Some(text) = self.text(name) {
            return Some(text.into_owned());
        }
        let raw = self.named(&name.split('.').collect::<Vec<_>>())?;
        (raw.starts_with('{') || raw.starts_with('[')).then(|| raw.to_owned())
    }

    fn channel_value(&self) -> CowVal<'_, '_> {
        let value = self.captures.get_or_init(|| {
            if !matches!(self.subject, Subject::Client) {
                return match self.channel {
                    Some(name) => Box::new(CelString::from(name)) as Box<dyn Val + 'e>,
                    None => Box::new(CelNull),
                };
            }
            let entries = self.captured.iter().map(|(name, value)| {
                (
                    CelMapKey::from(*name),
                    Box::new(CelString::from(*value)) as Box<dyn Val + 'e>,
                )
            });
            Box::new(CelMap::from(entries.collect::<std::collections::HashMap<_, _>>()))
        });
        CowVal::Borrowed(value.as_ref())
    }
}

impl cel::context::VariableResolver for Scope<'_> {
    fn resolve<'b>(&'b self, variable: &str) -> Option<CowVal<'b, 'b>> {
        Some(match variable {
            "row" => self.row.value(),
            "old" => self.old.value(),
            "message" => match self.text {
                Some(text) => CowVal::owned(CelString::from(text)),
                None => self.message.value(),
            },
            "claims" => self.claims.value(),
            "op" => CowVal::owned(CelString::from(self.subject.word()?)),
            "channel" => self.channel_value(),
            "event" => match self.event {
                Some(name) => CowVal::owned(CelString::from(name)),
                None => CowVal::owned(CelNull),
            },
            _ => return None,
        })
    }
}
