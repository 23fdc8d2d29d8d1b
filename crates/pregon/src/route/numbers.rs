//! Numbers of a payload as texts, for readers that have none as long: `10.50` becomes `"10.50"`, digit by digit.

use std::sync::Arc;

use bytes::Bytes;

use super::json::Fields;

/// The object with the numbers of these keys as texts, `*` for all keys; lists of numbers too. What is no object stays as it is.
pub(super) fn as_text(json: &Bytes, keys: &[Arc<str>]) -> Bytes {
    let fields = Fields::read(json);
    let wanted = |name: &str| keys.iter().any(|key| **key == *name || **key == *"*");
    let mut out = Vec::with_capacity(json.len() + 16);
    let mut from = 0;
    for (_, raw) in fields.iter().filter(|(name, _)| wanted(name)) {
        let start = raw.as_ptr().addr() - json.as_ptr().addr();
        out.extend_from_slice(json.get(from..start).unwrap_or_default());
        quote(raw, &mut out);
        from = start + raw.len();
    }
    out.extend_from_slice(json.get(from..).unwrap_or_default());
    out.into()
}

/// A value with the numbers in it as texts, but for those of objects, which are other people's keys.
fn quote(raw: &str, out: &mut Vec<u8>) {
    if raw.starts_with('{') {
        return out.extend_from_slice(raw.as_bytes());
    }
    let (mut objects, mut in_text, mut escaped, mut in_number) = (0_usize, false, false, false);
    for byte in raw.bytes() {
        let of_number = matches!(byte, b'0'..=b'9' | b'-' | b'+' | b'.' | b'e' | b'E');
        let begins = !in_text && objects == 0 && matches!(byte, b'0'..=b'9' | b'-');
        if in_number && !of_number {
            out.push(b'"');
            in_number = false;
        } else if !in_number && begins {
            out.push(b'"');
            in_number = true;
        }
        match byte {
            _ if escaped => escaped = false,
            b'\\' => escaped = true,
            b'"' => in_text = !in_text,
            b'{' if !in_text => objects += 1,
            b'}' if !in_text => objects = objects.saturating_sub(1),
            _ => {}
        }
        out.push(byte);
    }
    if in_number {
        out.push(b'"');
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn texts(json: &'static str, keys: &[&str]) -> String {
        let keys: Vec<Arc<str>> = keys.iter().map(|key| Arc::from(*key)).collect();
        String::from_utf8_lossy(&as_text(&json.into(), &keys)).into_owned()
    }

    #[test]
    fn numbers_become_texts_digit_by_digit() {
        let row = r#"{"id": 9007199254740993, "total":10.50,"n":-1e400,"t":"1","no":null,"yes":true}"#;
        assert_eq!(
            texts(row, &["*"]),
            r#"{"id": "9007199254740993", "total":"10.50","n":"-1e400","t":"1","no":null,"yes":true}"#
        );
        assert_eq!(
            texts(row, &["total", "absent"]),
            r#"{"id": 9007199254740993, "total":"10.50","n":-1e400,"t":"1","no":null,"yes":true}"#
        );
    }

    #[test]
    fn lists_of_numbers_too_and_objects_not() {
        assert_eq!(
            texts(r#"{"l":[1, [2.0,null],"3\"4",{"a":5}],"o":{"b":6}}"#, &["*"]),
            r#"{"l":["1", ["2.0",null],"3\"4",{"a":5}],"o":{"b":6}}"#
        );
        assert_eq!(texts("[1]", &["*"]), "[1]");
    }
}
