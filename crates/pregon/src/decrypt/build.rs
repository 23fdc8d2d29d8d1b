//! From a `[[decrypt]]` section of the configuration to one that opens texts, or to everything that is wrong with it.

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE;

use super::aes::{Cbc, Declared, Gcm, Ring};
use super::cloak::{self, Cloak};
use super::cryptojs::CryptoJs;
use super::fernet::{self, Fernet};
use super::keys::{self, CLOAK, Key};
use super::laravel::{self, Laravel};
use super::layout::Layout;
use super::{Format, Section};
use crate::config::{self, Decrypt, Plain};

/// What is wrong with a section; never holds key material.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{message}; {remedy}")]
pub struct Fault {
    /// The option of the section.
    pub option: &'static str,
    pub message: String,
    pub remedy: String,
}

impl Fault {
    pub(super) fn new(option: &'static str, message: impl Into<String>, remedy: impl Into<String>) -> Self {
        Self {
            option,
            message: message.into(),
            remedy: remedy.into(),
        }
    }
}

impl Section {
    /// Builds a section and reads its keys; otherwise everything that is wrong, at least one fault.
    pub fn build(section: &Decrypt) -> Result<Self, Vec<Fault>> {
        let mut faults = strangers(section);
        let format = match section.format {
            config::Format::Aes256Gcm | config::Format::Aes256Cbc => declared(section, &mut faults),
            _ => keys::read(section).map_or_else(
                |fault| refuse(fault, &mut faults),
                |keys| ready_made(section, &keys),
            ),
        };
        match format {
            Some(format) if faults.is_empty() => Ok(Self {
                format,
                bound: section.aad.is_some(),
                pass: section.plain == Plain::Pass,
                json: section.json,
            }),
            _ if faults.is_empty() => Err(vec![Fault::new("format", "the keys cannot be used", "")]),
            _ => Err(faults),
        }
    }
}

fn refuse<T>(fault: Fault, faults: &mut Vec<Fault>) -> Option<T> {
    faults.push(fault);
    None
}

/// Options that the format has no use for: whoever sets them thinks of something else.
fn strangers(section: &Decrypt) -> Vec<Fault> {
    use config::Format::{Aes256Cbc, Aes256Gcm, Laravel};
    let declared = [Aes256Gcm, Aes256Cbc].contains(&section.format);
    let given = [
        ("layout", section.layout.is_some() && !declared),
        ("encoding", section.encoding.is_some() && !declared),
        ("iv", section.iv.is_some() && !declared),
        ("aad", section.aad.is_some() && section.format != Aes256Gcm),
        ("serialized", section.serialized && section.format != Laravel),
    ];
    let strange = given.into_iter().filter(|(_, strange)| *strange);
    strange
        .map(|(option, _)| Fault::new(option, "does not belong to this format", "remove it"))
        .collect()
}

fn declared(section: &Decrypt, faults: &mut Vec<Fault>) -> Option<Format> {
    let tagged = section.format == config::Format::Aes256Gcm;
    let iv = match section.iv {
        None if tagged => Some(12),
        None => Some(16),
        Some(12) if tagged => Some(12),
        Some(16) => Some(16),
        Some(_) if tagged => refuse(
            Fault::new("iv", "must be 12 or 16", "most libraries take 12"),
            faults,
        ),
        Some(_) => refuse(
            Fault::new("iv", "must be 16 for aes-256-cbc", "remove it"),
            faults,
        ),
    };
    let example = if tagged { "iv:tag:data" } else { "iv:data" };
    let layout = match &section.layout {
        None => refuse(
            Fault::new(
                "format",
                "the key `layout` is missing",
                format!("add `layout = \"{example}\"`"),
            ),
            faults,
        ),
        Some(text) => match Layout::parse(
            text,
            section.encoding.unwrap_or_default(),
            iv.unwrap_or(16),
            tagged,
        ) {
            Ok(layout) => Some(layout),
            Err(error) => {
                let remedy = format!("write it like `{example}` or `{}`", example.replace(':', "+"));
                refuse(Fault::new("layout", error.to_string(), remedy), faults)
            }
        },
    };
    let keys = keys::read(section).map_or_else(|fault| refuse(fault, faults), Some)?;
    let ring = match (tagged, iv?) {
        (true, 12) => Ring::Gcm(all(&keys, |key| Gcm::new(&key.bytes))?),
        (true, _) => Ring::Gcm(all(&keys, |key| Gcm::long(&key.bytes))?),
        (false, _) => Ring::Cbc(all(&keys, |key| Cbc::new(&key.bytes))?),
    };
    Some(Format::Layout(Declared {
        layout: layout?,
        ring,
    }))
}

fn ready_made(section: &Decrypt, keys: &[Key]) -> Option<Format> {
    Some(match section.format {
        config::Format::Aes256Gcm | config::Format::Aes256Cbc => return None,
        config::Format::CryptoJs => Format::CryptoJs(CryptoJs {
            passphrases: keys.iter().map(|key| key.bytes.clone()).collect(),
        }),
        config::Format::Fernet => Format::Fernet(Fernet {
            keys: all(keys, |key| fernet::Key::new(&key.bytes))?,
        }),
        config::Format::Laravel => Format::Laravel(Laravel {
            keys: all(keys, |key| laravel::Key::new(&key.bytes))?,
            serialized: section.serialized,
        }),
        config::Format::Cloak => Format::Cloak(Cloak {
            keys: all(keys, |key| {
                Some(cloak::Key {
                    fingerprint: fingerprint(key),
                    cipher: Gcm::new(&key.bytes)?,
                })
            })?,
        }),
    })
}

fn all<T>(keys: &[Key], make: impl Fn(&Key) -> Option<T>) -> Option<Vec<T>> {
    keys.iter().map(make).collect()
}

/// The start of the hash of the key as cloak writes it.
fn fingerprint(key: &Key) -> String {
    let hash = |text: &str| {
        let hash = aws_lc_rs::digest::digest(&aws_lc_rs::digest::SHA256, text.as_bytes());
        hex::encode(hash.as_ref().get(..4).unwrap_or_default())
    };
    let written = key.text.trim();
    if written.starts_with(CLOAK) {
        hash(written)
    } else {
        let text = zeroize::Zeroizing::new(URL_SAFE.encode(&*key.bytes));
        hash(&zeroize::Zeroizing::new(format!("{CLOAK}{}", &*text)))
    }
}
