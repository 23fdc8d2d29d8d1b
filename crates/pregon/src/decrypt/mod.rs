//! Texts that the application encrypted, made readable again: a format, a ring of keys, and what becomes of a text that is neither.
//!
//! Pure: no clock, no metrics, no logs; `pipeline::decrypt` counts and says what failed. Layouts are declared, never guessed. Tags and
//! MACs are checked by the libraries, in constant time, before a byte of plaintext is looked at. CBC without a MAC has no integrity:
//! bad padding, bad UTF-8 and a wrong key are one and the same failure, so that nobody learns which it was.

mod encoding;
mod layout;
mod keys;
mod aes;
mod cryptojs;
mod fernet;
mod laravel;
mod cloak;
mod build;
pub mod payload;

use std::borrow::Cow;
use std::sync::Arc;

use hashbrown::HashMap;

pub use build::Fault;

use crate::config::Config;

/// Why a field goes out as null. Never says more about a text of the format than that it could not be decrypted.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Failure {
    #[error("it is not a text")]
    NotText,
    #[error("the text is not of the declared format; `plain = \"pass\"` lets such texts through")]
    Foreign,
    #[error("it cannot be decrypted: the text is damaged, or its key is not in the ring")]
    Sealed,
    #[error("it is decrypted but no JSON, although `json = true` says so")]
    NotJson,
    #[error("no [[decrypt]] section has the name that it was sealed with")]
    NoSection,
}

/// Why a format did not open a text.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Refused {
    /// The text is none of the format.
    Foreign,
    /// The text is of the format but its tag, MAC, padding, length or encoding is wrong.
    Sealed,
}

enum Format {
    Layout(aes::Declared),
    CryptoJs(cryptojs::CryptoJs),
    Fernet(fernet::Fernet),
    Laravel(laravel::Laravel),
    Cloak(cloak::Cloak),
}

impl Format {
    fn open(&self, text: &str, aad: &[u8]) -> Result<Vec<u8>, Refused> {
        match self {
            Self::Layout(declared) => declared.open(text, aad),
            Self::CryptoJs(format) => format.open(text),
            Self::Fernet(format) => format.open(text),
            Self::Laravel(format) => format.open(text),
            Self::Cloak(format) => format.open(text),
        }
    }
}

/// What takes the place of a value in a payload.
#[derive(Debug, PartialEq, Eq)]
pub enum Value {
    /// The value itself: a null, or a plain text that passes.
    Unchanged,
    /// A text, to be written as a JSON string.
    Text(String),
    /// JSON as it is.
    Json(String),
}

/// One `[[decrypt]]` section, ready for use. Holds keys, so it has no `Debug`.
pub struct Section {
    format: Format,
    /// Whether texts are bound to their row.
    bound: bool,
    pass: bool,
    json: bool,
}

impl Section {
    /// The value that takes the place of `raw`, a JSON value that is encrypted. `aad` is what the text was bound to.
    pub fn open(&self, raw: &str, aad: Option<&[u8]>) -> Result<Value, Failure> {
        if raw == "null" {
            return Ok(Value::Unchanged);
        }
        let Ok(text) = serde_json::from_str::<Text<'_>>(raw) else {
            return self.plain(Failure::NotText);
        };
        let aad = match aad {
            Some(aad) => aad,
            // A column of the template was missing or null: an empty text instead would open what is bound to nothing.
            None if self.bound => return Err(Failure::Sealed),
            None => &[],
        };
        let bytes = match self.format.open(&text.0, aad) {
            Ok(bytes) => bytes,
            Err(Refused::Foreign) => return self.plain(Failure::Foreign),
            Err(Refused::Sealed) => return Err(Failure::Sealed),
        };
        let text = String::from_utf8(bytes).map_err(|_| Failure::Sealed)?;
        if !self.json {
            return Ok(Value::Text(text));
        }
        match serde_json::from_str::<serde::de::IgnoredAny>(&text) {
            Ok(_) => Ok(Value::Json(text)),
            Err(_) => Err(Failure::NotJson),
        }
    }

    fn plain(&self, failure: Failure) -> Result<Value, Failure> {
        if self.pass {
            Ok(Value::Unchanged)
        } else {
            Err(failure)
        }
    }
}

#[derive(serde::Deserialize)]
struct Text<'t>(#[serde(borrow)] Cow<'t, str>);

/// All sections by name.
#[derive(Default)]
pub struct Decryptor(HashMap<Arc<str>, Section>);

impl Decryptor {
    /// Builds the sections of a checked configuration; reads key files.
    pub fn build(config: &Config) -> Result<Self, Fault> {
        let sections = config.decrypt.iter().map(|section| {
            let built = Section::build(section);
            built
                .map(|built| (Arc::from(section.name.as_str()), built))
                .map_err(|mut faults| faults.swap_remove(0))
        });
        sections.collect::<Result<_, _>>().map(Self)
    }

    /// The section of a name.
    pub fn get(&self, name: &str) -> Option<&Section> {
        self.0.get(name)
    }
}

#[cfg(test)]
mod tests;
