//! Whether a delivery comes from the app: `X-Hub-Signature-256` is the HMAC of the bytes as they came, under one of the secrets.

use aws_lc_rs::hmac;

/// The secrets that deliveries may be signed with.
pub(super) struct Signers(Vec<hmac::Key>);

impl Signers {
    pub(super) fn new(secrets: &[&str]) -> Self {
        let key = |secret: &&str| hmac::Key::new(hmac::HMAC_SHA256, secret.as_bytes());
        Self(secrets.iter().map(key).collect())
    }

    /// Whether `header` (`sha256=` and 64 hexadecimal digits) signs the body. Compares in constant time; tries every secret.
    pub(super) fn accept(&self, header: &[u8], body: &[u8]) -> bool {
        let Some(given) = header
            .strip_prefix(b"sha256=")
            .and_then(|digits| hex::decode(digits).ok())
        else {
            return false;
        };
        self.0
            .iter()
            .fold(false, |good, key| hmac::verify(key, body, &given).is_ok() | good)
    }
}

/// The header for a body.
pub(super) fn sign(secret: &str, body: &[u8]) -> String {
    let key = hmac::Key::new(hmac::HMAC_SHA256, secret.as_bytes());
    format!("sha256={}", hex::encode(hmac::sign(&key, body)))
}

#[cfg(test)]
mod tests {
    use super::*;

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
}
