//! Fernet (Python `cryptography`): base64url of 0x80, a time, an IV, AES-128-CBC and HMAC-SHA256 over all of it.
//!
//! The time is not looked at: a row is as old as it is.

use aws_lc_rs::hmac;

use super::Refused;
use super::aes::Cbc;
use super::encoding;
use crate::config::Encoding;

/// Base64 of the version and the first bytes of a time before 2106.
const MARK: &str = "gAAAAA";
const VERSION: u8 = 0x80;

pub(super) struct Fernet {
    pub(super) keys: Vec<Key>,
}

pub(super) struct Key {
    sign: hmac::Key,
    cipher: Cbc,
}

impl Key {
    /// A key of 32 bytes: the half that signs, then the half that encrypts.
    pub(super) fn new(key: &[u8]) -> Option<Self> {
        let (sign, encrypt) = key.split_at_checked(16)?;
        Some(Self {
            sign: hmac::Key::new(hmac::HMAC_SHA256, sign),
            cipher: Cbc::new(encrypt)?,
        })
    }
}

impl Fernet {
    pub(super) fn open(&self, text: &str) -> Result<Vec<u8>, Refused> {
        if !text.starts_with(MARK) || !encoding::is_alphabet(Encoding::Base64url, text) {
            return Err(Refused::Foreign);
        }
        let bytes = encoding::bytes(Encoding::Base64url, text).ok_or(Refused::Sealed)?;
        let opened = take_apart(&bytes).and_then(|token| {
            let signs = |key: &&Key| hmac::verify(&key.sign, token.signed, token.mac).is_ok();
            self.keys.iter().find(signs)?.cipher.open(token.iv, token.data)
        });
        opened.ok_or(Refused::Sealed)
    }
}

struct Token<'t> {
    signed: &'t [u8],
    iv: &'t [u8],
    data: &'t [u8],
    mac: &'t [u8],
}

fn take_apart(bytes: &[u8]) -> Option<Token<'_>> {
    let (signed, mac) = bytes.split_at_checked(bytes.len().checked_sub(32)?)?;
    let (head, rest) = signed.split_at_checked(9)?;
    let (iv, data) = rest.split_at_checked(16)?;
    (*head.first()? == VERSION).then_some(Token {
        signed,
        iv,
        data,
        mac,
    })
}
