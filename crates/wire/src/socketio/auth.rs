//! The `auth` of a connect: whatever the application passes, and what connection state recovery adds in front.

use std::borrow::Cow;
use std::fmt;

use serde::de::{Deserialize, Deserializer, MapAccess, Visitor};
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

impl<'a> Auth<'a> {
    /// Reads an object. One that names a field twice has none: which of the two was meant nobody knows.
    pub(super) fn read(object: &'a str) -> Self {
        let members =
            serde_json::from_str::<Members<'a>>(object).map_or_else(|_| Vec::new(), |members| members.0);
        let mut auth = Self::default();
        let mut seen = [false; 3];
        for (name, value) in members {
            let place = match read_text(name.get()).as_deref() {
                Some("token") => 0,
                Some("pid") => 1,
                Some("offset") => 2,
                _ => continue,
            };
            let [token, pid, offset] = &mut seen;
            let (seen, field) = match place {
                0 => (token, &mut auth.token),
                1 => (pid, &mut auth.pid),
                _ => (offset, &mut auth.offset),
            };
            if std::mem::replace(seen, true) {
                return Self::default();
            }
            *field = read_text(value.get());
        }
        auth
    }
}

/// Names and values as they were written, so that one that cannot be read hides no other.
struct Members<'a>(Vec<(&'a RawValue, &'a RawValue)>);

impl<'de: 'a, 'a> Deserialize<'de> for Members<'a> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct MembersVisitor;
        impl<'de> Visitor<'de> for MembersVisitor {
            type Value = Members<'de>;
            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("an object")
            }
            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Members<'de>, A::Error> {
                let mut members = Vec::new();
                while let Some(member) = map.next_entry()? {
                    members.push(member);
                }
                Ok(Members(members))
            }
        }
        deserializer.deserialize_map(MembersVisitor)
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
        let strange = Auth::read(r#"{"cut \ud83d":1e400,"token":"a","pid":"\ud83d"}"#);
        assert_eq!((strange.token.as_deref(), strange.pid), (Some("a"), None));
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
