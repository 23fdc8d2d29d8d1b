//! From a body to its items, in the order in which they stand in it.

use serde_json::value::RawValue;
use serde_json::{Map, Value};

use super::item::{Item, Other};
use super::mend::mend;
use super::message::{Place, digits, event, message, status};
use crate::lenient::{self, Lenient};

/// What a delivery holds.
#[derive(Debug, Clone, PartialEq)]
pub struct Read {
    pub items: Vec<Item>,
    /// Values that could not be read: each is null for itself alone, and whole in the body that is kept beside.
    pub unreadable: u32,
}

/// Takes a delivery apart. `received` is when it came, in seconds since 1970.
pub fn read(body: &[u8], received: i64) -> Read {
    let text = mend(body);
    match lenient::read(text.as_bytes()) {
        Some(Lenient { value, unreadable }) => Read {
            items: items(value, received),
            unreadable,
        },
        None => {
            let error = serde_json::from_str::<&RawValue>(&text).err();
            let why = error.map(|error| error.to_string()).unwrap_or_default();
            Read {
                items: vec![Item::Unreadable { why }],
                unreadable: 0,
            }
        }
    }
}

fn items(mut delivery: Value, received: i64) -> Vec<Item> {
    let mut items = Vec::new();
    match delivery.get_mut("entry").map(Value::take) {
        Some(Value::Array(entries)) => {
            for entry in entries {
                read_entry(entry, received, &mut items);
            }
        }
        other => {
            if let (Some(entry), Some(map)) = (other, delivery.as_object_mut()) {
                map.insert("entry".into(), entry);
            }
            items.push(unknown("", delivery));
        }
    }
    items
}

fn unknown(field: &str, raw: Value) -> Item {
    Item::Event(Other {
        numero: None,
        field: field.to_owned(),
        raw,
    })
}

fn read_entry(mut entry: Value, received: i64, items: &mut Vec<Item>) {
    let account = entry
        .get("id")
        .and_then(Value::as_str)
        .unwrap_or_default()
        .to_owned();
    match entry.get_mut("changes") {
        Some(Value::Array(changes)) => {
            for change in std::mem::take(changes) {
                read_change(change, &account, received, items);
            }
        }
        _ => items.push(unknown("entry", entry)),
    }
}

fn read_change(mut change: Value, account: &str, received: i64, items: &mut Vec<Item>) {
    let field = change
        .get("field")
        .and_then(Value::as_str)
        .unwrap_or_default()
        .to_owned();
    let Some(Value::Object(value)) = change.get_mut("value") else {
        return items.push(unknown(&field, change));
    };
    let numero = number(value, account);
    let contacts = match value.get("contacts") {
        Some(Value::Array(contacts)) => contacts.clone(),
        _ => Vec::new(),
    };
    let place = Place {
        numero: &numero,
        field: &field,
        contacts: &contacts,
        received,
    };
    let before = items.len();
    for raw in take(value, "messages") {
        message(raw, &place, false, items);
    }
    for raw in take(value, "message_echoes") {
        message(raw, &place, true, items);
    }
    for raw in take(value, "statuses") {
        items.push(status(raw, &place));
    }
    for raw in take(value, "errors") {
        items.push(event(raw, &place));
    }
    if items.len() == before {
        items.push(event(Value::Object(std::mem::take(value)), &place));
    }
}

/// The elements of a list; anything else stays where it is.
fn take(value: &mut Map<String, Value>, key: &str) -> Vec<Value> {
    match value.get_mut(key) {
        Some(Value::Array(list)) => std::mem::take(list),
        _ => Vec::new(),
    }
}

/// The id of the business number; where it is missing the number itself, or the account.
fn number(value: &Map<String, Value>, account: &str) -> String {
    let metadata = value.get("metadata");
    metadata
        .and_then(|metadata| metadata.get("phone_number_id"))
        .and_then(Value::as_str)
        .map(str::to_owned)
        .or_else(|| digits(metadata?, "phone_number_id"))
        .or_else(|| digits(metadata?, "display_phone_number"))
        .unwrap_or_else(|| account.to_owned())
}
