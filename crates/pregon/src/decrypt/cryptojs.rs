//! `CryptoJS.AES.encrypt(text, passphrase)`: base64 of `Salted__`, eight bytes of salt and AES-256-CBC.
//!
//! Key and IV come from the passphrase by OpenSSL's old EVP_BytesToKey with MD5, once. There is no MAC.

use md5::{Digest as _, Md5};
use zeroize::Zeroizing;

use super::Refused;
use super::aes::{Cbc, readable};
use super::encoding;
use crate::config::Encoding;

/// `Salted__` in base64, as far as the salt has no part in it.
const MARK: &str = "U2FsdGVkX1";

pub(super) struct CryptoJs {
    pub(super) passphrases: Vec<Zeroizing<Vec<u8>>>,
}

impl CryptoJs {
    pub(super) fn open(&self, text: &str) -> Result<Vec<u8>, Refused> {
        if !text.starts_with(MARK) {
            return Err(Refused::Foreign);
        }
        let bytes = encoding::bytes(Encoding::Base64, text).ok_or(Refused::Sealed)?;
        let rest = bytes.strip_prefix(b"Salted__").ok_or(Refused::Sealed)?;
        let (salt, data) = rest.split_at_checked(8).ok_or(Refused::Sealed)?;
        let opened = self.passphrases.iter().find_map(|passphrase| {
            let derived = derive(passphrase, salt);
            let (key, iv) = derived.split_at_checked(32)?;
            readable(Cbc::new(key)?.open(iv, data))
        });
        opened.ok_or(Refused::Sealed)
    }
}

/// Key and IV: each block is the hash of the one before, the passphrase and the salt.
fn derive(passphrase: &[u8], salt: &[u8]) -> Zeroizing<Vec<u8>> {
    let mut out = Zeroizing::new(Vec::with_capacity(48));
    let mut block = Zeroizing::new([0; 16]);
    let mut hash = Md5::new();
    for _ in 0..3 {
        hash.update(passphrase);
        hash.update(salt);
        *block = hash.finalize_reset().into();
        out.extend_from_slice(&*block);
        hash.update(block.as_slice());
    }
    out
}
