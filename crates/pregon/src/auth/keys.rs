//! The keys that tokens are verified with, and which algorithms go with them.
//!
//! Threat: a token names its own algorithm. It is taken only if it is on the list and fits the key's family, so that a public key
//! can never be used as an HMAC secret.

use std::fs;

use jsonwebtoken::{Algorithm, AlgorithmFamily, DecodingKey};

use crate::config;

/// Why keys cannot be used. Messages never contain key material.
#[derive(Debug, thiserror::Error)]
pub(crate) enum SetupError {
    #[error("more than one kind of key is configured")]
    SeveralKeys,
    #[error("the secret is empty")]
    EmptySecret,
    #[error("cannot read {path}")]
    Unreadable {
        path: String,
        #[source]
        source: std::io::Error,
    },
    #[error("{0} holds no public key in PEM form (RSA, EC or Ed25519)")]
    NoPublicKey(String),
    #[error("algorithm {algorithm:?} does not fit {key}")]
    Mismatch {
        algorithm: config::Algorithm,
        key: &'static str,
    },
    #[error("the address of the key set is not https (http is for this machine only)")]
    InsecureJwks,
    #[error("cannot prepare the reader of the key set")]
    Client(#[source] reqwest::Error),
}

/// Where keys come from.
pub(super) enum Keys {
    /// No key: no token can be verified.
    None,
    /// One key for all tokens.
    One(Box<DecodingKey>),
    /// A key set at an address.
    Remote(String),
}

/// Reads the keys of a configuration, and the algorithms that go with them.
pub(super) fn load(auth: &config::Auth) -> Result<(Keys, Vec<Algorithm>), SetupError> {
    let kinds = [
        auth.secret.is_some() || auth.secret_file.is_some(),
        auth.public_key_file.is_some(),
        auth.jwks_url.is_some(),
    ];
    if kinds.into_iter().filter(|set| *set).count() > 1
        || (auth.secret.is_some() && auth.secret_file.is_some())
    {
        return Err(SetupError::SeveralKeys);
    }
    if let Some(path) = &auth.public_key_file {
        let (key, default) = public_key(path)?;
        let family = key.family();
        let listed = algorithms(auth, default, &[family], "the public key")?;
        return Ok((Keys::One(Box::new(key)), listed));
    }
    if let Some(url) = &auth.jwks_url {
        if !secure(url) {
            return Err(SetupError::InsecureJwks);
        }
        let families = [AlgorithmFamily::Rsa, AlgorithmFamily::Ec, AlgorithmFamily::Ed];
        let default = &[Algorithm::RS256, Algorithm::ES256, Algorithm::EdDSA];
        return Ok((
            Keys::Remote(url.clone()),
            algorithms(auth, default, &families, "a key set")?,
        ));
    }
    match secret(auth)? {
        None => Ok((Keys::None, Vec::new())),
        Some(secret) => {
            let listed = algorithms(
                auth,
                &[Algorithm::HS256],
                &[AlgorithmFamily::Hmac],
                "a shared secret",
            )?;
            Ok((Keys::One(Box::new(DecodingKey::from_secret(&secret))), listed))
        }
    }
}

fn secret(auth: &config::Auth) -> Result<Option<Vec<u8>>, SetupError> {
    let secret = match (&auth.secret, &auth.secret_file) {
        (Some(secret), _) => secret.reveal().as_bytes().to_vec(),
        (None, Some(path)) => trim_line_end(read(path)?),
        (None, None) => return Ok(None),
    };
    if secret.is_empty() {
        Err(SetupError::EmptySecret)
    } else {
        Ok(Some(secret))
    }
}

fn trim_line_end(mut bytes: Vec<u8>) -> Vec<u8> {
    for end in [b'\n', b'\r'] {
        if bytes.last() == Some(&end) {
            bytes.pop();
        }
    }
    bytes
}

/// Reads one kind of public key.
type ReadPem = fn(&[u8]) -> jsonwebtoken::errors::Result<DecodingKey>;

fn public_key(path: &str) -> Result<(DecodingKey, &'static [Algorithm]), SetupError> {
    let pem = read(path)?;
    let tries: [(ReadPem, &[Algorithm]); 3] = [
        (DecodingKey::from_rsa_pem, &[Algorithm::RS256]),
        (DecodingKey::from_ec_pem, &[Algorithm::ES256, Algorithm::ES384]),
        (DecodingKey::from_ed_pem, &[Algorithm::EdDSA]),
    ];
    let key = tries
        .into_iter()
        .find_map(|(read, default)| Some((read(&pem).ok()?, default)));
    key.ok_or_else(|| SetupError::NoPublicKey(path.to_owned()))
}

fn read(path: &str) -> Result<Vec<u8>, SetupError> {
    fs::read(path).map_err(|source| SetupError::Unreadable {
        path: path.to_owned(),
        source,
    })
}

/// The allow-list: as configured, or the default of the kind of key. Every entry must fit the key.
fn algorithms(
    auth: &config::Auth,
    default: &[Algorithm],
    families: &[AlgorithmFamily],
    key: &'static str,
) -> Result<Vec<Algorithm>, SetupError> {
    if auth.algorithms.is_empty() {
        return Ok(default.to_vec());
    }
    let listed = auth.algorithms.iter().map(|algorithm| {
        let known = native(*algorithm);
        let fits = families.iter().any(|family| family.algorithms().contains(&known));
        if fits {
            Ok(known)
        } else {
            Err(SetupError::Mismatch {
                algorithm: *algorithm,
                key,
            })
        }
    });
    listed.collect()
}

/// The library's word for an algorithm.
pub(super) fn native(algorithm: config::Algorithm) -> Algorithm {
    match algorithm {
        config::Algorithm::HS256 => Algorithm::HS256,
        config::Algorithm::HS384 => Algorithm::HS384,
        config::Algorithm::HS512 => Algorithm::HS512,
        config::Algorithm::RS256 => Algorithm::RS256,
        config::Algorithm::RS384 => Algorithm::RS384,
        config::Algorithm::RS512 => Algorithm::RS512,
        config::Algorithm::PS256 => Algorithm::PS256,
        config::Algorithm::PS384 => Algorithm::PS384,
        config::Algorithm::PS512 => Algorithm::PS512,
        config::Algorithm::ES256 => Algorithm::ES256,
        config::Algorithm::ES384 => Algorithm::ES384,
        config::Algorithm::EdDSA | config::Algorithm::Ed25519 => Algorithm::EdDSA,
    }
}

/// Whether a key set may be read from this address: anybody on the way could otherwise hand us their own keys.
pub(crate) fn secure(url: &str) -> bool {
    let Ok(url) = reqwest::Url::parse(url) else {
        return false;
    };
    let host = url.host_str().unwrap_or("").trim_matches(['[', ']']);
    let loopback = host == "localhost" || host.parse::<std::net::IpAddr>().is_ok_and(|ip| ip.is_loopback());
    !host.is_empty() && (url.scheme() == "https" || (url.scheme() == "http" && loopback))
}
