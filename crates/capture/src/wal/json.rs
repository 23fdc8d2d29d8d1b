//! Writes the text of a value as `row_to_json` would write the value itself. Pure.

use super::literal::{self, Piece};
use super::types::Kind;

/// Appends a value. Whether it could be told: a row of other fields than its type has by now cannot.
#[must_use]
pub(super) fn write(out: &mut Vec<u8>, kind: &Kind, text: &str) -> bool {
    match kind {
        Kind::Array { delimiter, element } => return array(out, text, *delimiter, element),
        Kind::Vector(element) => vector(out, text, element),
        Kind::Row(fields) => return row(out, text, fields),
        Kind::Bool => out.extend_from_slice(if text == "t" { b"true" } else { b"false" }),
        Kind::Number if is_number(text) => out.extend_from_slice(text.as_bytes()),
        Kind::Json => out.extend_from_slice(text.as_bytes()),
        Kind::Timestamp => string(out, &text.replacen(' ', "T", usize::from(has_time(text)))),
        Kind::TimestampTz => string(out, &with_zone(text)),
        Kind::Number | Kind::Foreign | Kind::Text => string(out, text),
    }
    true
}

/// Appends a JSON string with the escapes that PostgreSQL uses.
pub(super) fn string(out: &mut Vec<u8>, text: &str) {
    out.push(b'"');
    let mut rest = text.as_bytes();
    while let Some(at) = rest
        .iter()
        .position(|byte| *byte < b' ' || matches!(byte, b'"' | b'\\'))
    {
        let (plain, special) = rest.split_at(at);
        out.extend_from_slice(plain);
        let Some((byte, after)) = special.split_first() else {
            break;
        };
        escape(out, *byte);
        rest = after;
    }
    out.extend_from_slice(rest);
    out.push(b'"');
}

fn escape(out: &mut Vec<u8>, byte: u8) {
    let short = match byte {
        b'"' => b'"',
        b'\\' => b'\\',
        8 => b'b',
        12 => b'f',
        b'\n' => b'n',
        b'\r' => b'r',
        b'\t' => b't',
        _ => {
            out.extend_from_slice(format!("\\u{byte:04x}").as_bytes());
            return;
        }
    };
    out.extend_from_slice(&[b'\\', short]);
}

/// `2024-03-01 12:00:00`, and not `infinity`.
fn has_time(text: &str) -> bool {
    text.starts_with(|c: char| c.is_ascii_digit())
}

/// `2024-03-01 12:00:00+00` becomes `2024-03-01T12:00:00+00:00`; a ` BC` stays behind it.
fn with_zone(text: &str) -> String {
    if !has_time(text) {
        return text.to_owned();
    }
    let (moment, era) = match text.strip_suffix(" BC") {
        Some(moment) => (moment, " BC"),
        None => (text, ""),
    };
    let moment = moment.replacen(' ', "T", 1);
    let zone = moment.rfind(['+', '-']).and_then(|at| moment.get(at + 1..));
    // Zones of other lengths have minutes already.
    let minutes = if zone.is_some_and(|zone| zone.len() == 2) {
        ":00"
    } else {
        ""
    };
    format!("{moment}{minutes}{era}")
}

fn array(out: &mut Vec<u8>, text: &str, delimiter: char, element: &Kind) -> bool {
    let Some(pieces) = literal::array(text, delimiter) else {
        string(out, text);
        return true;
    };
    let (mut first, mut told) = (true, true);
    for piece in pieces {
        if !first && piece != Piece::Close {
            out.push(b',');
        }
        first = piece == Piece::Open;
        match piece {
            Piece::Open => out.push(b'['),
            Piece::Close => out.push(b']'),
            Piece::Element(None) => out.extend_from_slice(b"null"),
            Piece::Element(Some(text)) => told &= write(out, element, &text),
        }
    }
    told
}

fn vector(out: &mut Vec<u8>, text: &str, element: &Kind) {
    out.push(b'[');
    for (index, text) in text.split_ascii_whitespace().enumerate() {
        if index > 0 {
            out.push(b',');
        }
        // None of these is a row.
        let _ = write(out, element, text);
    }
    out.push(b']');
}

fn row(out: &mut Vec<u8>, text: &str, fields: &[(String, Kind)]) -> bool {
    let values = literal::row(text).filter(|values| values.len() == fields.len());
    let Some(values) = values else {
        return false;
    };
    let mut told = true;
    out.push(b'{');
    for (index, ((name, kind), value)) in fields.iter().zip(values).enumerate() {
        if index > 0 {
            out.push(b',');
        }
        string(out, name);
        out.push(b':');
        match value {
            Some(text) => told &= write(out, kind, &text),
            None => out.extend_from_slice(b"null"),
        }
    }
    out.push(b'}');
    told
}

/// Whether JSON takes it as a number: no sign but minus, no leading zero, digits around the point.
fn is_number(text: &str) -> bool {
    let digits = |text: &str| !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
    let unsigned = text.strip_prefix('-').unwrap_or(text);
    let (mantissa, exponent) = match unsigned.split_once(['e', 'E']) {
        Some((mantissa, exponent)) => (mantissa, Some(exponent)),
        None => (unsigned, None),
    };
    let (whole, fraction) = match mantissa.split_once('.') {
        Some((whole, fraction)) => (whole, Some(fraction)),
        None => (mantissa, None),
    };
    digits(whole)
        && (whole == "0" || !whole.starts_with('0'))
        && fraction.is_none_or(digits)
        && exponent.is_none_or(|exponent| digits(exponent.strip_prefix(['+', '-']).unwrap_or(exponent)))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use std::sync::Arc;

    use super::*;
    use proptest::prelude::*;

    fn written(kind: &Kind, text: &str) -> String {
        let mut out = Vec::new();
        assert!(write(&mut out, kind, text), "{text}");
        String::from_utf8(out).unwrap()
    }

    #[test]
    fn numbers_keep_their_digits_and_others_are_texts() {
        for number in [
            "0",
            "-1",
            "10.50",
            "1e+21",
            "-0.1e-5",
            "12345678901234567890.1200",
        ] {
            assert_eq!(written(&Kind::Number, number), number);
        }
        for other in ["NaN", "Infinity", "-Infinity", "01", "1.", ".5", "+1", "", "1e"] {
            assert_eq!(written(&Kind::Number, other), format!("\"{other}\""));
        }
    }

    #[test]
    fn moments_get_a_t_and_whole_zones() {
        for (text, json) in [
            ("2024-03-01 12:34:56.7+00", "2024-03-01T12:34:56.7+00:00"),
            ("0044-03-15 12:00:00+00 BC", "0044-03-15T12:00:00+00:00 BC"),
            ("infinity", "infinity"),
            ("-infinity", "-infinity"),
        ] {
            assert_eq!(written(&Kind::TimestampTz, text), format!("\"{json}\""));
        }
        assert_eq!(
            written(&Kind::Timestamp, "0044-03-15 12:00:00 BC"),
            "\"0044-03-15T12:00:00 BC\""
        );
    }

    #[test]
    fn arrays_and_rows_nest() {
        let numbers = Kind::Array {
            delimiter: ',',
            element: Arc::new(Kind::Number),
        };
        assert_eq!(written(&numbers, "{{1,NULL},{3,4}}"), "[[1,null],[3,4]]");
        assert_eq!(written(&numbers, "{}"), "[]");
        let row = Kind::Row(Arc::from([
            ("a".to_owned(), Kind::Text),
            ("n".to_owned(), numbers),
        ]));
        assert_eq!(
            written(&row, r#"("x ""y""","{1,2}")"#),
            r#"{"a":"x \"y\"","n":[1,2]}"#
        );
        assert_eq!(written(&row, "(,)"), r#"{"a":null,"n":null}"#);
        assert_eq!(written(&Kind::Vector(Arc::new(Kind::Number)), "1 2"), "[1,2]");
    }

    proptest! {
        #[test]
        fn every_string_is_json(text in ".{0,40}") {
            let json = written(&Kind::Text, &text);
            prop_assert_eq!(serde_json::from_str::<String>(&json).unwrap(), text);
        }

        #[test]
        fn numbers_are_what_json_takes(text in "[-+]?[0-9]{0,3}(\\.[0-9]{0,2})?(e[-+]?[0-9]{0,2})?") {
            let taken = serde_json::from_str::<&serde_json::value::RawValue>(&text).is_ok();
            prop_assert_eq!(is_number(&text), taken);
        }
    }
}
