//! Claims: the verified content of a token.

use std::borrow::Cow;
use std::fmt;
use std::time::SystemTime;

use bytes::Bytes;
use serde_json::{Map, Value};

/// The verified content of a token; `Claims::default()` is a client without one. Cheap to clone.
#[derive(Clone, Default)]
pub struct Claims {
    content: Option<std::sync::Arc<Content>>,
}

struct Content {
    value: Map<String, Value>,
    json: Bytes,
    closes: Option<SystemTime>,
}

impl Claims {
    /// Wraps verified claims; `closes` is when nothing may be done with them any more.
    pub fn new(value: Map<String, Value>, closes: Option<SystemTime>) -> Self {
        let json = Bytes::from(serde_json::to_vec(&value).unwrap_or_default());
        Self {
            content: Some(std::sync::Arc::new(Content { value, json, closes })),
        }
    }

    /// Whether there was no token.
    pub fn is_anonymous(&self) -> bool {
        self.content.is_none()
    }

    /// All claims as a JSON object.
    pub fn json(&self) -> &[u8] {
        self.content.as_ref().map_or(b"{}", |content| &content.json)
    }

    /// All claims.
    pub fn value(&self) -> Option<&Map<String, Value>> {
        self.content.as_ref().map(|content| &content.value)
    }

    /// When a live connection is closed: `exp` and the leeway. It is the very moment from which the token is refused, so that
    /// nobody is welcomed and closed at once.
    pub fn expires_at(&self) -> Option<SystemTime> {
        self.content.as_ref().and_then(|content| content.closes)
    }

    /// A claim (`sub`, or a path such as `app.role`) as text: 123 equals "123". Null, lists, objects and numbers too large to be
    /// exact are no text: two users must never render the same channel.
    pub fn get(&self, path: &str) -> Option<Cow<'_, str>> {
        let mut names = path.split('.');
        let first = self.value()?.get(names.next()?)?;
        match names.try_fold(first, |value, name| value.get(name))? {
            Value::String(text) => Some(Cow::Borrowed(text)),
            Value::Bool(value) => Some(Cow::Borrowed(if *value { "true" } else { "false" })),
            Value::Number(number) if exact(number) => Some(Cow::Owned(number.to_string())),
            _ => None,
        }
    }

    /// The user (`sub`), if there is one.
    pub fn subject(&self) -> Option<Cow<'_, str>> {
        self.get("sub").filter(|sub| !sub.is_empty())
    }
}

fn exact(number: &serde_json::Number) -> bool {
    const LARGEST_EXACT: f64 = 9_007_199_254_740_992.0; // 2^53: beyond it an f64 no longer tells neighbours apart
    !number.is_f64() || number.as_f64().is_some_and(|value| value.abs() < LARGEST_EXACT)
}

/// Claims are private: they say that they exist and nothing more.
impl fmt::Debug for Claims {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(if self.is_anonymous() {
            "Claims(none)"
        } else {
            "Claims([private])"
        })
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::indexing_slicing, clippy::panic)]

    use super::*;

    fn claims(json: &str) -> Claims {
        Claims::new(serde_json::from_str(json).unwrap(), None)
    }

    #[test]
    fn numbers_and_texts_are_the_same_claim() {
        let claims = claims(
            r#"{"sub":123,"name":"Ana","ok":true,"none":null,"list":[1],"app":{"role":"admin"},"huge":123456789012345678901234,"half":1.5}"#,
        );
        assert_eq!(claims.get("sub").as_deref(), Some("123"));
        assert_eq!(claims.get("name").as_deref(), Some("Ana"));
        assert_eq!(claims.get("ok").as_deref(), Some("true"));
        assert_eq!(claims.get("app.role").as_deref(), Some("admin"));
        assert_eq!(claims.get("half").as_deref(), Some("1.5"));
        for nothing in ["none", "list", "app", "other", "huge", "sub.x", ""] {
            assert_eq!(claims.get(nothing), None, "{nothing}");
        }
    }

    #[test]
    fn debug_says_nothing() {
        assert_eq!(format!("{:?}", claims(r#"{"sub":"Ana"}"#)), "Claims([private])");
        assert_eq!(format!("{:?}", Claims::default()), "Claims(none)");
    }
}
