//! cloak (`@47ng/cloak`, prisma-field-encryption): `v1.aesgcm256.FINGERPRINT.IV.DATA+TAG`, the last two base64url.
//!
//! The fingerprint names the key, so one is tried and no other.

use super::Refused;
use super::aes::Gcm;
use super::encoding;
use super::layout::TAG;
use crate::config::Encoding;

const MARK: &str = "v1.aesgcm256.";

pub(super) struct Cloak {
    pub(super) keys: Vec<Key>,
}

pub(super) struct Key {
    /// Eight hexadecimal digits.
    pub(super) fingerprint: String,
    pub(super) cipher: Gcm,
}

impl Cloak {
    pub(super) fn open(&self, text: &str) -> Result<Vec<u8>, Refused> {
        let rest = text.strip_prefix(MARK).ok_or(Refused::Foreign)?;
        self.open_rest(rest).ok_or(Refused::Sealed)
    }

    fn open_rest(&self, rest: &str) -> Option<Vec<u8>> {
        let (fingerprint, rest) = rest.split_once('.')?;
        let (iv, sealed) = rest.split_once('.')?;
        let iv = encoding::bytes(Encoding::Base64url, iv)?;
        let sealed = encoding::bytes(Encoding::Base64url, sealed)?;
        let (data, tag) = sealed.split_at_checked(sealed.len().checked_sub(TAG)?)?;
        let named = |key: &&Key| key.fingerprint.eq_ignore_ascii_case(fingerprint);
        self.keys.iter().find(named)?.cipher.open(&iv, &[], data, tag)
    }
}
