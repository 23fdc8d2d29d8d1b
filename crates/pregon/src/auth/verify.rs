//! Verifies tokens: signature, algorithm, time, issuer, audience.
//!
//! `exp` is optional but enforced where present; `exp` or `nbf` that are no numbers are refused, not ignored. Errors carry a message
//! that may be shown to clients; it never contains the token.

use std::sync::Arc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use jsonwebtoken::{Algorithm, DecodingKey};
use serde_json::{Map, Value};

use super::claims::Claims;
use super::jwks::Jwks;
use super::jwt::Jwt;
pub(crate) use super::keys::SetupError;
use super::keys::{self, Keys};
use super::revoked::Revoked;
use crate::config;

/// Why a token is refused.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub(crate) enum AuthError {
    #[error("this server verifies no tokens")]
    NotConfigured,
    #[error("the token is malformed")]
    Malformed,
    #[error("the token's algorithm is not accepted")]
    Algorithm,
    #[error("the token's key is not known")]
    UnknownKey,
    #[error("the token's signature is wrong")]
    Signature,
    #[error("the token has expired")]
    Expired,
    /// Some libraries count a lifetime in milliseconds where others count seconds: every client would be refused for ever.
    #[error(
        "the token's `exp` is not after its `iat`: the lifetime that it is signed with is in another unit than its library expects"
    )]
    NoLifetime,
    #[error("the token is not valid yet")]
    NotYet,
    #[error("the token is for another audience")]
    Audience,
    #[error("the token is from another issuer")]
    Issuer,
    #[error("the token was revoked: sign in again")]
    Revoked,
}

/// Longer than any token that fits into a request head.
const LONGEST: usize = 16 * 1024;

enum Source {
    None,
    One(Box<DecodingKey>),
    Remote(Box<Jwks>),
}

/// Verifies tokens by one configuration.
pub(crate) struct Verifier {
    source: Source,
    algorithms: Vec<Algorithm>,
    audience: Option<String>,
    issuer: Option<String>,
    leeway: u64,
    revoked: Arc<Revoked>,
}

impl Verifier {
    /// Reads the keys; a key set at an address is read when the first token comes.
    pub(crate) fn build(auth: &config::Auth) -> Result<Self, SetupError> {
        let (keys, algorithms) = keys::load(auth)?;
        let source = match keys {
            Keys::None => Source::None,
            Keys::One(key) => Source::One(key),
            Keys::Remote(url) => Source::Remote(Box::new(Jwks::new(url)?)),
        };
        Ok(Self {
            source,
            algorithms,
            audience: auth.audience.clone(),
            issuer: auth.issuer.clone(),
            leeway: auth.leeway.as_secs(),
            revoked: Arc::default(),
        })
    }

    /// Refuses the tokens of these users too.
    pub(crate) fn without(self, revoked: &Arc<Revoked>) -> Self {
        Self {
            revoked: Arc::clone(revoked),
            ..self
        }
    }

    #[cfg(test)]
    pub(super) fn with_jwks(self, jwks: Jwks) -> Self {
        Self {
            source: Source::Remote(Box::new(jwks)),
            ..self
        }
    }

    /// Whether there is a key to hold tokens against.
    pub(crate) fn configured(&self) -> bool {
        !matches!(self.source, Source::None)
    }

    /// Verifies a token now.
    pub(crate) async fn verify(&self, token: &str) -> Result<Claims, AuthError> {
        self.verify_at(token, SystemTime::now()).await
    }

    /// Verifies a token at a time.
    pub(crate) async fn verify_at(&self, token: &str, now: SystemTime) -> Result<Claims, AuthError> {
        if matches!(self.source, Source::None) {
            return Err(AuthError::NotConfigured);
        }
        if token.len() > LONGEST {
            return Err(AuthError::Malformed);
        }
        let token = Jwt::read(token)?;
        if !self.algorithms.contains(&token.algorithm) {
            return Err(AuthError::Algorithm);
        }
        match &self.source {
            Source::None => return Err(AuthError::NotConfigured),
            Source::One(key) => prove(&token, std::slice::from_ref(key))?,
            Source::Remote(jwks) => {
                let keys = jwks.candidates(token.key.as_deref(), token.algorithm).await;
                prove(&token, &keys)?;
            }
        }
        let claims = token.claims()?;
        self.check_names(&claims)?;
        let seconds = now.duration_since(UNIX_EPOCH).map_or(0, |since| since.as_secs());
        let closes = self.check_time(&claims, seconds)?;
        let claims = Claims::new(claims, closes);
        match self.revoked.refuses(&claims) {
            true => Err(AuthError::Revoked),
            false => Ok(claims),
        }
    }

    /// Refuses claims of another audience or issuer.
    fn check_names(&self, claims: &Map<String, Value>) -> Result<(), AuthError> {
        if !names(claims, "aud", self.audience.as_deref()) {
            return Err(AuthError::Audience);
        }
        // RFC 7519 §4.1.1: one text. In a list another issuer could stand beside the right one.
        let several = self.issuer.is_some() && !claims.get("iss").is_some_and(Value::is_string);
        if several || !names(claims, "iss", self.issuer.as_deref()) {
            return Err(AuthError::Issuer);
        }
        Ok(())
    }

    /// Refuses claims out of their time; gives the moment when they end.
    fn check_time(&self, claims: &Map<String, Value>, now: u64) -> Result<Option<SystemTime>, AuthError> {
        let closes = seconds(claims, "exp")?.map(|expires| expires.saturating_add(self.leeway));
        if closes.is_some_and(|closes| now >= closes) {
            let made = seconds(claims, "iat").ok().flatten();
            let never = made
                .is_some_and(|made| closes.is_some_and(|closes| closes <= made.saturating_add(self.leeway)));
            return Err(if never {
                AuthError::NoLifetime
            } else {
                AuthError::Expired
            });
        }
        if seconds(claims, "nbf")?.is_some_and(|starts| now.saturating_add(self.leeway) < starts) {
            return Err(AuthError::NotYet);
        }
        Ok(closes.and_then(|closes| UNIX_EPOCH.checked_add(Duration::from_secs(closes))))
    }
}

/// A NumericDate; anything else under that name is refused.
fn seconds(claims: &Map<String, Value>, name: &str) -> Result<Option<u64>, AuthError> {
    let Some(value) = claims.get(name) else {
        return Ok(None);
    };
    if let Some(whole) = value.as_u64() {
        return Ok(Some(whole));
    }
    match value.as_f64() {
        #[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss)] // Within u64 by the guard.
        Some(seconds) if (0.0..1e15).contains(&seconds) => Ok(Some(seconds as u64)),
        Some(seconds) if seconds < 0.0 => Ok(Some(0)),
        _ => Err(AuthError::Malformed),
    }
}

/// Whether a claim is the wanted text, or a list with it.
fn names(claims: &Map<String, Value>, claim: &str, wanted: Option<&str>) -> bool {
    let Some(wanted) = wanted else { return true };
    match claims.get(claim) {
        Some(Value::String(text)) => text == wanted,
        Some(Value::Array(list)) => list.iter().any(|text| text.as_str() == Some(wanted)),
        _ => false,
    }
}

/// Whether one of the keys has signed it. A key that cannot be used at all has not, and keeps no other from its turn.
fn prove<K: std::borrow::Borrow<DecodingKey>>(token: &Jwt<'_>, keys: &[K]) -> Result<(), AuthError> {
    let mut last = AuthError::UnknownKey;
    for key in keys {
        let key = key.borrow();
        if !key.family().algorithms().contains(&token.algorithm) {
            last = AuthError::Algorithm;
            continue;
        }
        if token.is_signed_with(key) {
            return Ok(());
        }
        last = AuthError::Signature;
    }
    Err(last)
}
