//! Makes and opens tokens for development (`pregon token`).

use jsonwebtoken::{Algorithm, EncodingKey, Header, dangerous::insecure_decode, encode};
use serde_json::{Map, Value};

use super::verify::AuthError;

/// Signs claims with a shared secret (HS256).
pub(crate) fn mint(claims: &Map<String, Value>, secret: &[u8]) -> Result<String, AuthError> {
    encode(
        &Header::new(Algorithm::HS256),
        claims,
        &EncodingKey::from_secret(secret),
    )
    .map_err(|_| AuthError::Malformed)
}

/// What a token says; nothing of it is verified.
#[derive(Debug, Clone, serde::Serialize)]
pub(crate) struct Inspected {
    pub algorithm: String,
    pub key: Option<String>,
    pub claims: Map<String, Value>,
}

/// Opens a token without verifying it.
pub(crate) fn inspect(token: &str) -> Result<Inspected, AuthError> {
    let opened = insecure_decode::<Map<String, Value>>(token.trim()).map_err(|_| AuthError::Malformed)?;
    Ok(Inspected {
        algorithm: format!("{:?}", opened.header.alg),
        key: opened.header.kid,
        claims: opened.claims,
    })
}
