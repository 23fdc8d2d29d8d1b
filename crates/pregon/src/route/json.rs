//! JSON objects looked at without copying: their fields as raw texts, and their values as the expression language sees them.
//!
//! Raw texts matter because a `numeric` of 30 digits must reach templates and payloads as the database wrote it.

use std::borrow::Cow;
use std::collections::HashMap;
use std::fmt;

use cel::common::types::{
    CelBool, CelDouble, CelInt, CelList, CelMap, CelMapKey, CelNull, CelString, CelUInt,
};
use cel::common::value::Val;
use serde::de::{Deserialize, Deserializer, MapAccess, SeqAccess, Visitor};
use serde_json::value::RawValue;

/// The fields of a JSON object in the order of the text; empty for anything else.
#[derive(Debug, Default)]
pub(crate) struct Fields<'j>(Vec<(Cow<'j, str>, &'j RawValue)>);

impl<'j> Fields<'j> {
    pub(crate) fn read(json: &'j [u8]) -> Self {
        serde_json::from_slice(json).unwrap_or_default()
    }

    /// The raw text of a field; of a repeated one the last, as PostgreSQL's `jsonb` has it.
    pub(super) fn get(&self, name: &str) -> Option<&'j str> {
        self.0
            .iter()
            .rev()
            .find(|(key, _)| key == name)
            .map(|(_, value)| value.get())
    }

    pub(crate) fn iter(&self) -> impl Iterator<Item = (&str, &'j str)> {
        self.0.iter().map(|(key, value)| (&**key, value.get()))
    }
}

impl<'de: 'j, 'j> Deserialize<'de> for Fields<'j> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Name<'n>(Cow<'n, str>);
        impl<'de: 'n, 'n> Deserialize<'de> for Name<'n> {
            fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
                deserializer.deserialize_str(NameVisitor).map(Name)
            }
        }
        struct NameVisitor;
        impl<'de> Visitor<'de> for NameVisitor {
            type Value = Cow<'de, str>;
            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a name")
            }
            fn visit_borrowed_str<E>(self, text: &'de str) -> Result<Self::Value, E> {
                Ok(Cow::Borrowed(text))
            }
            fn visit_str<E>(self, text: &str) -> Result<Self::Value, E> {
                Ok(Cow::Owned(text.to_owned()))
            }
        }
        struct FieldsVisitor;
        impl<'de> Visitor<'de> for FieldsVisitor {
            type Value = Fields<'de>;
            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("an object")
            }
            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Self::Value, A::Error> {
                let mut fields = Vec::with_capacity(16);
                while let Some((name, value)) = map.next_entry::<Name<'de>, &'de RawValue>()? {
                    fields.push((name.0, value));
                }
                Ok(Fields(fields))
            }
        }
        deserializer.deserialize_map(FieldsVisitor)
    }
}

/// The raw text at a path below an object's text: `["a", "b"]` in `{"a":{"b":1}}` is `1`.
pub(super) fn descend<'j>(json: &'j str, path: &[impl AsRef<str>]) -> Option<&'j str> {
    path.iter().try_fold(json, |json, name| {
        Fields::read(json.as_bytes()).get(name.as_ref())
    })
}

/// How a JSON value stands in a channel name: numbers, texts and booleans plainly, anything else not at all.
pub(super) fn plain(json: &str) -> Option<Cow<'_, str>> {
    match json.as_bytes().first()? {
        b'"' => serde_json::from_str::<PlainText<'_>>(json)
            .ok()
            .map(|text| text.0),
        b'{' | b'[' | b'n' => None,
        _ => Some(Cow::Borrowed(json)),
    }
}

#[derive(serde::Deserialize)]
struct PlainText<'t>(#[serde(borrow)] Cow<'t, str>);

/// A JSON value as the expression language sees it; texts are borrowed from the JSON where they need no unescaping.
pub(super) struct CelJson<'j>(pub(super) Box<dyn Val + 'j>);

impl<'j> CelJson<'j> {
    /// Reads JSON; anything that is none is null.
    pub(super) fn read(json: &'j [u8]) -> Box<dyn Val + 'j> {
        serde_json::from_slice::<CelJson<'j>>(json)
            .map_or_else(|_| Box::new(CelNull) as Box<dyn Val + 'j>, |value| value.0)
    }
}

impl<'de: 'j, 'j> Deserialize<'de> for CelJson<'j> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(CelVisitor).map(CelJson)
    }
}

struct CelVisitor;

impl<'de> Visitor<'de> for CelVisitor {
    type Value = Box<dyn Val + 'de>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a JSON value")
    }

    fn visit_bool<E>(self, value: bool) -> Result<Self::Value, E> {
        Ok(Box::new(CelBool::from(value)))
    }

    fn visit_i64<E>(self, value: i64) -> Result<Self::Value, E> {
        Ok(Box::new(CelInt::from(value)))
    }

    /// Whole numbers are `int` where they fit, so that `row.total > 3` compares like with like.
    fn visit_u64<E>(self, value: u64) -> Result<Self::Value, E> {
        Ok(match i64::try_from(value) {
            Ok(value) => Box::new(CelInt::from(value)),
            Err(_) => Box::new(CelUInt::from(value)),
        })
    }

    fn visit_f64<E>(self, value: f64) -> Result<Self::Value, E> {
        Ok(Box::new(CelDouble::from(value)))
    }

    fn visit_borrowed_str<E>(self, text: &'de str) -> Result<Self::Value, E> {
        Ok(Box::new(CelString::from(text)))
    }

    fn visit_str<E>(self, text: &str) -> Result<Self::Value, E> {
        Ok(Box::new(CelString::from(text.to_owned())))
    }

    fn visit_unit<E>(self) -> Result<Self::Value, E> {
        Ok(Box::new(CelNull))
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<Self::Value, A::Error> {
        let mut items: Vec<Box<dyn Val + 'de>> = Vec::new();
        while let Some(item) = seq.next_element::<CelJson<'de>>()? {
            items.push(item.0);
        }
        Ok(Box::new(CelList::from(items)))
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Self::Value, A::Error> {
        let mut entries: HashMap<CelMapKey<'de>, Box<dyn Val + 'de>> = HashMap::new();
        while let Some((name, value)) = map.next_entry::<String, CelJson<'de>>()? {
            entries.insert(CelMapKey::from(name), value.0);
        }
        Ok(Box::new(CelMap::from(entries)))
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::indexing_slicing, clippy::panic)]

    use super::*;

    #[test]
    fn fields_keep_the_text_of_numbers() {
        let json = br#"{"id": 12345678901234567890123, "total": 10.50, "a\"b": "x\ny", "n": null, "o": {"p": [true]}}"#;
        let fields = Fields::read(json);
        assert_eq!(fields.get("id"), Some("12345678901234567890123"));
        assert_eq!(fields.get("total").and_then(plain).as_deref(), Some("10.50"));
        assert_eq!(fields.get("a\"b").and_then(plain).as_deref(), Some("x\ny"));
        assert_eq!(fields.get("n").and_then(plain), None);
        assert_eq!(fields.get("o").and_then(plain), None);
        assert_eq!(
            descend(std::str::from_utf8(json).unwrap(), &["o", "p"]),
            Some("[true]")
        );
        assert_eq!(descend("[1]", &["o"]), None);
    }

    #[test]
    fn what_is_no_json_is_null() {
        assert_eq!(
            format!("{:?}", CelJson::read(b"not json")),
            format!("{:?}", CelNull)
        );
    }
}
