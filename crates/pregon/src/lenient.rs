//! JSON values of which some cannot be read: each of those is null for itself alone, and counted.
//!
//! JSON has more values than a program can hold: `1e400`, half of a surrogate pair, nesting without end. One such value must not
//! hide the row or message around it. A text that everything of can be read takes the fast way, which is `serde_json`.

use std::borrow::Cow;

use serde::de::value::{BorrowedStrDeserializer, Error, StringDeserializer};
use serde::de::{Deserialize, DeserializeSeed, Deserializer, MapAccess, SeqAccess, Visitor};
use serde::forward_to_deserialize_any;
use serde_json::value::RawValue;

/// Lists and objects within each other that are read, as in `serde_json`: readers recurse.
const MAX_DEPTH: usize = 128;

/// Blanks between the tokens of JSON (RFC 8259 §2).
const BLANK: [char; 4] = [' ', '\t', '\n', '\r'];

/// A value, and how many values in it could not be read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Lenient<T> {
    pub(crate) value: T,
    pub(crate) unreadable: u32,
}

/// Reads a JSON text into a type that takes any JSON value; `None` for what is not JSON.
pub(crate) fn read<'de, T: Deserialize<'de>>(json: &'de [u8]) -> Option<Lenient<T>> {
    if let Ok(value) = serde_json::from_slice(json) {
        return Some(Lenient { value, unreadable: 0 });
    }
    let whole: &RawValue = serde_json::from_slice(json).ok()?;
    let mut reader = Reader {
        rest: whole.get(),
        depth: 0,
        unreadable: 0,
    };
    let value = T::deserialize(&mut reader).ok()?;
    Some(Lenient {
        value,
        unreadable: reader.unreadable,
    })
}

/// The text of a JSON string with its quotes; `None` if it holds half of a surrogate pair.
pub(crate) fn text(quoted: &str) -> Option<Cow<'_, str>> {
    let inner = quoted.strip_prefix('"')?.strip_suffix('"')?;
    if inner.contains('\\') {
        serde_json::from_str(quoted).ok().map(Cow::Owned)
    } else {
        Some(Cow::Borrowed(inner))
    }
}

/// A key whatever it holds: half of a surrogate pair is U+FFFD, so that the other keys keep their names.
pub(super) fn key(quoted: &str) -> Cow<'_, str> {
    text(quoted).unwrap_or_else(|| {
        // The only way that `serde_json` gives such a text: as bytes, three for the half.
        let bytes = serde_json::from_str::<Bytes>(quoted).map_or_else(|_| Vec::new(), |bytes| bytes.0);
        let text = String::from_utf8_lossy(&bytes);
        Cow::Owned(text.replace("\u{fffd}\u{fffd}\u{fffd}", "\u{fffd}"))
    })
}

/// The bytes of a JSON string.
struct Bytes(Vec<u8>);

impl<'de> Deserialize<'de> for Bytes {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct BytesVisitor;
        impl Visitor<'_> for BytesVisitor {
            type Value = Bytes;
            fn expecting(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                f.write_str("a text")
            }
            fn visit_bytes<E>(self, bytes: &[u8]) -> Result<Bytes, E> {
                Ok(Bytes(bytes.to_vec()))
            }
        }
        deserializer.deserialize_bytes(BytesVisitor)
    }
}

/// Walks a text that is known to be JSON, once and from left to right.
struct Reader<'de> {
    rest: &'de str,
    depth: usize,
    unreadable: u32,
}

impl<'de> Reader<'de> {
    /// The next byte that is not blank, which stays where it is.
    fn peek(&mut self) -> Option<u8> {
        self.rest = self.rest.trim_start_matches(BLANK);
        self.rest.bytes().next()
    }

    fn take(&mut self, length: usize) -> &'de str {
        let (taken, rest) = self.rest.split_at_checked(length).unwrap_or((self.rest, ""));
        self.rest = rest;
        taken
    }

    /// Takes the byte if it comes next.
    fn pass(&mut self, byte: u8) -> bool {
        let comes = self.peek() == Some(byte);
        if comes {
            self.take(1);
        }
        comes
    }

    /// A string with its quotes.
    fn quoted(&mut self) -> &'de str {
        let length = quoted_len(self.rest.as_bytes());
        self.take(length)
    }

    /// A number or a word.
    fn word(&mut self) -> &'de str {
        let end = |byte: u8| matches!(byte, b',' | b']' | b'}' | b' ' | b'\t' | b'\n' | b'\r');
        let length = self.rest.bytes().position(end).unwrap_or(self.rest.len());
        self.take(length)
    }

    /// Passes over a list or object, however deep it is.
    fn skip(&mut self) {
        let mut open = 0_usize;
        let bytes = self.rest.as_bytes();
        let mut at = 0;
        while let Some(byte) = bytes.get(at) {
            match byte {
                b'"' => {
                    at += quoted_len(bytes.get(at..).unwrap_or_default());
                    continue;
                }
                b'[' | b'{' => open += 1,
                b']' | b'}' => open = open.saturating_sub(1),
                _ => {}
            }
            at += 1;
            if open == 0 {
                break;
            }
        }
        self.take(at);
    }

    fn unreadable<V: Visitor<'de>>(&mut self, visitor: V) -> Result<V::Value, Error> {
        self.unreadable = self.unreadable.saturating_add(1);
        visitor.visit_unit()
    }

    fn number<V: Visitor<'de>>(&mut self, visitor: V) -> Result<V::Value, Error> {
        let word = self.word();
        if let Ok(number) = word.parse() {
            return visitor.visit_u64(number);
        }
        if let Ok(number) = word.parse() {
            return visitor.visit_i64(number);
        }
        match word.parse::<f64>() {
            Ok(number) if number.is_finite() => visitor.visit_f64(number),
            _ => self.unreadable(visitor),
        }
    }

    /// A list or object, one level deeper.
    fn nested<V: Visitor<'de>>(
        &mut self,
        visitor: V,
        visit: impl FnOnce(V, Inside<'_, 'de>) -> Result<V::Value, Error>,
    ) -> Result<V::Value, Error> {
        if self.depth == MAX_DEPTH {
            self.skip();
            return self.unreadable(visitor);
        }
        self.depth += 1;
        self.take(1);
        let value = visit(visitor, Inside { reader: self })?;
        self.depth -= 1;
        Ok(value)
    }
}

/// The length of the string with which a text begins.
fn quoted_len(text: &[u8]) -> usize {
    let mut escaped = false;
    let end = text.iter().skip(1).position(|byte| {
        let ends = *byte == b'"' && !escaped;
        escaped = *byte == b'\\' && !escaped;
        ends
    });
    end.map_or(text.len(), |end| end + 2)
}

impl<'de> Deserializer<'de> for &mut Reader<'de> {
    type Error = Error;

    fn deserialize_any<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Error> {
        match self.peek() {
            Some(b'"') => match text(self.quoted()) {
                Some(Cow::Borrowed(text)) => visitor.visit_borrowed_str(text),
                Some(Cow::Owned(text)) => visitor.visit_string(text),
                None => self.unreadable(visitor),
            },
            Some(b'{') => self.nested(visitor, |visitor, inside| visitor.visit_map(inside)),
            Some(b'[') => self.nested(visitor, |visitor, inside| visitor.visit_seq(inside)),
            Some(b't' | b'f') => {
                let value = self.word() == "true";
                visitor.visit_bool(value)
            }
            Some(b'n') => {
                self.word();
                visitor.visit_unit()
            }
            _ => self.number(visitor),
        }
    }

    forward_to_deserialize_any! {
        bool i8 i16 i32 i64 i128 u8 u16 u32 u64 u128 f32 f64 char str string bytes byte_buf option unit unit_struct newtype_struct
        seq tuple tuple_struct map struct enum identifier ignored_any
    }
}

/// Behind the opening bracket of a list or object.
struct Inside<'r, 'de> {
    reader: &'r mut Reader<'de>,
}

impl<'de> SeqAccess<'de> for Inside<'_, 'de> {
    type Error = Error;

    fn next_element_seed<T: DeserializeSeed<'de>>(&mut self, seed: T) -> Result<Option<T::Value>, Error> {
        self.reader.pass(b',');
        if self.reader.pass(b']') || self.reader.peek().is_none() {
            return Ok(None);
        }
        seed.deserialize(&mut *self.reader).map(Some)
    }
}

impl<'de> MapAccess<'de> for Inside<'_, 'de> {
    type Error = Error;

    fn next_key_seed<K: DeserializeSeed<'de>>(&mut self, seed: K) -> Result<Option<K::Value>, Error> {
        self.reader.pass(b',');
        if self.reader.pass(b'}') || self.reader.peek().is_none() {
            return Ok(None);
        }
        let quoted = self.reader.quoted();
        let unreadable = text(quoted).is_none();
        self.reader.unreadable = self.reader.unreadable.saturating_add(unreadable.into());
        match key(quoted) {
            Cow::Borrowed(key) => seed.deserialize(BorrowedStrDeserializer::new(key)),
            Cow::Owned(key) => seed.deserialize(StringDeserializer::new(key)),
        }
        .map(Some)
    }

    fn next_value_seed<T: DeserializeSeed<'de>>(&mut self, seed: T) -> Result<T::Value, Error> {
        self.reader.pass(b':');
        seed.deserialize(&mut *self.reader)
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use proptest::prelude::*;
    use serde_json::{Value, json};

    use super::*;

    fn value(json: &str) -> (Value, u32) {
        let read = read::<Value>(json.as_bytes()).unwrap();
        (read.value, read.unreadable)
    }

    #[test]
    fn only_the_value_itself_is_null() {
        let huge = format!("1{}", "0".repeat(400));
        for (bad, count) in [
            ("1e400", 1),
            ("-1E+999", 1),
            (huge.as_str(), 1),
            (r#""cut \ud83d""#, 1),
            (r#""\ude00x""#, 1),
        ] {
            let row =
                format!(r#" {{ "id" : 7, "bad" :{bad} , "list":[1,{bad}, "x"], "text":"a\"]}}\u00f1" }}"#);
            let wanted = json!({"id": 7, "bad": null, "list": [1, null, "x"], "text": "a\"]}ñ"});
            assert_eq!(value(&row), (wanted, count * 2), "{row}");
        }
        assert_eq!(
            value(r#"{"cut \ud83d":1,"b":[],"c":{}}"#),
            (json!({"cut \u{fffd}": 1, "b": [], "c": {}}), 1)
        );
        assert_eq!(value("1e400"), (Value::Null, 1));
    }

    #[test]
    fn what_is_nested_without_end_is_null_from_there_on() {
        let deep = format!(
            r#"{{"a":{}1{},"b":[true,false,null]}}"#,
            "[{\"x\":".repeat(50_000),
            "}]".repeat(50_000)
        );
        let (read, unreadable) = value(&deep);
        assert_eq!(
            (read.get("b"), unreadable),
            (Some(&json!([true, false, null])), 1)
        );
    }

    #[test]
    fn what_is_not_json_is_not_read() {
        for text in [
            "",
            "{",
            r#"{"a":1e400"#,
            "hola",
            "[1e400,]",
            "{\"a\":\"\\ud83d\"} x",
        ] {
            assert_eq!(read::<Value>(text.as_bytes()), None, "{text}");
        }
        assert_eq!(read::<Value>(b"\"\xff\""), None);
    }

    /// Any JSON, as text.
    fn any_json() -> impl Strategy<Value = Value> {
        let leaf = prop_oneof![
            Just(Value::Null),
            any::<bool>().prop_map(Value::from),
            any::<i64>().prop_map(Value::from),
            any::<u64>().prop_map(Value::from),
            (-1e9..1e9_f64).prop_map(Value::from),
            ".*".prop_map(Value::from),
        ];
        leaf.prop_recursive(4, 24, 4, |inner| {
            prop_oneof![
                prop::collection::vec(inner.clone(), 0..4).prop_map(Value::from),
                prop::collection::btree_map(".{0,4}", inner, 0..4).prop_map(|map| map.into_iter().collect()),
            ]
        })
    }

    proptest! {
        #[test]
        fn the_slow_way_reads_what_the_fast_one_does(wanted in any_json(), pretty in any::<bool>()) {
            let text = if pretty { serde_json::to_string_pretty(&wanted) } else { serde_json::to_string(&wanted) }.unwrap();
            // One value that cannot be read takes the whole text the slow way.
            let text = format!("[{text},1e400]");
            prop_assert_eq!(value(&text), (json!([wanted, null]), 1));
        }

        #[test]
        fn nothing_panics(text in r#"[\[\]{}",:\\ud8130e+\- a]{0,40}"#) {
            let _ = read::<Value>(text.as_bytes());
        }
    }
}
