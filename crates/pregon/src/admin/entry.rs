//! An entry of the log as operators see it: bounded, and without what the source keeps encrypted.

use serde_json::{Value, json};

use super::time;
use crate::event::Data;
use crate::lenient;
use crate::log::{Body, Entry};

/// Bytes of a payload that are shown.
const SHOWN: usize = 2048;

/// What stands for a field that is encrypted in the log.
const ENCRYPTED: &str = "[encrypted]";

/// The entry as JSON.
pub(super) fn of(entry: &Entry) -> Value {
    let mut told = json!({
        "position": entry.position,
        "offset": entry.offset,
        "time": time(entry.at),
    });
    let Some(fields) = told.as_object_mut() else {
        return told;
    };
    match &entry.body {
        Body::Publication {
            channels,
            event,
            data,
            opened,
            id,
            ..
        } => {
            let channels: Vec<&str> = channels.iter().map(|name| &**name).collect();
            fields.insert("channels".into(), json!(channels));
            fields.insert("event".into(), json!(**event));
            fields.insert("id".into(), json!(id.as_deref()));
            fields.insert("bytes".into(), json!(data.raw().len()));
            let names: Vec<&str> = opened.iter().map(|name| &**name).collect();
            let (key, shown) = payload(data, &names);
            fields.insert(key.into(), shown);
        }
        Body::Gap(gap) => {
            fields.insert("gap".into(), json!(gap.reason.as_str()));
            fields.insert("channels".into(), json!([]));
        }
        Body::Member { .. } => {}
    }
    told
}

/// The payload under `data`, or the beginning of its text under `excerpt`. What cannot be looked into is not shown where something in it is
/// encrypted.
fn payload(data: &Data, encrypted: &[&str]) -> (&'static str, Value) {
    let json = data.json();
    if encrypted.is_empty() && json.len() > SHOWN {
        return ("excerpt", excerpt(&json));
    }
    let Some(mut value) = lenient::read::<Value>(&json).map(|read| read.value) else {
        return (
            "excerpt",
            if encrypted.is_empty() {
                excerpt(&json)
            } else {
                ENCRYPTED.into()
            },
        );
    };
    for name in encrypted {
        if let Some(field) = value.get_mut(name) {
            *field = ENCRYPTED.into();
        }
    }
    let text = if encrypted.is_empty() {
        String::new()
    } else {
        value.to_string()
    };
    match text.len() > SHOWN {
        true => ("excerpt", excerpt(text.as_bytes())),
        false => ("data", value),
    }
}

fn excerpt(bytes: &[u8]) -> Value {
    let begin = bytes.get(..SHOWN.min(bytes.len())).unwrap_or_default();
    let mut text = String::from_utf8_lossy(begin).into_owned();
    text.push('…');
    text.into()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn payloads_are_bounded_and_what_is_encrypted_stays_so() {
        let data = |text: String| Data::Json(text.into());
        let (key, shown) = payload(&data(r#"{"a":1,"secret":"x"}"#.into()), &["secret"]);
        assert_eq!((key, shown), ("data", json!({"a": 1, "secret": ENCRYPTED})));
        let long = format!(
            r#"{{"secret":"{}","b":"{}"}}"#,
            "s".repeat(9000),
            "b".repeat(9000)
        );
        for encrypted in [&[][..], &["secret"]] {
            let (key, shown) = payload(&data(long.clone()), encrypted);
            let text = shown.as_str().map(str::to_owned).unwrap_or_default();
            assert_eq!(key, "excerpt");
            assert!(text.len() < SHOWN + 8);
            assert_eq!(text.contains("sss"), encrypted.is_empty(), "{text}");
        }
        let (_, text) = payload(&Data::Text("hola".into()), &[]);
        assert_eq!(text, json!("hola"));
    }
}
