//! Finds the token of a request: header, subprotocol, query or cookie, in this order; and compares API keys.
//!
//! A token that came by cookie was sent by the browser without being asked: whoever uses it must check the Origin (`Via::Cookie`).

use std::fmt;

use aws_lc_rs::{constant_time, digest};
use http::HeaderMap;
use http::header::{AUTHORIZATION, COOKIE, SEC_WEBSOCKET_PROTOCOL};

use crate::config;

/// A token as it came; never printed.
#[derive(Clone, PartialEq, Eq)]
pub(crate) struct Token(String);

impl Token {
    /// The token itself, for the verifier.
    pub(crate) fn reveal(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for Token {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Token([secret])")
    }
}

/// How a token came.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Via {
    /// `Authorization: Bearer …`
    Header,
    /// `Sec-WebSocket-Protocol: …, token.<JWT>`; the answer must not choose that entry.
    Subprotocol,
    /// `?token=…`
    Query,
    /// A cookie: only with an allowed Origin.
    Cookie,
}

/// Prefix of the subprotocol that carries a token.
pub(crate) const SUBPROTOCOL_PREFIX: &str = "token.";

/// Finds the token of a request. An empty one counts as none.
pub(crate) fn find(query: Option<&str>, headers: &HeaderMap, auth: &config::Auth) -> Option<(Token, Via)> {
    by_header(headers)
        .map(|token| (token, Via::Header))
        .or_else(|| {
            auth.subprotocol
                .then(|| by_subprotocol(headers))
                .flatten()
                .map(|token| (token, Via::Subprotocol))
        })
        .or_else(|| by_query(query?, &auth.query).map(|token| (token, Via::Query)))
        .or_else(|| by_cookie(headers, auth.cookie.as_deref()?).map(|token| (token, Via::Cookie)))
        .map(|(token, via)| (Token(token), via))
}

/// The token of `Authorization: Bearer …`; also where an API key stands.
pub(crate) fn by_header(headers: &HeaderMap) -> Option<String> {
    let value = headers.get(AUTHORIZATION)?.to_str().ok()?;
    let (scheme, token) = value.trim().split_once(' ')?;
    scheme
        .eq_ignore_ascii_case("bearer")
        .then(|| token.trim())
        .filter(|token| !token.is_empty())
        .map(str::to_owned)
}

fn by_subprotocol(headers: &HeaderMap) -> Option<String> {
    let values = headers
        .get_all(SEC_WEBSOCKET_PROTOCOL)
        .iter()
        .filter_map(|value| value.to_str().ok());
    let found = values
        .flat_map(|value| value.split(','))
        .find_map(|entry| entry.trim().strip_prefix(SUBPROTOCOL_PREFIX));
    found.filter(|token| !token.is_empty()).map(str::to_owned)
}

fn by_query(query: &str, name: &str) -> Option<String> {
    if name.is_empty() {
        return None;
    }
    query.split('&').find_map(|pair| {
        let (key, value) = pair.split_once('=')?;
        (unescape(key)? == name)
            .then(|| unescape(value))
            .flatten()
            .filter(|token| !token.is_empty())
    })
}

fn by_cookie(headers: &HeaderMap, name: &str) -> Option<String> {
    let values = headers
        .get_all(COOKIE)
        .iter()
        .filter_map(|value| value.to_str().ok());
    let mut pairs = values
        .flat_map(|value| value.split(';'))
        .filter_map(|pair| pair.trim().split_once('='));
    let (_, token) = pairs.find(|(key, _)| *key == name)?;
    Some(token.trim_matches('"').to_owned()).filter(|token| !token.is_empty())
}

/// Undoes `%41` and `+`; `None` if it is no UTF-8 or an escape is broken.
fn unescape(text: &str) -> Option<String> {
    let mut out = Vec::with_capacity(text.len());
    let mut bytes = text.bytes();
    while let Some(byte) = bytes.next() {
        out.push(match byte {
            b'+' => b' ',
            b'%' => {
                let high = char::from(bytes.next()?).to_digit(16)?;
                let low = char::from(bytes.next()?).to_digit(16)?;
                u8::try_from(high * 16 + low).ok()?
            }
            other => other,
        });
    }
    String::from_utf8(out).ok()
}

/// Whether a key that came is the configured one, in a time that tells nothing about either: their digests are compared,
/// which also hides the length.
pub(crate) fn same_key(given: &str, configured: &str) -> bool {
    let hash = |text: &str| digest::digest(&digest::SHA256, text.as_bytes());
    !configured.is_empty()
        && constant_time::verify_slices_are_equal(hash(given).as_ref(), hash(configured).as_ref()).is_ok()
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::indexing_slicing, clippy::panic)]

    use http::HeaderValue;
    use proptest::prelude::*;

    use super::*;

    fn headers(pairs: &[(&'static str, &str)]) -> HeaderMap {
        let mut headers = HeaderMap::new();
        for (name, value) in pairs {
            headers.append(*name, HeaderValue::from_str(value).unwrap());
        }
        headers
    }

    fn found(query: Option<&str>, pairs: &[(&'static str, &str)]) -> Option<(String, Via)> {
        let auth = config::Auth {
            cookie: Some("sid".into()),
            ..config::Auth::default()
        };
        find(query, &headers(pairs), &auth).map(|(token, via)| (token.reveal().to_owned(), via))
    }

    #[test]
    fn every_way_is_found() {
        assert_eq!(
            found(None, &[("authorization", "bearer  a.b.c ")]),
            Some(("a.b.c".into(), Via::Header))
        );
        assert_eq!(
            found(None, &[("sec-websocket-protocol", "pregon, token.a.b.c")]),
            Some(("a.b.c".into(), Via::Subprotocol))
        );
        assert_eq!(
            found(Some("x=1&token=a%2Eb.c"), &[]),
            Some(("a.b.c".into(), Via::Query))
        );
        assert_eq!(
            found(None, &[("cookie", "x=1; sid=a.b.c; y=2")]),
            Some(("a.b.c".into(), Via::Cookie))
        );
    }

    #[test]
    fn what_was_sent_on_purpose_goes_before_the_cookie() {
        let cookie = ("cookie", "sid=cookie");
        assert_eq!(
            found(Some("token=query"), &[cookie]),
            Some(("query".into(), Via::Query))
        );
        assert_eq!(
            found(Some("token=query"), &[cookie, ("authorization", "Bearer header")]),
            Some(("header".into(), Via::Header))
        );
    }

    #[test]
    fn empty_and_broken_ones_are_none() {
        assert_eq!(
            found(
                Some("token="),
                &[("authorization", "Bearer "), ("cookie", "sid=")]
            ),
            None
        );
        assert_eq!(found(Some("token=%4"), &[("authorization", "Basic abc")]), None);
        assert_eq!(found(Some("token=%ff"), &[]), None);
    }

    #[test]
    fn keys_are_compared_whole() {
        assert!(same_key("k", "k"));
        assert!(!same_key("k", "kk"));
        assert!(!same_key("", ""), "no configured key lets nobody in");
    }

    proptest! {
        #[test]
        fn finding_never_panics(query in ".*", cookie in "[ -~]*") {
            let _ = found(Some(&query), &[("cookie", &cookie)]);
        }
    }
}
