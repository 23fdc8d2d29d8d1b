//! Entries of a stream: their ids, the reply that holds them, and the message that an entry carries.

use std::fmt;
use std::str::FromStr;
use std::time::{Duration, SystemTime};

use bytes::Bytes;
use hashbrown::HashMap;
use redis::Value;

/// `milliseconds-number`, in their order.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Default)]
pub(super) struct Id(pub(super) u64, pub(super) u64);

impl FromStr for Id {
    type Err = std::num::ParseIntError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let (time, number) = text.split_once('-').unwrap_or((text, "0"));
        Ok(Self(time.parse()?, number.parse()?))
    }
}

impl fmt::Display for Id {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}-{}", self.0, self.1)
    }
}

/// Earlier times are not of Redis' clock but numbers of the application.
const CLOCK: u64 = 946_684_800_000; // The year 2000.

impl Id {
    /// When the entry was added, where the id says so.
    pub(super) fn at(self) -> SystemTime {
        let now = SystemTime::now();
        if self.0 < CLOCK {
            return now;
        }
        let at = SystemTime::UNIX_EPOCH.checked_add(Duration::from_millis(self.0));
        at.map_or(now, |at| at.min(now))
    }
}

/// One entry.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Entry {
    pub(super) id: Id,
    /// Absent if it was deleted after it had been delivered to us the first time.
    pub(super) fields: Option<Vec<(Vec<u8>, Vec<u8>)>>,
}

/// The entries of the one stream that a reply to XREADGROUP is about; `None` if it is of another form.
pub(super) fn entries(reply: Value) -> Option<Vec<Entry>> {
    let list = match reply {
        Value::Nil => return Some(Vec::new()),
        Value::Map(streams) => streams.into_iter().next()?.1,
        Value::Array(streams) => match streams.into_iter().next() {
            None => return Some(Vec::new()),
            Some(Value::Array(pair)) => pair.into_iter().nth(1)?,
            Some(_) => return None,
        },
        _ => return None,
    };
    let Value::Array(list) = list else { return None };
    list.into_iter().map(entry).collect()
}

fn entry(value: Value) -> Option<Entry> {
    let Value::Array(pair) = value else { return None };
    let mut pair = pair.into_iter();
    let id = String::from_utf8(bytes(pair.next()?)?).ok()?.parse().ok()?;
    let fields = match pair.next()? {
        Value::Nil => None,
        Value::Array(flat) => {
            let mut flat = flat.into_iter();
            let mut fields = Vec::with_capacity(flat.len() / 2);
            while let Some(name) = flat.next() {
                fields.push((bytes(name)?, bytes(flat.next()?)?));
            }
            Some(fields)
        }
        _ => return None,
    };
    Some(Entry { id, fields })
}

/// The message of an entry: the field of this name, unchanged, or an object of all fields.
pub(super) fn message(fields: Vec<(Vec<u8>, Vec<u8>)>, field: &str) -> Bytes {
    let own = fields.iter().rposition(|(name, _)| name == field.as_bytes());
    match own {
        Some(place) => fields
            .into_iter()
            .nth(place)
            .map(|(_, value)| value.into())
            .unwrap_or_default(),
        None => object(&fields),
    }
}

/// The fields in their order, as texts; of a field that comes twice the last.
fn object(fields: &[(Vec<u8>, Vec<u8>)]) -> Bytes {
    let last: HashMap<&[u8], usize> = fields
        .iter()
        .enumerate()
        .map(|(place, (name, _))| (name.as_slice(), place))
        .collect();
    let quoted = |bytes: &[u8]| serde_json::Value::from(String::from_utf8_lossy(bytes)).to_string();
    let pairs = fields
        .iter()
        .enumerate()
        .filter(|(place, (name, _))| last.get(name.as_slice()) == Some(place))
        .map(|(_, (name, value))| format!("{}:{}", quoted(name), quoted(value)));
    format!("{{{}}}", pairs.collect::<Vec<_>>().join(",")).into()
}

/// The bytes of a text, however the server wrote it.
pub(super) fn bytes(value: Value) -> Option<Vec<u8>> {
    match value {
        Value::BulkString(bytes) => Some(bytes),
        Value::SimpleString(text) | Value::VerbatimString { text, .. } => Some(text.into_bytes()),
        Value::Okay => Some(b"OK".to_vec()),
        Value::Int(number) => Some(number.to_string().into_bytes()),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    fn fields(pairs: &[(&str, &str)]) -> Vec<(Vec<u8>, Vec<u8>)> {
        let pairs = pairs.iter();
        pairs
            .map(|(name, value)| (name.as_bytes().to_vec(), value.as_bytes().to_vec()))
            .collect()
    }

    #[test]
    fn ids_are_ordered_as_numbers() {
        let id = |text: &str| text.parse::<Id>().unwrap();
        assert!(id("9-1") < id("10-0") && id("10-2") < id("10-10"));
        assert_eq!(id("12-3").to_string(), "12-3");
        assert_eq!(id("12"), Id(12, 0));
        assert!("x-1".parse::<Id>().is_err());
    }

    #[test]
    fn an_id_of_the_application_tells_no_time() {
        let before = SystemTime::now();
        assert!(Id(7, 0).at() >= before);
        assert!(Id(u64::MAX, 0).at() >= before);
        let at = Id(1_700_000_000_000, 0).at();
        assert_eq!(at, SystemTime::UNIX_EPOCH + Duration::from_secs(1_700_000_000));
    }

    #[test]
    fn the_named_field_is_the_message_byte_for_byte() {
        let entry = fields(&[("type", "x"), ("data", "{\"a\": 1.50}")]);
        assert_eq!(message(entry.clone(), "data"), "{\"a\": 1.50}");
        assert_eq!(message(entry, "type"), "x");
    }

    #[test]
    fn without_it_all_fields_become_an_object_of_texts() {
        let entry = fields(&[("z", "1"), ("a", "\"q\"\n"), ("z", "2")]);
        assert_eq!(message(entry, "data"), "{\"a\":\"\\\"q\\\"\\n\",\"z\":\"2\"}");
        assert_eq!(message(Vec::new(), "data"), "{}");
    }

    #[test]
    fn both_forms_of_the_reply_are_read() {
        let text = |text: &str| Value::BulkString(text.as_bytes().to_vec());
        let whole = Value::Array(vec![text("5-1"), Value::Array(vec![text("a"), text("b")])]);
        let gone = Value::Array(vec![text("5-2"), Value::Nil]);
        let list = Value::Array(vec![whole, gone]);
        let expected = vec![
            Entry {
                id: Id(5, 1),
                fields: Some(fields(&[("a", "b")])),
            },
            Entry {
                id: Id(5, 2),
                fields: None,
            },
        ];
        let third = Value::Map(vec![(text("orders"), list.clone())]);
        assert_eq!(entries(third), Some(expected.clone()));
        let second = Value::Array(vec![Value::Array(vec![text("orders"), list])]);
        assert_eq!(entries(second), Some(expected));
        assert_eq!(entries(Value::Nil), Some(Vec::new()));
        assert_eq!(entries(Value::Int(3)), None);
    }
}
