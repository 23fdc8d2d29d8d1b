//! The three parts of a token. Taken apart here and not by the library, which knows neither `Ed25519` (RFC 9864) nor padding.

use base64::Engine as _;
use base64::alphabet;
use base64::engine::{DecodePaddingMode, GeneralPurpose, GeneralPurposeConfig};
use jsonwebtoken::{Algorithm, DecodingKey};
use serde_json::{Map, Value};

use super::verify::AuthError;
use crate::lenient;

/// RFC 7515 has no padding; some issuers write it, and other readers take it.
const BASE64URL: GeneralPurpose = GeneralPurpose::new(
    &alphabet::URL_SAFE,
    GeneralPurposeConfig::new().with_decode_padding_mode(DecodePaddingMode::Indifferent),
);

/// A token whose signature was not looked at yet.
pub(super) struct Jwt<'t> {
    pub(super) algorithm: Algorithm,
    /// Name of the key (`kid`).
    pub(super) key: Option<String>,
    /// Header and claims, which are what is signed, as they were written.
    signed: &'t str,
    claims: &'t str,
    signature: &'t str,
}

#[derive(serde::Deserialize)]
struct Header {
    alg: String,
    #[serde(default)]
    kid: Option<String>,
    #[serde(default)]
    crit: Option<serde::de::IgnoredAny>,
}

impl<'t> Jwt<'t> {
    pub(super) fn read(token: &'t str) -> Result<Self, AuthError> {
        let (signed, signature) = token.rsplit_once('.').ok_or(AuthError::Malformed)?;
        let (header, claims) = signed.split_once('.').ok_or(AuthError::Malformed)?;
        let header = BASE64URL.decode(header).map_err(|_| AuthError::Malformed)?;
        let header: Header = serde_json::from_slice(&header).map_err(|_| AuthError::Malformed)?;
        // `crit` names extensions that a reader must know; we know none.
        if header.crit.is_some() {
            return Err(AuthError::Malformed);
        }
        Ok(Self {
            algorithm: algorithm(&header.alg).ok_or(AuthError::Algorithm)?,
            key: header.kid,
            signed,
            claims,
            signature: signature.trim_end_matches('='),
        })
    }

    pub(super) fn is_signed_with(&self, key: &DecodingKey) -> bool {
        let message = self.signed.as_bytes();
        jsonwebtoken::crypto::verify(self.signature, message, key, self.algorithm).unwrap_or(false)
    }

    /// What it says; to be asked for behind [`Jwt::is_signed_with`].
    pub(super) fn claims(&self) -> Result<Map<String, Value>, AuthError> {
        let json = BASE64URL.decode(self.claims).map_err(|_| AuthError::Malformed)?;
        // A name that was cut in the middle of a letter keeps nobody out; a time that cannot be read is null, which is refused.
        lenient::read(&json)
            .map(|read| read.value)
            .ok_or(AuthError::Malformed)
    }
}

/// An algorithm by any of its names: RFC 9864 calls the one of `EdDSA` that is in use `Ed25519`.
pub(super) fn algorithm(name: &str) -> Option<Algorithm> {
    match name {
        "Ed25519" => Some(Algorithm::EdDSA),
        name => name.parse().ok(),
    }
}
