//! What rules look at: one event (`row`, `old`, `op`, `message`, `channel`) or one client (`claims`, `channel.<capture>`).
//!
//! A scope is made once per event and shared by all rules; rows are read only when a rule looks inside, and then once.

use std::borrow::Cow;
use std::sync::OnceLock;

use cel::common::types::{CelMap, CelMapKey, CelNull, CelString};
use cel::common::value::{CowVal, Val};

use super::json::{CelJson, Fields, descend, plain};
use crate::event::{Event, Op};

/// A JSON text that is read on first use.
#[derive(Default)]
struct Lazy<'e> {
    json: Option<&'e [u8]>,
    fields: OnceLock<Fields<'e>>,
    value: OnceLock<Box<dyn Val + 'e>>,
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
            Some(json) => CelJson::read(json),
            None => Box::new(CelNull),
        });
        CowVal::Borrowed(value.as_ref())
    }
}

/// What a rule can see.
pub struct Scope<'e> {
    op: Option<Op>,
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
}

impl<'e> Scope<'e> {
    fn empty() -> Self {
        Self {
            op: None,
            row: Lazy::default(),
            old: Lazy::default(),
            message: Lazy::default(),
            text: None,
            claims: Lazy::default(),
            channel: None,
            event: None,
            captures: OnceLock::new(),
            captured: &[],
        }
    }

    /// The scope of an event. The `row` of a delete is the deleted row.
    pub fn event(event: &'e Event) -> Self {
        let old = event.old.as_deref();
        let message = event.message.as_deref();
        let json = message.filter(|text| serde_json::from_slice::<serde::de::IgnoredAny>(text).is_ok());
        Self {
            op: Some(event.op),
            row: Lazy::new(event.row.as_deref().or(old)),
            old: Lazy::new(old),
            message: Lazy::new(json),
            text: message
                .filter(|_| json.is_none())
                .and_then(|text| std::str::from_utf8(text).ok()),
            channel: event.channel.as_deref(),
            event: event.name.as_deref(),
            claims: Lazy::new(event.claims.as_ref().map(|claims| claims.json())),
            ..Self::empty()
        }
    }

    /// The scope of a right: a client's claims (as JSON) and what a channel's name captured.
    pub fn client(claims: Option<&'e [u8]>, captured: &'e [(&'e str, &'e str)]) -> Self {
        Self {
            claims: Lazy::new(claims),
            captured,
            ..Self::empty()
        }
    }

    /// The value of a template's hole: a column (or a field of a JSON message), or a path from `row`, `old`, `message`, `claims`, `op`, `channel`.
    pub fn text(&self, name: &str) -> Option<Cow<'_, str>> {
        match self.op {
            Some(op) if name == "op" => return Some(Cow::Borrowed(op.as_str())),
            Some(_) if name == "channel" => return self.channel.map(Cow::Borrowed),
            Some(_) if name == "event" && self.event.is_some() => return self.event.map(Cow::Borrowed),
            Some(_) if name == "message" && self.text.is_some() => return self.text.map(Cow::Borrowed),
            _ => {}
        }
        if let Some(capture) = name.strip_prefix("channel.") {
            return self
                .captured
                .iter()
                .find(|(known, _)| *known == capture)
                .map(|(_, value)| Cow::Borrowed(*value));
        }
        plain(self.raw(&name.split('.').collect::<Vec<_>>())?)
    }

    /// The JSON text at a path. A column may be named without `row`; so may a field of a message.
    pub fn raw(&self, path: &[&str]) -> Option<&'e str> {
        match path {
            ["row", rest @ ..] if self.row.json.is_some() => self.row.raw(rest),
            ["old", rest @ ..] if self.old.json.is_some() => self.old.raw(rest),
            ["message", rest @ ..] if self.message.json.is_some() => self.message.raw(rest),
            ["claims", rest @ ..] => self.claims.raw(rest),
            ["row" | "old" | "message", ..] => None,
            [_, ..] if self.op.is_none() => self.claims.raw(path),
            [_, ..] => self.row.raw(path).or_else(|| self.message.raw(path)),
            [] => None,
        }
    }

    /// The JSON text of a column, or of a field of a message, whatever its name is: `message` may be a column too.
    pub fn field(&self, name: &str) -> Option<&'e str> {
        self.row.raw(&[name]).or_else(|| self.message.raw(&[name]))
    }

    /// The value of a parameter in SQL, as text: objects and lists as JSON, null as `None`.
    pub fn sql_text(&self, name: &str) -> Option<String> {
        if let Some(text) = self.text(name) {
            return Some(text.into_owned());
        }
        let raw = self.raw(&name.split('.').collect::<Vec<_>>())?;
        (raw.starts_with('{') || raw.starts_with('[')).then(|| raw.to_owned())
    }

    fn channel_value(&self) -> CowVal<'_, '_> {
        let value = self.captures.get_or_init(|| {
            if self.op.is_some() {
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
            "op" => CowVal::owned(CelString::from(self.op?.as_str())),
            "channel" => self.channel_value(),
            "event" => match self.event {
                Some(name) => CowVal::owned(CelString::from(name)),
                None => CowVal::owned(CelNull),
            },
            _ => return None,
        })
    }
}
