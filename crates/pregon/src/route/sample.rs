//! An event as somebody writes it down to see what the routes would do with it.

use std::sync::Arc;

use bytes::Bytes;
use serde::Deserialize;
use serde_json::value::RawValue;
use serde_json::{Map, Value};

use super::rule::CLIENTS;
use crate::auth::Claims;
use crate::config::Config;
use pregon_capture::change::Op;

use crate::event::{Data, Event, What};

/// A sample; for a message the row stands for it.
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Sample {
    pub source: String,
    /// `insert` where nothing is said.
    #[serde(default)]
    pub op: Option<String>,
    #[serde(default)]
    pub row: Option<Box<RawValue>>,
    /// A message that is no JSON.
    #[serde(default)]
    pub text: Option<String>,
    #[serde(default)]
    pub old: Option<Box<RawValue>>,
    /// What a client emits, for the source `clients`.
    #[serde(default)]
    pub event: Option<String>,
    #[serde(default)]
    pub claims: Option<Map<String, Value>>,
}

/// What is wrong with a sample.
#[derive(Debug, thiserror::Error)]
#[error("{part}: {message}")]
pub(crate) struct Wrong {
    /// Which part of it.
    pub part: &'static str,
    pub message: String,
}

impl Wrong {
    fn new(part: &'static str, message: impl Into<String>) -> Self {
        let message = message.into();
        Self { part, message }
    }
}

impl Sample {
    /// The event that it stands for.
    pub(crate) fn event(&self, config: &Config) -> Result<Event, Wrong> {
        let source: Arc<str> = self.source.as_str().into();
        let text = self.text.clone().map(Bytes::from);
        let text = text.or_else(|| self.row.as_deref().map(bytes));
        if self.source == CLIENTS && config.socketio.is_some() {
            let name = self.event.as_deref();
            let name = name.ok_or_else(|| Wrong::new("event", "name what the client emits"))?;
            let text = text.unwrap_or_else(|| "null".into());
            let what = What::Emitted {
                name: name.into(),
                payload: Data::sniff(text.clone()),
                text,
                claims: self.claims.clone().map(|claims| Claims::new(claims, None)),
            };
            return Ok(Event::new(source, what));
        }
        let listen = config.listen.iter().find(|listen| listen.name == self.source);
        let listen = listen.map(|listen| listen.channel.as_str());
        let origin = listen.or_else(|| config.redis.as_ref()?.origin(&self.source));
        if let Some(origin) = origin {
            let what = What::Message {
                channel: origin.into(),
                text: text.unwrap_or_default(),
            };
            return Ok(Event::new(source, what));
        }
        if config.webhook.iter().any(|webhook| webhook.name == self.source) {
            let what = What::Delivery {
                name: None,
                text: text.unwrap_or_default(),
            };
            return Ok(Event::new(source, what));
        }
        if config.watch.iter().any(|watch| watch.name == self.source) {
            return self.change(source);
        }
        let clients = config.socketio.is_some().then_some(CLIENTS);
        let known = config.sources().chain(clients).collect::<Vec<_>>().join(", ");
        let message = format!("there is no {}; there are: {known}", self.source);
        Err(Wrong::new("source", message))
    }

    fn change(&self, source: Arc<str>) -> Result<Event, Wrong> {
        let op = match self.op.as_deref() {
            None | Some("insert") => Op::Insert,
            Some("update") => Op::Update,
            Some("delete") => Op::Delete,
            Some("truncate") => Op::Truncate,
            Some(_) => return Err(Wrong::new("op", "insert, update, delete or truncate")),
        };
        let row = self.row.as_deref().map(|row| object("row", row)).transpose()?;
        let mut old = self.old.as_deref().map(|old| object("old", old)).transpose()?;
        if row.is_none() && op != Op::Truncate {
            return Err(Wrong::new("row", "give a sample row as a JSON object"));
        }
        // What a delete carries is the row that was.
        let new = match op {
            Op::Delete => {
                old = row;
                None
            }
            _ => row,
        };
        Ok(Event::new(source, What::Row { op, new, old }))
    }
}

fn bytes(raw: &RawValue) -> Bytes {
    Bytes::copy_from_slice(raw.get().as_bytes())
}

fn object(part: &'static str, raw: &RawValue) -> Result<Bytes, Wrong> {
    match raw.get().starts_with('{') {
        true => Ok(bytes(raw)),
        false => Err(Wrong::new(part, "give a JSON object")),
    }
}
