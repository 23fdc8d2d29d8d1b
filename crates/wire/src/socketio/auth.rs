//! The `auth` of a connect: whatever the application passes, and what connection state recovery adds in front.

use std::borrow::Cow;

use serde::Deserialize;
use serde_json::value::RawValue;

use super::packet::read_text;

/// The fields that we read; one that is not a string counts as absent.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Auth<'a> {
    /// A JWT: `io(url, {auth: {token}})`.
    pub token: Option<Cow<'a, str>>,
    /// The secret of the session that the client wants back.
    pub pid: Option<Cow<'a, str>>,
    /// The last offset that the client has seen; absent when it has seen no event.
    pub offset: Option<Cow<'a, str>>,
}

#[derive(Deserialize, Default)]
#[serde(default)]
struct Fields<'a> {
    #[serde(borrow)]
    token: Option<&'a RawValue>,
    #[serde(borrow)]
    pid: Option<&'a RawValue>,
    #[serde(borrow)]
    offset: Option<&'a RawValue>,
}

impl<'a> Auth<'a> {
    /// Reads an object. One that names a field twice has none: which of the two was meant nobody knows.
    pub(super) fn read(object: &'a str) -> Self {
        let fields: Fields<'a> = serde_json::from_str(object).unwrap_or_default();
        let text = |field: Option<&'a RawValue>| field.and_then(|json| read_text(json.get()));
        Self {
            token: text(fields.token),
            pid: text(fields.pid),
            offset: text(fields.offset),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn fields_are_texts_or_absent() {
        let full = Auth::read(r#"{"pid":"hscU","offset":"Q81yhR5","token":"a\u00f1","more":{"token":1}}"#);
        assert_eq!(full.pid.as_deref(), Some("hscU"));
        assert_eq!(full.offset.as_deref(), Some("Q81yhR5"));
        assert_eq!(full.token.as_deref(), Some("añ"));
        for none in [
            "{}",
            r#"{"token":null,"pid":1,"offset":[]}"#,
            r#"{"token":"a","token":"b"}"#,
            "",
        ] {
            assert_eq!(Auth::read(none), Auth::default(), "{none}");
        }
    }
}
