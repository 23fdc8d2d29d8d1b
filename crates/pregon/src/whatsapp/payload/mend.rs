//! Makes a body fit for the database: `jsonb` takes no NUL, no half of a surrogate pair, and only UTF-8.
//!
//! Each such escape becomes U+FFFD. Nothing else is touched, so that a body without them is the same bytes. Backslashes occur
//! in strings only, which is why the rest of JSON need not be looked at.

use std::borrow::Cow;

const REPLACEMENT: &str = "\\ufffd";

/// The body as text.
pub(super) fn mend(body: &[u8]) -> Cow<'_, str> {
    let text = String::from_utf8_lossy(body);
    if !text.contains("\\u") {
        return text;
    }
    let mut out = String::with_capacity(text.len());
    let mut rest: &str = &text;
    while let Some(at) = rest.find('\\') {
        let (before, escape) = rest.split_at(at);
        out.push_str(before);
        let length = whole(escape);
        match length {
            Some(length) => {
                let (good, after) = escape.split_at(length);
                out.push_str(good);
                rest = after;
            }
            None => {
                out.push_str(REPLACEMENT);
                rest = escape.get(6..).unwrap_or_default();
            }
        }
    }
    out.push_str(rest);
    Cow::Owned(out)
}

/// The length of an escape that may stay; `None` for six bytes that may not.
fn whole(escape: &str) -> Option<usize> {
    if !escape.starts_with("\\u") {
        // The character behind the backslash may be of several bytes, in what is no JSON.
        return Some(1 + escape.chars().nth(1).map_or(0, char::len_utf8));
    }
    let Some(unit) = unit(escape) else {
        return Some(2); // No escape at all: the parser will say so.
    };
    match unit {
        0 => None,
        0xD800..=0xDBFF => {
            let low = escape.get(6..).and_then(unit_of);
            matches!(low, Some(0xDC00..=0xDFFF)).then_some(12)
        }
        0xDC00..=0xDFFF => None,
        _ => Some(6),
    }
}

fn unit_of(text: &str) -> Option<u16> {
    text.starts_with("\\u").then(|| unit(text)).flatten()
}

fn unit(escape: &str) -> Option<u16> {
    let digits = escape.get(2..6)?;
    if !digits.bytes().all(|byte| byte.is_ascii_hexdigit()) {
        return None;
    }
    u16::from_str_radix(digits, 16).ok()
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use proptest::prelude::*;
    use serde_json::Value;

    use super::*;

    #[test]
    fn only_what_the_database_refuses_is_replaced() {
        for (given, wanted) in [
            (r#"{"a":"ñ \ud83d\ude00 \n"}"#, r#"{"a":"ñ \ud83d\ude00 \n"}"#),
            (r#""\u0000x""#, r#""\ufffdx""#),
            (r#""\ud83d""#, r#""\ufffd""#),
            (r#""\ud83d\ud83d\ude00""#, r#""\ufffd\ud83d\ude00""#),
            (r#""\ude00\ud83d""#, r#""\ufffd\ufffd""#),
            (r#""\\u0000""#, r#""\\u0000""#),
            (r#""\\\u0000""#, r#""\\\ufffd""#),
            ("\\", "\\"),
            (r"\u12", r"\u12"),
        ] {
            assert_eq!(mend(given.as_bytes()), wanted, "{given}");
        }
        assert_eq!(mend(b"\"\xff\""), "\"\u{fffd}\"");
    }

    proptest! {
        #[test]
        fn any_bytes_are_taken_and_a_second_time_changes_nothing(body in any::<Vec<u8>>(), text in r#"(\\\\|\\u[0d][08][0-9a-f]{2}|\\|é|x){0,20}"#) {
            for bytes in [body.as_slice(), text.as_bytes()] {
                let once = mend(bytes).into_owned();
                prop_assert_eq!(mend(once.as_bytes()).into_owned(), once);
            }
        }

        #[test]
        fn texts_survive(text in any::<String>()) {
            let json = serde_json::to_string(&text).unwrap();
            let read: Value = serde_json::from_str(&mend(json.as_bytes())).unwrap();
            prop_assert_eq!(read, Value::String(text.replace('\0', "\u{fffd}")));
        }
    }
}
