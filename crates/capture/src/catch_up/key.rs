//! A row's key: an integer, which can be counted back, or text. Pure.

use std::fmt;

use serde::de::{Deserializer, MapAccess, Visitor};
use serde::{Deserialize, Serialize};
use serde_json::Value;
use serde_json::value::RawValue;

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

    /// The key of a JSON object, whatever else stands in it.
    pub(super) fn of_field(json: &[u8], name: &str) -> Option<Self> {
        let Members(members) = serde_json::from_slice(json).ok()?;
        let named = |(quoted, _): &&(&RawValue, &RawValue)| {
            serde_json::from_str::<String>(quoted.get()).is_ok_and(|known| known == name)
        };
        // Of a repeated one the last, as `jsonb` has it.
        let (_, value) = members.iter().rev().find(named)?;
        Self::from_json(&serde_json::from_str(value.get()).ok()?)
    }

    /// The key that lies `by` before it; text cannot be counted back.
    pub(super) fn back(&self, by: u64) -> Self {
        match self {
            Self::Number(number) => Self::Number(number.saturating_sub_unsigned(by)),
            Self::Text(text) => Self::Text(text.clone()),
        }
    }
}

/// Names and values of an object as they were written, so that one that cannot be read hides no other.
struct Members<'j>(Vec<(&'j RawValue, &'j RawValue)>);

impl<'de: 'j, 'j> Deserialize<'de> for Members<'j> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct MembersVisitor;
        impl<'de> Visitor<'de> for MembersVisitor {
            type Value = Members<'de>;
            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("an object")
            }
            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Members<'de>, A::Error> {
                let mut members = Vec::new();
                while let Some(member) = map.next_entry()? {
                    members.push(member);
                }
                Ok(Members(members))
            }
        }
        deserializer.deserialize_map(MembersVisitor)
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_stands_beside_a_key_does_not_hide_it() {
        let deep = format!(r#"{{"d":{}{},"id":7}}"#, "[".repeat(500), "]".repeat(500));
        for row in [
            r#"{"n":1e400,"id":7}"#,
            r#"{"cut \ud83d":"\ud83d","id":7}"#,
            &deep,
        ] {
            assert_eq!(Key::of_field(row.as_bytes(), "id"), Some(Key::Number(7)), "{row}");
        }
        assert_eq!(
            Key::of_field(br#"{"id":"x","id":"y"}"#, "id"),
            Some(Key::Text("y".into()))
        );
        for none in ["", "[1]", "hola", r#"{"id":null}"#, r#"{"no":1}"#] {
            assert_eq!(Key::of_field(none.as_bytes(), "id"), None, "{none}");
        }
    }
}
