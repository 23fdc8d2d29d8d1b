//! Whatever a verified delivery holds becomes items that the database takes: no NUL anywhere, and a lane that there is.
#![no_main]

use libfuzzer_sys::fuzz_target;
use pregon::whatsapp::payload::{self, Item};
use serde_json::Value;

fn has_nul(value: &Value) -> bool {
    match value {
        Value::String(text) => text.contains('\0'),
        Value::Array(list) => list.iter().any(has_nul),
        Value::Object(map) => map.iter().any(|(key, value)| key.contains('\0') || has_nul(value)),
        Value::Null | Value::Bool(_) | Value::Number(_) => false,
    }
}

fuzz_target!(|body: &[u8]| {
    for item in payload::read(body, 1_780_000_000).items {
        assert!(item.lane() < 64);
        // A message or status of somebody has to be held in the order of that contact.
        assert!(item.who().is_some() || !matches!(item, Item::Message(_)));
        let json = serde_json::to_value(&item).expect("an item is JSON");
        assert!(!has_nul(&json));
    }
});
