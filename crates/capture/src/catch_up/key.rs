//! A row's key: an integer, which can be counted back, or text. Pure.

use std::fmt;

use serde::{Deserialize, Serialize};
use serde_json::Value;

/// A key. All keys of one table are of one kind.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(untagged)]
pub enum Key {
    Number(i64),
    Text(String),
}

impl Key {
    /// A key as PostgreSQL writes it.
    pub fn from_text(text: String) -> Self {
        match text.parse::<i64>() {
            // "007" is a text that only looks like a number.
            Ok(number) if number.to_string() == text => Self::Number(number),
            _ => Self::Text(text),
        }
    }

    /// A key from a payload: a JSON number or string.
    pub fn from_json(value: &Value) -> Option<Self> {
        match value {
            Value::Number(number) => Some(Self::from_text(number.to_string())),
            Value::String(text) => Some(Self::from_text(text.clone())),
            _ => None,
        }
    }

    /// The key that lies `by` before it; text cannot be counted back.
    pub(super) fn back(&self, by: u64) -> Self {
        match self {
            Self::Number(number) => Self::Number(number.saturating_sub_unsigned(by)),
            Self::Text(text) => Self::Text(text.clone()),
        }
    }
}

impl fmt::Display for Key {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Number(number) => number.fmt(f),
            Self::Text(text) => text.fmt(f),
        }
    }
}
