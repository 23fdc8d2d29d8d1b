//! Whether a delivery is of who it says: HMAC-SHA256 over the bytes as they came, in each sender's own wrapping. No I/O.

use std::time::{Duration, SystemTime};

use aws_lc_rs::{digest as hash, hmac};
use base64::Engine as _;
use base64::engine::general_purpose::{STANDARD, URL_SAFE};
use http::HeaderMap;

use crate::config::{self, Encoding, Preset};

/// How old a delivery of Stripe may be: what it recommends, so that a recorded one is of no use later.
const TOLERANCE: Duration = Duration::from_secs(300);

/// The secrets that deliveries may be signed with.
pub struct Signers(Vec<hmac::Key>);

impl Signers {
    pub fn new(secrets: &[&str]) -> Self {
        let key = |secret: &&str| hmac::Key::new(hmac::HMAC_SHA256, secret.as_bytes());
        Self(secrets.iter().map(key).collect())
    }

    /// Whether `header` (`sha256=` and 64 hexadecimal digits) signs the body.
    pub fn accept(&self, header: &[u8], body: &[u8]) -> bool {
        header
            .strip_prefix(b"sha256=")
            .and_then(|digits| hex::decode(digits).ok())
            .is_some_and(|given| self.verify(&given, &[body]))
    }

    /// Compares in constant time; tries every secret.
    fn verify(&self, given: &[u8], parts: &[&[u8]]) -> bool {
        let signed = parts.concat();
        self.0.iter().fold(false, |good, key| {
            hmac::verify(key, &signed, given).is_ok() | good
        })
    }
}

/// How one section's deliveries are signed.
pub(super) struct Scheme {
    preset: Preset,
    signers: Signers,
    header: String,
    encoding: Encoding,
}

impl Scheme {
    pub(super) fn new(section: &config::Webhook) -> Self {
        Self {
            preset: section.preset,
            signers: Signers::new(&section.secrets()),
            header: section.header.clone(),
            encoding: section.encoding,
        }
    }

    pub(super) fn accepts(&self, headers: &HeaderMap, body: &[u8], now: SystemTime) -> bool {
        let header = |name: &str| headers.get(name).map(|value| value.as_bytes());
        match self.preset {
            Preset::Github | Preset::Whatsapp => {
                header("x-hub-signature-256").is_some_and(|given| self.signers.accept(given, body))
            }
            Preset::Stripe => header("stripe-signature")
                .and_then(|given| std::str::from_utf8(given).ok())
                .is_some_and(|given| self.stripe(given, body, now)),
            Preset::Hmac => header(&self.header).is_some_and(|given| {
                let given = given.strip_prefix(b"sha256=").unwrap_or(given);
                let bytes = match self.encoding {
                    Encoding::Hex => hex::decode(given).ok(),
                    Encoding::Base64 => STANDARD.decode(given).ok(),
                    Encoding::Base64url => URL_SAFE.decode(given).ok(),
                };
                bytes.is_some_and(|bytes| self.signers.verify(&bytes, &[body]))
            }),
        }
    }

    /// `t=1700000000,v1=…,v1=…`: the time and the body are signed together; any of several signatures will do.
    fn stripe(&self, header: &str, body: &[u8], now: SystemTime) -> bool {
        let parts: Vec<(&str, &str)> = header
            .split(',')
            .filter_map(|part| part.trim().split_once('='))
            .collect();
        let Some((_, time)) = parts.iter().find(|(key, _)| *key == "t") else {
            return false;
        };
        let at = time
            .parse()
            .ok()
            .and_then(|seconds| SystemTime::UNIX_EPOCH.checked_add(Duration::from_secs(seconds)));
        let fresh = at.is_some_and(|at| {
            let apart = now.duration_since(at).unwrap_or_else(|ahead| ahead.duration());
            apart <= TOLERANCE
        });
        let signatures = parts.iter().filter(|(key, _)| *key == "v1");
        let good = signatures
            .filter_map(|(_, digits)| hex::decode(digits).ok())
            .fold(false, |good, given| {
                self.signers.verify(&given, &[time.as_bytes(), b".", body]) | good
            });
        fresh && good
    }
}

/// The header `X-Hub-Signature-256` of a body.
pub fn sign(secret: &str, body: &[u8]) -> String {
    let key = hmac::Key::new(hmac::HMAC_SHA256, secret.as_bytes());
    format!("sha256={}", hex::encode(hmac::sign(&key, body)))
}

/// A name for these bytes.
pub(super) fn digest(body: &[u8]) -> String {
    hex::encode(hash::digest(&hash::SHA256, body))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;
    use crate::config::Secret;

    #[test]
    fn each_secret_signs_and_nothing_else_does() {
        let signers = Signers::new(&["uno", "dos"]);
        let body = br#"{"a":"\u00f1"}"#;
        for secret in ["uno", "dos"] {
            assert!(signers.accept(sign(secret, body).as_bytes(), body));
        }
        let good = sign("uno", body);
        // The same text, serialised otherwise: the bytes count.
        assert!(!signers.accept(good.as_bytes(), "{\"a\":\"ñ\"}".as_bytes()));
        for wrong in [
            sign("tres", body),
            good.replace("sha256=", "sha1="),
            good.get(..good.len() - 2).unwrap_or_default().to_owned(),
            format!("{good}00"),
            "sha256=".into(),
            "sha256=zz".into(),
            String::new(),
        ] {
            assert!(!signers.accept(wrong.as_bytes(), body), "{wrong}");
        }
        assert!(!Signers::new(&[]).accept(good.as_bytes(), body));
    }

    #[test]
    fn the_vector_of_rfc_4231_is_met() {
        let wanted = "sha256=5bdcc146bf60754e6a042426089575c75a003f089d2739839dec58b964ec3843";
        assert_eq!(sign("Jefe", b"what do ya want for nothing?"), wanted);
    }

    fn accepts(preset: Preset, encoding: Encoding, header: (&str, &str), body: &[u8], at: u64) -> bool {
        let section = config::Webhook {
            preset,
            encoding,
            secret: Some(Secret::new("viejo,Jefe")),
            header: "X-Firma".into(),
            ..config::Webhook::default()
        };
        let mut headers = HeaderMap::new();
        headers.insert(
            http::HeaderName::from_bytes(header.0.as_bytes()).unwrap(),
            header.1.parse().unwrap(),
        );
        Scheme::new(&section).accepts(&headers, body, SystemTime::UNIX_EPOCH + Duration::from_secs(at))
    }

    #[test]
    fn stripe_signs_the_time_too() {
        let body = br#"{"id":"evt_1"}"#;
        let signed = sign("Jefe", &[b"1700000000.".as_slice(), body].concat());
        let digits = signed.strip_prefix("sha256=").unwrap();
        let header = format!("t=1700000000,v1=00ff,v1={digits},v0=x");
        let ask = |header: &str, at| {
            accepts(
                Preset::Stripe,
                Encoding::Hex,
                ("stripe-signature", header),
                body,
                at,
            )
        };
        assert!(ask(&header, 1_700_000_300) && ask(&header, 1_699_999_700));
        assert!(!ask(&header, 1_700_000_301), "too old");
        assert!(!ask(
            &header.replace("t=1700000000", "t=1700000001"),
            1_700_000_000
        ));
        for wrong in [
            "",
            "t=x",
            "v1=00",
            "t=99999999999999999999,v1=00",
            &format!("v1={digits}"),
        ] {
            assert!(!ask(wrong, 1_700_000_000), "{wrong}");
        }
    }

    #[test]
    fn github_and_the_generic_one_have_their_headers() {
        let body = b"what do ya want for nothing?";
        let good = sign("Jefe", body);
        let digits = good.strip_prefix("sha256=").unwrap();
        let base64 = STANDARD.encode(hex::decode(digits).unwrap());
        assert!(accepts(
            Preset::Github,
            Encoding::Hex,
            ("x-hub-signature-256", &good),
            body,
            0
        ));
        assert!(!accepts(
            Preset::Github,
            Encoding::Hex,
            ("x-firma", &good),
            body,
            0
        ));
        for (encoding, text) in [
            (Encoding::Hex, digits),
            (Encoding::Hex, good.as_str()),
            (Encoding::Base64, base64.as_str()),
        ] {
            assert!(
                accepts(Preset::Hmac, encoding, ("x-firma", text), body, 0),
                "{text}"
            );
        }
        assert!(!accepts(
            Preset::Hmac,
            Encoding::Base64,
            ("x-firma", digits),
            body,
            0
        ));
    }
}
