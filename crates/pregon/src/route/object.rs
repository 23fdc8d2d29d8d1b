//! JSON objects put together from texts: built payloads, and a row with the columns of a query over its own.

use bytes::Bytes;
use serde_json::value::RawValue;

use super::json::Fields;
use crate::event::Data;

/// Builds an object; a value that could not be had is null, and why is told.
pub(super) fn object<'k>(
    entries: impl Iterator<Item = (&'k str, Result<String, String>)>,
) -> (Data, Vec<String>) {
    let mut out = String::from("{");
    let mut missing = Vec::new();
    for (name, value) in entries {
        let value = value.unwrap_or_else(|error| {
            missing.push(error);
            "null".into()
        });
        push_entry(&mut out, &serde_json::Value::from(name).to_string(), &value);
    }
    out.push('}');
    (Data::Json(out.into()), missing)
}

/// `name` is a JSON text.
fn push_entry(out: &mut String, name: &str, value: &str) {
    if out.len() > 1 {
        out.push(',');
    }
    out.push_str(name);
    out.push(':');
    out.push_str(value);
}

/// An object with the fields of another put over its own; not an object: unchanged.
pub(super) fn overlay(body: &Bytes, columns: &[u8]) -> Bytes {
    let is_object = |json: &[u8]| {
        serde_json::from_slice::<&RawValue>(json).is_ok_and(|value| value.get().starts_with('{'))
    };
    if !is_object(body) || !is_object(columns) {
        return body.clone();
    }
    let (own, new) = (Fields::read(body), Fields::read(columns));
    let mut out = String::from("{");
    own.iter()
        .zip(own.quoted())
        .filter(|((name, _), _)| new.get(name).is_none())
        .for_each(|(_, (name, value))| push_entry(&mut out, &name, value));
    new.quoted()
        .for_each(|(name, value)| push_entry(&mut out, &name, value));
    out.push('}');
    out.into()
}
