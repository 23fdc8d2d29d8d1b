//! Development tokens: JWTs signed with HS256.

use jsonwebtoken::{Algorithm, EncodingKey, Header};
use serde_json::Value;

/// Signs `claims` (a JSON object) with the raw bytes of `secret`. Nothing is added, `exp` neither.
pub fn token(claims: &Value, secret: &str) -> String {
    let key = EncodingKey::from_secret(secret.as_bytes());
    jsonwebtoken::encode(&Header::new(Algorithm::HS256), claims, &key).expect("a JSON value can be signed")
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::indexing_slicing, clippy::panic)]
    use jsonwebtoken::{DecodingKey, Validation, decode};
    use serde_json::json;

    use super::*;

    #[test]
    fn verifies_with_the_same_secret_only() {
        let made = token(&json!({"sub": 7, "role": "seller"}), "clave");
        let mut rules = Validation::new(Algorithm::HS256);
        rules.required_spec_claims.clear();
        rules.validate_exp = false;
        let read = decode::<Value>(&made, &DecodingKey::from_secret(b"clave"), &rules).unwrap();
        assert_eq!(read.claims, json!({"sub": 7, "role": "seller"}));
        assert!(decode::<Value>(&made, &DecodingKey::from_secret(b"other"), &rules).is_err());
    }
}
