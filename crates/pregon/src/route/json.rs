//! JSON objects looked at without copying: their fields as raw texts, and their values as the expression language sees them.
//!
//! Raw texts matter because a `numeric` of 30 digits must reach templates and payloads as the database wrote it.

use std::borrow::Cow;
use std::collections::HashMap;
use std::fmt;
use std::marker::PhantomData;

use cel::common::types::{
    CelBool, CelDouble, CelInt, CelList, CelMap, CelMapKey, CelNull, CelString, CelUInt,
};
use cel::common::value::Val;
use serde::de::{Deserialize, Deserializer, MapAccess, SeqAccess, Visitor};
use serde_json::value::RawValue;

use crate::lenient;

/// A field of a JSON object.
#[derive(Debug)]
struct Field<'j> {
    name: Cow<'j, str>,
    /// The name in its quotes, where the name itself is not all of it: half of a surrogate pair.
    quoted: Option<&'j str>,
    value: &'j RawValue,
}

/// The fields of a JSON object in the order of the text; empty for anything else.
#[derive(Debug, Default)]
pub(crate) struct Fields<'j>(Vec<Field<'j>>);

impl<'j> Fields<'j> {
    pub(crate) fn read(json: &'j [u8]) -> Self {
        match serde_json::from_slice::<Members<'j, Name<'j>>>(json) {
            Ok(members) => Self(members.fields),
            // A name in it cannot be read, or it is no object.
            Err(_) => serde_json::from_slice::<Members<'j, &'j RawValue>>(json)
                .map_or_else(|_| Self::default(), |members| Self(members.fields)),
        }
    }

    /// The raw text of a field; of a repeated one the last, as PostgreSQL's `jsonb` has it.
    pub(crate) fn get(&self, name: &str) -> Option<&'j str> {
        self.0
            .iter()
            .rev()
            .find(|field| field.name == name)
            .map(|field| field.value.get())
    }

    pub(crate) fn iter(&self) -> impl Iterator<Item = (&str, &'j str)> {
        self.0.iter().map(|field| (&*field.name, field.value.get()))
    }

    /// The fields with their names as JSON texts.
    pub(super) fn quoted(&self) -> impl Iterator<Item = (Cow<'_, str>, &'j str)> {
        self.0.iter().map(|field| {
            let quoted = field.quoted.map(Cow::Borrowed);
            let quoted =
                quoted.unwrap_or_else(|| Cow::Owned(serde_json::Value::from(&*field.name).to_string()));
            (quoted, field.value.get())
        })
    }
}

/// How the name of a field is read.
trait FieldName<'j> {
    fn field(self, value: &'j RawValue) -> Field<'j>;
}

/// A name that can be read.
struct Name<'n>(Cow<'n, str>);

impl<'j> FieldName<'j> for Name<'j> {
    fn field(self, value: &'j RawValue) -> Field<'j> {
        let (name, quoted) = (self.0, None);
        Field { name, quoted, value }
    }
}

/// Any name.
impl<'j> FieldName<'j> for &'j RawValue {
    fn field(self, value: &'j RawValue) -> Field<'j> {
        let name = lenient::key(self.get());
        let quoted = lenient::text(self.get()).is_none().then_some(self.get());
        Field { name, quoted, value }
    }
}

impl<'de: 'n, 'n> Deserialize<'de> for Name<'n> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
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
        deserializer.deserialize_str(NameVisitor).map(Name)
    }
}

/// The fields of an object whose names are read as `N`.
struct Members<'j, N> {
    fields: Vec<Field<'j>>,
    names: PhantomData<N>,
}

impl<'de: 'j, 'j, N: Deserialize<'de> + FieldName<'de>> Deserialize<'de> for Members<'j, N> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct MembersVisitor<N>(PhantomData<N>);
        impl<'de, N: Deserialize<'de> + FieldName<'de>> Visitor<'de> for MembersVisitor<N> {
            type Value = Vec<Field<'de>>;
            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("an object")
            }
            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Self::Value, A::Error> {
                let mut fields = Vec::with_capacity(16);
                while let Some((name, value)) = map.next_entry::<N, &'de RawValue>()? {
                    fields.push(name.field(value));
                }
                Ok(fields)
            }
        }
        let fields = deserializer.deserialize_map(MembersVisitor(PhantomData::<N>))?;
        let names = PhantomData;
        Ok(Self { fields, names })
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
        b'"' => lenient::text(json),
        b'{' | b'[' | b'n' => None,
        _ => Some(Cow::Borrowed(json)),
    }
}

/// A JSON value as the expression language sees it; texts are borrowed from the JSON where they need no unescaping.
pub(super) struct CelJson<'j>(pub(super) Box<dyn Val + 'j>);

impl<'j> CelJson<'j> {
    /// Reads JSON, and says how many values of it could not be read and are null; anything that is not JSON is null.
    pub(super) fn read(json: &'j [u8]) -> (Box<dyn Val + 'j>, u32) {
        match lenient::read::<CelJson<'j>>(json) {
            Some(read) => (read.value.0, read.unreadable),
            None => (Box::new(CelNull), 0),
        }
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
    fn a_name_that_cannot_be_read_hides_no_other() {
        let json = br#"{"cut \ud83d": 1, "id": 1e400, "t": "\ud83d"}"#;
        let fields = Fields::read(json);
        assert_eq!(fields.get("id"), Some("1e400"));
        assert_eq!(fields.get("id").and_then(plain).as_deref(), Some("1e400"));
        assert_eq!(fields.get("t").and_then(plain), None);
        let quoted: Vec<_> = fields.quoted().map(|(name, _)| name.into_owned()).collect();
        assert_eq!(quoted, [r#""cut \ud83d""#, r#""id""#, r#""t""#]);
    }

    #[test]
    fn what_is_no_json_is_null() {
        assert_eq!(
            format!("{:?}", CelJson::read(b"not json").0),
            format!("{:?}", CelNull)
        );
    }
}
