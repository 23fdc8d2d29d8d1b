//! `{"_placeholder":true,"num":0}` stands for an attachment (socket.io-protocol v5, "Binary event").
//!
//! The JSON is walked once, by a loop: however deep it is, and whatever numbers and texts stand in it, its bytes stay as they are.

use std::ops::Range;

use super::packet::read_text;

/// A place in the JSON where an attachment belongs.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Placeholder {
    at: Range<usize>,
    /// `None` if it names no number of an attachment.
    number: Option<u64>,
}

/// Whether every placeholder in the JSON names one of `attachments` attachments. An attachment may be named
/// twice or not at all, as in the reference.
pub(super) fn placeholders_fit(json: &str, attachments: usize) -> bool {
    let fits = |found: &Placeholder| found.number.is_some_and(|number| number < attachments as u64);
    placeholders(json).iter().all(fits)
}

/// The JSON with other JSON in the place of its placeholders; one for whose number there is none stays.
pub fn fill_placeholders(json: &str, with: &dyn Fn(u64) -> Option<String>) -> String {
    let mut out = String::with_capacity(json.len());
    let mut from = 0;
    for found in placeholders(json) {
        let Some(value) = found.number.and_then(with) else {
            continue;
        };
        out.push_str(json.get(from..found.at.start).unwrap_or_default());
        out.push_str(&value);
        from = found.at.end;
    }
    out.push_str(json.get(from..).unwrap_or_default());
    out
}

/// A list or object that is not closed yet.
struct Open {
    start: usize,
    /// How many placeholders were found before it: an outer one takes the place of those in it.
    before: usize,
    /// The key whose value comes next, as it matters here.
    key: Key,
    marked: bool,
    number: Option<u64>,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Key {
    Placeholder,
    Num,
    Other,
}

/// All placeholders, in the order of the text, which is known to be JSON; any other text gives some of them and no panic.
fn placeholders(json: &str) -> Vec<Placeholder> {
    let mut found: Vec<Placeholder> = Vec::new();
    let mut open: Vec<Open> = Vec::new();
    let mut at = 0;
    while let Some(byte) = json.as_bytes().get(at) {
        let length = match byte {
            b'"' | b't' | b'f' | b'n' | b'-' | b'0'..=b'9' => token_len(json.as_bytes(), at),
            _ => 1,
        };
        let token = json.get(at..at + length).unwrap_or_default();
        match byte {
            b'{' | b'[' => open.push(Open {
                start: at,
                before: found.len(),
                key: Key::Other,
                marked: false,
                number: None,
            }),
            b'}' | b']' => close(&mut open, &mut found, at + 1),
            b'"' if is_key(json, at + length) => {
                if let Some(object) = open.last_mut() {
                    object.key = key(token);
                }
            }
            b',' | b':' | b' ' | b'\t' | b'\n' | b'\r' => {}
            _ => {
                if let Some(object) = open.last_mut() {
                    object.take(token);
                }
            }
        }
        at += length;
    }
    found
}

impl Open {
    /// Notes the value of a key.
    fn take(&mut self, value: &str) {
        match std::mem::replace(&mut self.key, Key::Other) {
            Key::Placeholder => self.marked = value == "true",
            Key::Num => self.number = value.parse().ok(),
            Key::Other => {}
        }
    }
}

fn close(open: &mut Vec<Open>, found: &mut Vec<Placeholder>, end: usize) {
    let Some(closed) = open.pop() else { return };
    if closed.marked {
        found.truncate(closed.before);
        found.push(Placeholder {
            at: closed.start..end,
            number: closed.number,
        });
    }
    // What was closed is the value of a key, and no number.
    if let Some(outer) = open.last_mut() {
        outer.take("");
    }
}

fn key(quoted: &str) -> Key {
    match read_text(quoted).as_deref() {
        Some("_placeholder") => Key::Placeholder,
        Some("num") => Key::Num,
        _ => Key::Other,
    }
}

/// Whether a colon follows, so that the string before it is a key.
fn is_key(json: &str, behind: usize) -> bool {
    let rest = json.get(behind..).unwrap_or_default();
    rest.trim_start_matches([' ', '\t', '\n', '\r']).starts_with(':')
}

/// The length of a string, number or word.
fn token_len(json: &[u8], at: usize) -> usize {
    let rest = json.get(at..).unwrap_or_default();
    if rest.first() != Some(&b'"') {
        let end = rest
            .iter()
            .position(|byte| !matches!(byte, b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'+' | b'-' | b'.'));
        return end.unwrap_or(rest.len()).max(1);
    }
    let mut escaped = false;
    let end = rest.iter().skip(1).position(|byte| {
        let ends = *byte == b'"' && !escaped;
        escaped = *byte == b'\\' && !escaped;
        ends
    });
    end.map_or(rest.len(), |end| end + 2)
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
            (r#"["f",{"_placeholder":true,"num":"1"}]"#, false),
            (r#"["f",{"_placeholder":true,"num":[1]}]"#, false),
            (r#"["f",{"_placeholder":true,"num":18446744073709551615}]"#, false),
            (r#"["f",{"\u005fplaceholder" : true , "num" : 2 }]"#, false),
            (
                r#"["f",{"a":1e400,"b":"cut \ud83d","cut \ud83d":{"_placeholder":true,"num":1}}]"#,
                true,
            ),
        ];
        for (json, wanted) in cases {
            assert_eq!(placeholders_fit(json, 2), wanted, "{json}");
        }
    }

    #[test]
    fn deep_nesting_is_walked() {
        let deep = |number: u64| {
            let inner = format!("{{\"_placeholder\":true,\"num\":{number}}}");
            format!("{}{inner}{}", "[".repeat(100_000), "]".repeat(100_000))
        };
        assert!(placeholders_fit(&deep(0), 1));
        assert!(!placeholders_fit(&deep(1), 1));
    }

    #[test]
    fn only_the_placeholders_change() {
        let json =
            r#"{"z": 10.50,"file":{"_placeholder":true,"num":0},"a":1e400,"t":"cut \ud83d","o":{"num":0}}"#;
        let filled = fill_placeholders(json, &|number| (number == 0).then(|| "\"AQID\"".into()));
        assert_eq!(
            filled,
            r#"{"z": 10.50,"file":"AQID","a":1e400,"t":"cut \ud83d","o":{"num":0}}"#
        );
        let stays = r#"[{"_placeholder":true,"num":9},{"_placeholder":true}]"#;
        assert_eq!(fill_placeholders(stays, &|_| None), stays);
        let outer = r#"[{"_placeholder":true,"num":0,"x":{"_placeholder":true,"num":0}}]"#;
        assert_eq!(fill_placeholders(outer, &|_| Some("1".into())), "[1]");
    }

    proptest::proptest! {
        #[test]
        fn nothing_panics(text in r#"[\[\]{}",:\\ud0t_e+\- aé]{0,40}"#) {
            let _ = fill_placeholders(&text, &|_| Some(String::new()));
        }
    }
}
