//! The ring of keys: from a variable of the environment or a file, several for rotation, the newest first.
//!
//! Key material is wiped when it is dropped, and no message ever shows it.

use std::fs;

use aws_lc_rs::digest;
use zeroize::Zeroizing;

use super::build::Fault;
use super::encoding;
use crate::config::{Decrypt, Encoding, Format, KeyEncoding};

/// What Laravel writes before a key in `.env`.
const LARAVEL: &str = "base64:";
/// What cloak writes before a key.
pub(super) const CLOAK: &str = "k1.aesgcm256.";

/// One key as it was written and as bytes.
pub(super) struct Key {
    pub(super) text: Zeroizing<String>,
    pub(super) bytes: Zeroizing<Vec<u8>>,
}

/// Reads the keys of a section; at least one.
pub(super) fn read(section: &Decrypt) -> Result<Vec<Key>, Fault> {
    let (option, texts) = texts(section)?;
    if texts.is_empty() {
        return Err(Fault::new(
            option,
            "holds no key",
            "write the key, or several with the newest first",
        ));
    }
    let encoding = section.key_encoding.unwrap_or(default_encoding(section.format));
    let keys = texts.into_iter().enumerate().map(|(index, text)| {
        let bytes = decode(encoding, &text).filter(|bytes| fits(section.format, bytes.len()));
        match bytes {
            Some(bytes) => Ok(Key { text, bytes }),
            None => Err(wrong(section.format, encoding, option, index)),
        }
    });
    keys.collect()
}

/// The option that says where the keys are, and their texts.
fn texts(section: &Decrypt) -> Result<(&'static str, Vec<Zeroizing<String>>), Fault> {
    match (&section.key_env, &section.key_file) {
        (None, None) => {
            let remedy = "add `key_env = \"NAME_OF_A_VARIABLE\"` or `key_file = \"FILE\"`";
            Err(Fault::new("format", "has no key", remedy))
        }
        (Some(_), Some(_)) => Err(Fault::new(
            "key_file",
            "`key_env` and `key_file` exclude each other",
            "keep one of them",
        )),
        (Some(variable), None) => {
            let Some(key) = &section.key else {
                let message = format!("the variable {variable} is not set, so there is no key");
                return Err(Fault::new(
                    "key_env",
                    message,
                    format!("set {variable}, or use `key_file`"),
                ));
            };
            Ok(("key_env", cut(key.reveal(), ',')))
        }
        (None, Some(path)) => match fs::read_to_string(path) {
            Ok(text) => Ok(("key_file", cut(&Zeroizing::new(text), '\n'))),
            Err(error) => {
                let remedy =
                    "check the path (it is relative to the configuration's folder) and its permissions";
                Err(Fault::new(
                    "key_file",
                    format!("cannot read {path}: {error}"),
                    remedy,
                ))
            }
        },
    }
}

fn cut(text: &str, at: char) -> Vec<Zeroizing<String>> {
    let texts = text.split(at).map(|text| text.trim_end_matches('\r'));
    texts
        .filter(|text| !text.is_empty())
        .map(|text| Zeroizing::new(text.to_owned()))
        .collect()
}

fn default_encoding(format: Format) -> KeyEncoding {
    match format {
        Format::Aes256Gcm | Format::Aes256Cbc => KeyEncoding::Hex,
        Format::CryptoJs => KeyEncoding::Utf8,
        Format::Fernet | Format::Laravel | Format::Cloak => KeyEncoding::Base64,
    }
}

fn decode(encoding: KeyEncoding, text: &str) -> Option<Zeroizing<Vec<u8>>> {
    let bytes = match encoding {
        KeyEncoding::Hex => encoding::bytes(Encoding::Hex, text.trim())?,
        KeyEncoding::Base64 => {
            let text = text.trim();
            let text = text.strip_prefix(LARAVEL).unwrap_or(text);
            let text = text.strip_prefix(CLOAK).unwrap_or(text);
            let alphabet = if text.contains(['-', '_']) {
                Encoding::Base64url
            } else {
                Encoding::Base64
            };
            encoding::bytes(alphabet, text)?
        }
        KeyEncoding::Utf8 => text.as_bytes().to_vec(),
        KeyEncoding::Sha256 => digest::digest(&digest::SHA256, text.as_bytes()).as_ref().to_vec(),
    };
    Some(Zeroizing::new(bytes))
}

fn fits(format: Format, length: usize) -> bool {
    match format {
        Format::Aes256Gcm | Format::Aes256Cbc | Format::Fernet | Format::Cloak => length == 32,
        Format::Laravel => length == 16 || length == 32,
        Format::CryptoJs => length > 0,
    }
}

fn wrong(format: Format, encoding: KeyEncoding, option: &'static str, index: usize) -> Fault {
    let (bytes, remedy) = match (format, encoding) {
        (Format::Laravel, _) => ("16 or 32", "take APP_KEY from Laravel's .env"),
        (Format::CryptoJs, _) => ("1 or more", "write the passphrase"),
        (Format::Fernet, _) => ("32", "make one with `Fernet.generate_key()`"),
        (Format::Cloak, _) => ("32", "make one with `cloak generate`"),
        (_, KeyEncoding::Hex) => (
            "32",
            "make one with `openssl rand -hex 32`, or set `key_encoding`",
        ),
        (_, KeyEncoding::Base64) => (
            "32",
            "make one with `openssl rand -base64 32`, or set `key_encoding`",
        ),
        (_, KeyEncoding::Utf8 | KeyEncoding::Sha256) => {
            ("32", "for a passphrase set `key_encoding = \"sha256\"`")
        }
    };
    let written = match encoding {
        KeyEncoding::Hex => "hex",
        KeyEncoding::Base64 => "base64",
        KeyEncoding::Utf8 => "utf8",
        KeyEncoding::Sha256 => "sha256",
    };
    let message = format!("key {} is not {bytes} bytes as {written}", index + 1);
    Fault::new(option, message, remedy)
}
