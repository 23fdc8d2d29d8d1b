//! Whether a delivery is of who it says: HMAC-SHA256 over the bytes as they came, in each sender's own wrapping. No I/O.

use std::time::{Duration, SystemTime};

use aws_lc_rs::constant_time::verify_slices_are_equal;
use aws_lc_rs::{digest as hash, hmac};
use base64::Engine as _;
use base64::engine::general_purpose::{STANDARD, URL_SAFE};
use http::HeaderMap;

use crate::config::{self, Encoding, Preset};

/// How old a delivery of Stripe may be: what it recommends, so that a recorded one is of no use later.
const TOLERANCE: Duration = Duration::from_secs(300);

/// Bytes that are signed before other requests of the thread have their turn: some 30 µs.
const STEP: usize = 64 * 1024;

/// The secrets that deliveries may be signed with.
pub(crate) struct Signers(Vec<hmac::Key>);

impl Signers {
    pub(crate) fn new(secrets: &[&str]) -> Self {
        let key = |secret: &&str| hmac::Key::new(hmac::HMAC_SHA256, secret.as_bytes());
        Self(secrets.iter().map(key).collect())
    }

    /// Whether `header` (`sha256=` and 64 hexadecimal digits) signs the body.
    pub(crate) async fn accept(&self, header: &[u8], body: &[u8]) -> bool {
        let digits = header.strip_prefix(b"sha256=");
        match digits.and_then(|digits| hex::decode(digits).ok()) {
            Some(given) => self.verify(&[given], &[body]).await,
            None => false,
        }
    }

    /// Whether one of `given` signs the parts, read one after the other. Compares in constant time; tries every secret. A large body
    /// is signed in steps, between which other requests have their turns.
    async fn verify(&self, given: &[Vec<u8>], parts: &[&[u8]]) -> bool {
        let mut good = false;
        for key in &self.0 {
            let mut context = hmac::Context::with_key(key);
            for step in parts.iter().flat_map(|part| part.chunks(STEP)) {
                context.update(step);
                if step.len() == STEP {
                    tokio::task::yield_now().await;
                }
            }
            let signature = context.sign();
            for given in given {
                good |= verify_slices_are_equal(signature.as_ref(), given).is_ok();
            }
        }
        good
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

    /// The signature of a delivery, if it has one.
    pub(super) fn signature<'a>(&self, headers: &'a HeaderMap) -> Option<&'a [u8]> {
        let name = match self.preset {
            Preset::Github | Preset::Whatsapp => "x-hub-signature-256",
            Preset::Stripe => "stripe-signature",
            Preset::Hmac => &self.header,
        };
        headers.get(name).map(|value| value.as_bytes())
    }

    pub(super) async fn accepts(&self, given: &[u8], body: &[u8], now: SystemTime) -> bool {
        match self.preset {
            Preset::Github | Preset::Whatsapp => self.signers.accept(given, body).await,
            Preset::Stripe => match std::str::from_utf8(given) {
                Ok(given) => self.stripe(given, body, now).await,
                Err(_) => false,
            },
            Preset::Hmac => {
                let given = given.strip_prefix(b"sha256=").unwrap_or(given);
                let bytes = match self.encoding {
                    Encoding::Hex => hex::decode(given).ok(),
                    Encoding::Base64 => STANDARD.decode(given).ok(),
                    Encoding::Base64url => URL_SAFE.decode(given).ok(),
                };
                match bytes {
                    Some(bytes) => self.signers.verify(&[bytes], &[body]).await,
                    None => false,
                }
            }
        }
    }

    /// `t=1700000000,v1=…,v1=…`: the time and the body are signed together; any of several signatures will do.
    async fn stripe(&self, header: &str, body: &[u8], now: SystemTime) -> bool {
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
        let signatures: Vec<Vec<u8>> = parts
            .iter()
            .filter(|(key, _)| *key == "v1")
            .filter_map(|(_, digits)| hex::decode(digits).ok())
            .collect();
        let signed = [time.as_bytes(), b".", body];
        self.signers.verify(&signatures, &signed).await && fresh
    }
}

/// The header `X-Hub-Signature-256` of a body.
pub(crate) fn sign(secret: &str, body: &[u8]) -> String {
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

    #[tokio::test]
    async fn each_secret_signs_and_nothing_else_does() {
        let signers = Signers::new(&["uno", "dos"]);
        let body = br#"{"a":"\u00f1"}"#;
        for secret in ["uno", "dos"] {
            assert!(signers.accept(sign(secret, body).as_bytes(), body).await);
        }
        let good = sign("uno", body);
        // The same text, serialised otherwise: the bytes count.
        assert!(!signers.accept(good.as_bytes(), "{\"a\":\"ñ\"}".as_bytes()).await);
        for wrong in [
            sign("tres", body),
            good.replace("sha256=", "sha1="),
            good.get(..good.len() - 2).unwrap_or_default().to_owned(),
            format!("{good}00"),
            "sha256=".into(),
            "sha256=zz".into(),
            String::new(),
        ] {
            assert!(!signers.accept(wrong.as_bytes(), body).await, "{wrong}");
        }
        assert!(!Signers::new(&[]).accept(good.as_bytes(), body).await);
    }

    #[test]
    fn the_vector_of_rfc_4231_is_met() {
        let wanted = "sha256=5bdcc146bf60754e6a042426089575c75a003f089d2739839dec58b964ec3843";
        assert_eq!(sign("Jefe", b"what do ya want for nothing?"), wanted);
    }

    async fn accepts(preset: Preset, encoding: Encoding, header: (&str, &str), body: &[u8], at: u64) -> bool {
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
        let scheme = Scheme::new(&section);
        let at = SystemTime::UNIX_EPOCH + Duration::from_secs(at);
        match scheme.signature(&headers) {
            Some(given) => scheme.accepts(given, body, at).await,
            None => false,
        }
    }

    #[tokio::test]
    async fn stripe_signs_the_time_too() {
        let body = br#"{"id":"evt_1"}"#;
        let signed = sign("Jefe", &[b"1700000000.".as_slice(), body].concat());
        let digits = signed.strip_prefix("sha256=").unwrap();
        let header = format!("t=1700000000,v1=00ff,v1={digits},v0=x");
        let ask = async |header: &str, at| {
            let header = ("stripe-signature", header);
            accepts(Preset::Stripe, Encoding::Hex, header, body, at).await
        };
        assert!(ask(&header, 1_700_000_300).await && ask(&header, 1_699_999_700).await);
        assert!(!ask(&header, 1_700_000_301).await, "too old");
        let other = header.replace("t=1700000000", "t=1700000001");
        assert!(!ask(&other, 1_700_000_000).await);
        for wrong in [
            "",
            "t=x",
            "v1=00",
            "t=99999999999999999999,v1=00",
            &format!("v1={digits}"),
        ] {
            assert!(!ask(wrong, 1_700_000_000).await, "{wrong}");
        }
    }

    #[tokio::test]
    async fn github_and_the_generic_one_have_their_headers() {
        let body = b"what do ya want for nothing?";
        let good = sign("Jefe", body);
        let digits = good.strip_prefix("sha256=").unwrap();
        let base64 = STANDARD.encode(hex::decode(digits).unwrap());
        let github = async |header| accepts(Preset::Github, Encoding::Hex, header, body, 0).await;
        assert!(github(("x-hub-signature-256", &good)).await);
        assert!(!github(("x-firma", &good)).await);
        for (encoding, text) in [
            (Encoding::Hex, digits),
            (Encoding::Hex, good.as_str()),
            (Encoding::Base64, base64.as_str()),
        ] {
            let header = ("x-firma", text);
            assert!(accepts(Preset::Hmac, encoding, header, body, 0).await, "{text}");
        }
        let header = ("x-firma", digits);
        assert!(!accepts(Preset::Hmac, Encoding::Base64, header, body, 0).await);
    }
}
