//! Laravel's `Crypt`: base64 of a JSON object with `iv`, `value`, `mac` and `tag`, each base64 or hexadecimal itself.
//!
//! With a tag it is AES-GCM, without one AES-CBC under an HMAC. Both prove themselves with the same key, so it does no harm that the
//! object says itself which it is.

use std::borrow::Cow;

use aws_lc_rs::hmac;

use super::Refused;
use super::aes::{Cbc, Gcm};
use super::encoding;
use crate::config::Encoding;

/// `{"` in base64.
const MARK: &str = "eyJ";

pub(super) struct Laravel {
    pub(super) keys: Vec<Key>,
    /// Whether PHP's `serialize` wrapped the text.
    pub(super) serialized: bool,
}

pub(super) struct Key {
    sign: hmac::Key,
    cbc: Cbc,
    gcm: Gcm,
}

impl Key {
    /// A key of 16 or 32 bytes.
    pub(super) fn new(key: &[u8]) -> Option<Self> {
        Some(Self {
            sign: hmac::Key::new(hmac::HMAC_SHA256, key),
            cbc: Cbc::new(key)?,
            gcm: Gcm::new(key)?,
        })
    }

    fn open(&self, envelope: &Envelope<'_>) -> Option<Vec<u8>> {
        let decoded = |text: &str| encoding::bytes(Encoding::Base64, text);
        let (iv, data) = (decoded(&envelope.iv)?, decoded(&envelope.value)?);
        if envelope.tag.is_empty() {
            let mac = encoding::bytes(Encoding::Hex, &envelope.mac)?;
            let signed = format!("{}{}", envelope.iv, envelope.value);
            hmac::verify(&self.sign, signed.as_bytes(), &mac).ok()?;
            self.cbc.open(&iv, &data)
        } else {
            self.gcm.open(&iv, &[], &data, &decoded(&envelope.tag)?)
        }
    }
}

#[derive(serde::Deserialize)]
struct Envelope<'e> {
    #[serde(borrow)]
    iv: Cow<'e, str>,
    #[serde(borrow)]
    value: Cow<'e, str>,
    #[serde(borrow, default)]
    mac: Cow<'e, str>,
    #[serde(borrow, default)]
    tag: Cow<'e, str>,
}

impl Laravel {
    pub(super) fn open(&self, text: &str) -> Result<Vec<u8>, Refused> {
        if !text.starts_with(MARK) || !encoding::is_alphabet(Encoding::Base64, text) {
            return Err(Refused::Foreign);
        }
        let json = encoding::bytes(Encoding::Base64, text).ok_or(Refused::Sealed)?;
        let envelope: Envelope<'_> = serde_json::from_slice(&json).map_err(|_| Refused::Sealed)?;
        let opened = self.keys.iter().find_map(|key| key.open(&envelope));
        let bytes = opened.ok_or(Refused::Sealed)?;
        if self.serialized {
            unserialize(bytes).ok_or(Refused::Sealed)
        } else {
            Ok(bytes)
        }
    }
}

/// The text in `s:5:"texto";`, whose number counts bytes.
fn unserialize(bytes: Vec<u8>) -> Option<Vec<u8>> {
    let rest = bytes.strip_prefix(b"s:")?;
    let colon = rest.iter().position(|byte| *byte == b':')?;
    let (number, rest) = rest.split_at_checked(colon)?;
    let length: usize = std::str::from_utf8(number).ok()?.parse().ok()?;
    let text = rest.strip_prefix(b":\"")?.strip_suffix(b"\";")?;
    (text.len() == length).then(|| text.to_vec())
}

#[cfg(test)]
mod tests {
    use super::unserialize;

    #[test]
    fn only_serialised_texts_are_unwrapped() {
        let unwrap = |text: &str| unserialize(text.into()).map(String::from_utf8);
        assert_eq!(unwrap("s:5:\"ñ\";\"\";"), Some(Ok("ñ\";\"".into())));
        assert_eq!(unwrap("s:0:\"\";"), Some(Ok(String::new())));
        for wrong in [
            "",
            "s:",
            "s:1:\"",
            "s:2:\"a\";",
            "i:5;",
            "s:-1:\"\";",
            "s:1:\"a\"",
            "a:1:{i:0;s:1:\"a\";}",
        ] {
            assert_eq!(unwrap(wrong), None, "{wrong}");
        }
    }
}
