//! `[[decrypt]]`: fields that the application stores encrypted and that clients get decrypted.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::units::{OneOrMany, Secret};

/// Fields that the application stores encrypted. They stay encrypted in the log and are decrypted once per entry, just before delivery.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
#[schemars(extend("required" = ["from", "fields", "format"]))]
pub struct Decrypt {
    /// Name for logs and metrics; the first source's by default.
    pub name: String,
    /// Name of a watch or listen, or a list of them.
    pub from: OneOrMany,
    /// Columns (of a message: fields at its top) that are encrypted: `["message"]`.
    pub fields: Vec<String>,
    /// Who made the texts: the ciphers with a declared `layout`, CryptoJS with a passphrase, Fernet (Python `cryptography`), Laravel's
    /// `Crypt`, or cloak (prisma-field-encryption).
    pub format: Format,
    /// Order of the parts of `aes-256-gcm` (`iv`, `tag`, `data`) and `aes-256-cbc` (`iv`, `data`): `"iv:tag:data"` with a separator, each
    /// part encoded by itself; `"iv+tag+data"` where they are joined and then encoded; both together, as in `"iv:data+tag"`.
    pub layout: Option<String>,
    /// How the parts of a `layout` are encoded; `hex` by default.
    pub encoding: Option<Encoding>,
    /// Bytes of the IV in a `layout`: 12 or 16. The default is 12 for `aes-256-gcm` and 16 for `aes-256-cbc`.
    pub iv: Option<u32>,
    /// Additional data that `aes-256-gcm` authenticates, as a template over the row: `"{conversation_id}"`.
    pub aad: Option<String>,
    /// Variable of the environment with the key, or with several keys between commas, the newest first.
    pub key_env: Option<String>,
    /// File with the key, or with several keys, one a line, the newest first.
    pub key_file: Option<String>,
    /// How keys are written; `sha256` makes a key of a passphrase's hash. The default is `hex` for the ciphers, `utf8` for CryptoJS and
    /// `base64` for the others.
    pub key_encoding: Option<KeyEncoding>,
    /// What becomes of a text that is not of the format, as rows from before the encryption are: `pass` lets it through unchanged,
    /// `refuse` makes it a failure. A text of the format that cannot be decrypted is a failure in any case.
    pub plain: Plain,
    /// Whether Laravel serialised the text (`encrypt`, not `encryptString`).
    pub serialized: bool,
    /// Whether the decrypted text is JSON and takes its place in the payload as such.
    pub json: bool,
    /// What `key_env` holds; laid over by the environment.
    #[serde(skip)]
    pub key: Option<Secret>,
}

/// How texts are encrypted.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize, JsonSchema)]
#[schemars(rename = "DecryptFormat")]
pub enum Format {
    #[default]
    #[serde(rename = "aes-256-gcm")]
    Aes256Gcm,
    #[serde(rename = "aes-256-cbc")]
    Aes256Cbc,
    #[serde(rename = "cryptojs")]
    CryptoJs,
    #[serde(rename = "fernet")]
    Fernet,
    #[serde(rename = "laravel")]
    Laravel,
    #[serde(rename = "cloak")]
    Cloak,
}

/// How bytes are written as text.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum Encoding {
    #[default]
    Hex,
    Base64,
    Base64url,
}

/// How keys are written.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum KeyEncoding {
    Hex,
    Base64,
    Utf8,
    Sha256,
}

/// What becomes of texts that are not of the format.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum Plain {
    #[default]
    Refuse,
    Pass,
}
