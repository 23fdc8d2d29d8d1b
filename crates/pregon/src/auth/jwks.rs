//! A key set (JWKS) at an address: read when first needed, when a token names a key that is not in it, and when it has grown old.
//!
//! Keys are swapped whole, so verifying never waits for a reader that is not its own. A failed read keeps the old keys. Reads are
//! rate-limited: anyone can send tokens with invented key names.

use std::time::{Duration, Instant};

use arc_swap::ArcSwap;
use jsonwebtoken::jwk::{Jwk, JwkSet, PublicKeyUse};
use jsonwebtoken::{Algorithm, DecodingKey};
use serde_json::{Map, Value};
use tokio::sync::Mutex;

use super::jwt;
use super::keys::SetupError;
use crate::lenient;

/// Pause between two reads, whatever tokens say.
const PAUSE: Duration = Duration::from_secs(10);
/// Age at which the set is read again although nothing is missing, so that a withdrawn key stops working.
const OLD: Duration = Duration::from_secs(15 * 60);
/// Longest time that one read may take; a handshake waits for it.
const TIMEOUT: Duration = Duration::from_secs(5);
/// A set is a few KiB; more is somebody else's page.
const LARGEST: usize = 512 * 1024;

/// One usable key of a set.
struct Entry {
    name: Option<String>,
    algorithm: Option<Algorithm>,
    key: DecodingKey,
}

#[derive(Default)]
struct Ring {
    entries: Vec<Entry>,
    read: Option<Instant>,
}

/// Why a set could not be read.
#[derive(Debug, thiserror::Error)]
pub(crate) enum JwksError {
    #[error("the key set cannot be fetched")]
    Fetch(#[from] reqwest::Error),
    #[error("the key set's server answered {0}")]
    Status(u16),
    #[error("the key set is larger than {LARGEST} bytes")]
    TooLarge,
    #[error("the answer is not a key set")]
    Syntax(#[from] serde_json::Error),
    #[error("the key set holds no public key that can be used")]
    NoKeys,
}

/// A key set at an address.
pub(super) struct Jwks {
    url: String,
    client: reqwest::Client,
    ring: ArcSwap<Ring>,
    /// When a read was last begun; held while reading, so that there is one reader.
    begun: Mutex<Option<Instant>>,
    pause: Duration,
}

impl Jwks {
    pub(super) fn new(url: String) -> Result<Self, SetupError> {
        Self::with_pause(url, PAUSE)
    }

    /// With another pause between reads; for tests.
    pub(super) fn with_pause(url: String, pause: Duration) -> Result<Self, SetupError> {
        // No redirects: they could lead from https to anywhere.
        let client = reqwest::Client::builder()
            .timeout(TIMEOUT)
            .redirect(reqwest::redirect::Policy::none())
            .build()
            .map_err(SetupError::Client)?;
        Ok(Self {
            url,
            client,
            ring: ArcSwap::default(),
            begun: Mutex::new(None),
            pause,
        })
    }

    /// The keys that a token may have been signed with. Reads the set if none fits or it is old.
    pub(super) async fn candidates(&self, name: Option<&str>, algorithm: Algorithm) -> Vec<DecodingKey> {
        let ring = self.ring.load_full();
        let found = ring.find(name, algorithm);
        if found.is_empty() {
            self.refresh(&ring).await;
        } else if ring.read.is_none_or(|read| read.elapsed() > OLD) {
            // Somebody else is reading already: the old keys do for this token.
            if let Ok(begun) = self.begun.try_lock() {
                self.read_unless_recent(begun).await;
            }
        } else {
            return found;
        }
        self.ring.load_full().find(name, algorithm)
    }

    async fn refresh(&self, seen: &std::sync::Arc<Ring>) {
        let begun = self.begun.lock().await;
        // Another token that waited for the same key has read it meanwhile.
        if std::sync::Arc::ptr_eq(&self.ring.load(), seen) {
            self.read_unless_recent(begun).await;
        }
    }

    async fn read_unless_recent(&self, mut begun: tokio::sync::MutexGuard<'_, Option<Instant>>) {
        if begun.is_some_and(|begun| begun.elapsed() < self.pause) {
            return;
        }
        *begun = Some(Instant::now());
        match self.read().await {
            Ok(entries) => {
                tracing::info!(keys = entries.len(), "key set read");
                self.ring.store(std::sync::Arc::new(Ring {
                    entries,
                    read: Some(Instant::now()),
                }));
            }
            Err(error) => tracing::warn!(
                error = &error as &dyn std::error::Error,
                "key set not read, keeping the old keys"
            ),
        }
    }

    async fn read(&self) -> Result<Vec<Entry>, JwksError> {
        let mut response = self.client.get(&self.url).send().await?;
        if !response.status().is_success() {
            return Err(JwksError::Status(response.status().as_u16()));
        }
        let mut body = Vec::new();
        while let Some(chunk) = response.chunk().await? {
            if body.len() + chunk.len() > LARGEST {
                return Err(JwksError::TooLarge);
            }
            body.extend_from_slice(&chunk);
        }
        parse(&body)
    }
}

impl Ring {
    fn find(&self, name: Option<&str>, algorithm: Algorithm) -> Vec<DecodingKey> {
        let fits = |entry: &&Entry| {
            (name.is_none() || entry.name.as_deref() == name)
                && entry.key.family().algorithms().contains(&algorithm)
                && entry.algorithm.is_none_or(|only| only == algorithm)
        };
        self.entries
            .iter()
            .filter(fits)
            .map(|entry| entry.key.clone())
            .collect()
    }
}

/// The usable keys of a set: public ones for signatures. Keys that we do not know are skipped, not an error: sets carry new kinds
/// of keys before their readers know them. Shared secrets are skipped: one that is published is none.
fn parse(body: &[u8]) -> Result<Vec<Entry>, JwksError> {
    let whole = match lenient::read::<Value>(body) {
        Some(read) => read.value,
        None => serde_json::from_slice(body)?,
    };
    let keys = whole
        .get("keys")
        .and_then(Value::as_array)
        .ok_or(JwksError::NoKeys)?;
    let keys = keys
        .iter()
        .filter_map(|key| serde_json::from_value::<Jwk>(plain(key)?).ok());
    let set = JwkSet { keys: keys.collect() };
    let entries: Vec<Entry> = set.keys.iter().filter_map(entry).collect();
    if entries.is_empty() {
        Err(JwksError::NoKeys)
    } else {
        Ok(entries)
    }
}

/// Members of a key that we read; whatever else stands in it makes no key unusable.
const MEMBERS: [&str; 9] = ["kty", "use", "alg", "kid", "crv", "x", "y", "n", "e"];

/// A key as the library reads it: without padding, and `Ed25519` under its older name.
fn plain(key: &Value) -> Option<Value> {
    let members = key
        .as_object()?
        .iter()
        .filter(|(name, _)| MEMBERS.contains(&name.as_str()));
    let plain = members.map(|(name, value)| {
        let value = match (name.as_str(), value.as_str()) {
            ("alg", Some("Ed25519")) => "EdDSA".into(),
            ("x" | "y" | "n" | "e", Some(text)) => text.trim_end_matches('=').into(),
            _ => value.clone(),
        };
        (name.clone(), value)
    });
    Some(plain.collect::<Map<_, _>>().into())
}

fn entry(jwk: &Jwk) -> Option<Entry> {
    if matches!(jwk.common.public_key_use, Some(PublicKeyUse::Encryption)) {
        return None;
    }
    let key = DecodingKey::from_jwk(jwk).ok()?;
    if key.family() == jsonwebtoken::AlgorithmFamily::Hmac {
        return None;
    }
    // A key that names an algorithm is for that one alone; one that we cannot verify is of no use.
    let algorithm = match jwk.common.key_algorithm {
        Some(named) => Some(jwt::algorithm(&named.to_string())?),
        None => None,
    };
    Some(Entry {
        name: jwk.common.key_id.clone(),
        algorithm,
        key,
    })
}
