//! Decrypts the sealed fields of a payload and leaves every other byte of it as it was.

use std::ops::Range;

use bytes::Bytes;

use super::{Decryptor, Failure, Value};
use crate::event::Sealed;
use crate::route::json::Fields;

/// What a payload gets at its top when a field of it could not be decrypted.
const ERROR: &str = "decrypt_error";

/// A piece of the payload and what takes its place.
type Edit = (Range<usize>, String);

/// The payload with its sealed fields decrypted; what fails is null and told to `failed`.
pub fn open(
    json: &Bytes,
    sealed: &[Sealed],
    decryptor: &Decryptor,
    failed: &mut dyn FnMut(&Sealed, Failure),
) -> Bytes {
    let fields = Fields::read(json);
    let mut edits: Vec<Edit> = Vec::with_capacity(sealed.len());
    let mut failures = 0;
    // Every field of the name: of a repeated one, clients may take either.
    for (name, raw) in fields.iter() {
        let Some(sealed) = sealed.iter().find(|sealed| *sealed.field == *name) else {
            continue;
        };
        let section = decryptor.get(&sealed.with).ok_or(Failure::NoSection);
        let opened = section.and_then(|section| section.open(raw, sealed.aad.as_deref()));
        let value = match opened {
            Ok(Value::Unchanged) => continue,
            Ok(Value::Text(text)) => serde_json::Value::from(text).to_string(),
            Ok(Value::Json(json)) => json,
            Err(failure) => {
                failures += 1;
                failed(sealed, failure);
                "null".into()
            }
        };
        edits.push((place(json, raw), value));
    }
    if failures > 0 {
        mark(json, &fields, &mut edits);
    }
    if edits.is_empty() {
        json.clone()
    } else {
        splice(json, &edits)
    }
}

/// Where a field's value stands in the text that it was read from.
fn place(json: &[u8], raw: &str) -> Range<usize> {
    let start = raw.as_ptr().addr() - json.as_ptr().addr();
    start..start + raw.len()
}

/// Sets `decrypt_error`, in the place of a column of that name or at the end.
fn mark(json: &[u8], fields: &Fields<'_>, edits: &mut Vec<Edit>) {
    let before = edits.len();
    let own = fields.iter().filter(|(name, _)| *name == ERROR);
    edits.extend(own.map(|(_, raw)| (place(json, raw), "true".into())));
    if edits.len() == before {
        let end = json.iter().rposition(|byte| *byte == b'}').unwrap_or(json.len());
        edits.push((end..end, format!(",\"{ERROR}\":true")));
    }
    edits.sort_by_key(|(place, _)| place.start);
}

fn splice(json: &[u8], edits: &[Edit]) -> Bytes {
    let mut out = Vec::with_capacity(json.len());
    let mut from = 0;
    for (place, value) in edits {
        out.extend_from_slice(json.get(from..place.start).unwrap_or_default());
        out.extend_from_slice(value.as_bytes());
        from = place.end;
    }
    out.extend_from_slice(json.get(from..).unwrap_or_default());
    out.into()
}
