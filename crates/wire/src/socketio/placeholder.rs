//! `{"_placeholder":true,"num":0}` stands for an attachment (socket.io-protocol v5, "Binary event").

use std::fmt;

use serde::de::{Deserialize, Deserializer, Error, MapAccess, SeqAccess, Visitor};

/// Whether every placeholder in the JSON names one of `attachments` attachments. An attachment may be named
/// twice or not at all, as in the reference. JSON deeper than 128 levels is refused, not walked.
pub(super) fn placeholders_fit(json: &str, attachments: usize) -> bool {
    serde_json::from_str::<Value>(json)
        .is_ok_and(|value| value.highest.is_none_or(|num| num < attachments as u64))
}

/// What matters of any JSON value: the highest attachment that it names, and what a field needs to know.
#[derive(Default)]
struct Value {
    highest: Option<u64>,
    is_true: bool,
    number: Option<u64>,
}

impl Value {
    fn nested(highest: Option<u64>) -> Self {
        Self {
            highest,
            ..Self::default()
        }
    }
}

impl<'de> Deserialize<'de> for Value {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(ValueVisitor)
    }
}

struct ValueVisitor;

impl<'de> Visitor<'de> for ValueVisitor {
    type Value = Value;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("any json value")
    }

    fn visit_unit<E: Error>(self) -> Result<Value, E> {
        Ok(Value::default())
    }

    fn visit_bool<E: Error>(self, value: bool) -> Result<Value, E> {
        Ok(Value {
            is_true: value,
            ..Value::default()
        })
    }

    fn visit_u64<E: Error>(self, value: u64) -> Result<Value, E> {
        Ok(Value {
            number: Some(value),
            ..Value::default()
        })
    }

    fn visit_i64<E: Error>(self, _: i64) -> Result<Value, E> {
        Ok(Value::default())
    }

    fn visit_f64<E: Error>(self, _: f64) -> Result<Value, E> {
        Ok(Value::default())
    }

    fn visit_str<E: Error>(self, _: &str) -> Result<Value, E> {
        Ok(Value::default())
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<Value, A::Error> {
        let mut highest = None;
        while let Some(element) = seq.next_element::<Value>()? {
            highest = highest.max(element.highest);
        }
        Ok(Value::nested(highest))
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Value, A::Error> {
        let (mut highest, mut marked, mut num) = (None, false, None);
        while let Some(key) = map.next_key::<Key>()? {
            let value = map.next_value::<Value>()?;
            highest = highest.max(value.highest);
            match key {
                Key::Placeholder => marked = value.is_true,
                Key::Num => num = value.number,
                Key::Other => {}
            }
        }
        if marked {
            let num = num.ok_or_else(|| A::Error::custom("a placeholder without a number"))?;
            highest = highest.max(Some(num));
        }
        Ok(Value::nested(highest))
    }
}

#[derive(Clone, Copy)]
enum Key {
    Placeholder,
    Num,
    Other,
}

impl<'de> Deserialize<'de> for Key {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_identifier(KeyVisitor)
    }
}

struct KeyVisitor;

impl Visitor<'_> for KeyVisitor {
    type Value = Key;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a key")
    }

    fn visit_str<E: Error>(self, key: &str) -> Result<Key, E> {
        Ok(match key {
            "_placeholder" => Key::Placeholder,
            "num" => Key::Num,
            _ => Key::Other,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn placeholders_name_attachments_that_exist() {
        let cases = [
            (r#"["f",{"_placeholder":true,"num":0}]"#, true),
            (
                r#"["f",{"x":[{"num":1,"_placeholder":true}]},null,-1,1.5,"s"]"#,
                true,
            ),
            (r#"["f"]"#, true),
            (
                r#"["f",{"_placeholder":false,"num":9},{"num":9},{"_placeholder":1}]"#,
                true,
            ),
            (r#"["f",{"_placeholder":true,"num":2}]"#, false),
            (
                r#"["f",{"a":{"_placeholder":true,"num":2}},{"_placeholder":true,"num":0}]"#,
                false,
            ),
            (r#"["f",{"_placeholder":true}]"#, false),
            (r#"["f",{"_placeholder":true,"num":-1}]"#, false),
            (r#"["f",{"_placeholder":true,"num":0.5}]"#, false),
            (r#"["f",{"_placeholder":true,"num":"splice"}]"#, false),
            (r#"["f",{"_placeholder":true,"num":18446744073709551615}]"#, false),
        ];
        for (json, wanted) in cases {
            assert_eq!(placeholders_fit(json, 2), wanted, "{json}");
        }
    }

    #[test]
    fn deep_nesting_is_refused() {
        let deep = format!("{}{}", "[".repeat(100_000), "]".repeat(100_000));
        assert!(!placeholders_fit(&deep, 1));
    }
}
