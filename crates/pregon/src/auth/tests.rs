//! Tokens of every kind of key: what is let in, what is refused and with which word; key sets that change.
#![allow(clippy::unwrap_used, clippy::indexing_slicing, clippy::panic)]

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use aws_lc_rs::encoding::{AsDer, Pkcs8V1Der, PublicKeyX509Der};
use aws_lc_rs::rsa::KeySize;
use aws_lc_rs::signature::{self, EcdsaKeyPair, Ed25519KeyPair, KeyPair};
use base64::Engine;
use jsonwebtoken::jwk::Jwk;
use jsonwebtoken::{Algorithm, EncodingKey, Header, encode};
use serde_json::{Value, json};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpListener;

use super::verify::AuthError;
use super::*;
use crate::config;

const SECRET: &str = "clave-muy-secreta";
const NOW: u64 = 1_800_000_000;

fn now() -> SystemTime {
    UNIX_EPOCH + Duration::from_secs(NOW)
}

fn auth() -> config::Auth {
    config::Auth {
        secret: Some(config::Secret::new(SECRET)),
        ..config::Auth::default()
    }
}

fn sign(algorithm: Algorithm, key: &EncodingKey, kid: Option<&str>, claims: &Value) -> String {
    let header = Header {
        kid: kid.map(str::to_owned),
        ..Header::new(algorithm)
    };
    encode(&header, claims, key).unwrap()
}

fn hs256(claims: &Value) -> String {
    mint::mint(claims.as_object().unwrap(), SECRET.as_bytes()).unwrap()
}

async fn verify(auth: &config::Auth, token: &str) -> Result<Claims, AuthError> {
    Verifier::build(auth).unwrap().verify_at(token, now()).await
}

fn pem(label: &str, der: &[u8]) -> String {
    format!(
        "-----BEGIN {label}-----\n{}\n-----END {label}-----\n",
        base64::engine::general_purpose::STANDARD.encode(der)
    )
}

/// A private key for signing, and its public half in PEM form.
fn pair(algorithm: Algorithm) -> (EncodingKey, String) {
    match algorithm {
        Algorithm::RS256 | Algorithm::PS512 => {
            let key = signature::RsaKeyPair::generate(KeySize::Rsa2048).unwrap();
            let private = AsDer::<Pkcs8V1Der<'_>>::as_der(&key).unwrap();
            let public = AsDer::<PublicKeyX509Der<'_>>::as_der(key.public_key()).unwrap();
            let private = EncodingKey::from_rsa_pem(pem("PRIVATE KEY", private.as_ref()).as_bytes()).unwrap();
            (private, pem("PUBLIC KEY", public.as_ref()))
        }
        Algorithm::ES256 => {
            let key = EcdsaKeyPair::generate(&signature::ECDSA_P256_SHA256_FIXED_SIGNING).unwrap();
            let private = key.to_pkcs8v1().unwrap();
            let public = AsDer::<PublicKeyX509Der<'_>>::as_der(key.public_key()).unwrap();
            let private = EncodingKey::from_ec_pem(pem("PRIVATE KEY", private.as_ref()).as_bytes()).unwrap();
            (private, pem("PUBLIC KEY", public.as_ref()))
        }
        Algorithm::EdDSA => {
            let key = Ed25519KeyPair::generate().unwrap();
            let private = key.to_pkcs8v1().unwrap();
            let public = AsDer::<PublicKeyX509Der<'_>>::as_der(key.public_key()).unwrap();
            let private = EncodingKey::from_ed_pem(pem("PRIVATE KEY", private.as_ref()).as_bytes()).unwrap();
            (private, pem("PUBLIC KEY", public.as_ref()))
        }
        other => panic!("no keys for {other:?}"),
    }
}

#[tokio::test]
async fn a_good_token_gives_its_claims() {
    let claims = verify(&auth(), &hs256(&json!({"sub": 123, "exp": NOW + 60})))
        .await
        .unwrap();
    assert_eq!(claims.subject().as_deref(), Some("123"));
    let closes = UNIX_EPOCH + Duration::from_secs(NOW + 60 + 5);
    assert_eq!(claims.expires_at(), Some(closes), "with the leeway");
    assert_eq!(
        verify(&auth(), &hs256(&json!({}))).await.unwrap().expires_at(),
        None,
        "exp is optional"
    );
}

#[tokio::test]
async fn times_are_enforced_with_their_leeway() {
    let refused = [
        (json!({"exp": NOW - 5}), AuthError::Expired),
        (json!({"exp": -1}), AuthError::Expired),
        (json!({"exp": 0}), AuthError::Expired),
        (json!({"iat": NOW - 900, "exp": NOW - 5}), AuthError::Expired),
        (json!({"iat": NOW - 5, "exp": NOW - 5}), AuthError::NoLifetime),
        (json!({"iat": NOW, "exp": NOW / 1000}), AuthError::NoLifetime),
        (json!({"iat": "yesterday", "exp": NOW - 5}), AuthError::Expired),
        (json!({"nbf": NOW + 6}), AuthError::NotYet),
        (json!({"exp": null}), AuthError::Malformed),
        (json!({"exp": "1900000000"}), AuthError::Malformed),
        (json!({"exp": [NOW]}), AuthError::Malformed),
        (json!({"nbf": "soon"}), AuthError::Malformed),
        (json!({"exp": 1e300}), AuthError::Malformed),
    ];
    for (claims, error) in refused {
        assert_eq!(
            verify(&auth(), &hs256(&claims)).await.unwrap_err(),
            error,
            "{claims}"
        );
    }
    for claims in [
        json!({"exp": NOW - 4}),
        json!({"nbf": NOW + 5}),
        json!({"exp": NOW as f64 + 9.5}),
    ] {
        assert!(verify(&auth(), &hs256(&claims)).await.is_ok(), "{claims}");
    }
}

#[tokio::test]
async fn audience_and_issuer_count_only_when_configured() {
    let claims = json!({"aud": ["x", "y"], "iss": "me", "sub": 1});
    assert!(verify(&auth(), &hs256(&claims)).await.is_ok());
    let strict = |audience: &str, issuer: &str| config::Auth {
        audience: Some(audience.into()),
        issuer: Some(issuer.into()),
        ..auth()
    };
    assert!(verify(&strict("y", "me"), &hs256(&claims)).await.is_ok());
    assert_eq!(
        verify(&strict("z", "me"), &hs256(&claims)).await.unwrap_err(),
        AuthError::Audience
    );
    let several = json!({"aud": "y", "iss": ["you", "me"], "sub": 1});
    assert_eq!(
        verify(&strict("y", "me"), &hs256(&several)).await.unwrap_err(),
        AuthError::Issuer
    );
    assert_eq!(
        verify(&strict("y", "you"), &hs256(&claims)).await.unwrap_err(),
        AuthError::Issuer
    );
    assert_eq!(
        verify(&strict("y", "me"), &hs256(&json!({"iss": "me"})))
            .await
            .unwrap_err(),
        AuthError::Audience
    );
    assert_eq!(
        verify(&strict("y", "me"), &hs256(&json!({"aud": "y"})))
            .await
            .unwrap_err(),
        AuthError::Issuer
    );
}

#[tokio::test]
async fn forged_and_broken_tokens_are_refused() {
    let good = hs256(&json!({"sub": "ana"}));
    let other = mint::mint(json!({"sub": "ana"}).as_object().unwrap(), b"other").unwrap();
    let none = format!("eyJhbGciOiJub25lIn0.{}.", good.split('.').nth(1).unwrap());
    let (_, body) = good.split_once('.').unwrap();
    let eva = hs256(&json!({"sub": "eva"}));
    let tampered = format!(
        "{}.{}",
        eva.rsplit_once('.').unwrap().0,
        good.rsplit_once('.').unwrap().1
    );
    let crit = base64::engine::general_purpose::URL_SAFE_NO_PAD.encode(r#"{"alg":"HS256","crit":["x"]}"#);
    let hs512 = sign(
        Algorithm::HS512,
        &EncodingKey::from_secret(SECRET.as_bytes()),
        None,
        &json!({}),
    );
    for (token, error) in [
        (other.as_str(), AuthError::Signature),
        (&tampered, AuthError::Signature),
        (&hs512, AuthError::Algorithm),
        (&format!("{crit}.{body}"), AuthError::Malformed),
        ("", AuthError::Malformed),
        ("a.b.c", AuthError::Malformed),
        (&"x".repeat(20_000), AuthError::Malformed),
    ] {
        assert_eq!(verify(&auth(), token).await.unwrap_err(), error, "{token:.40}");
    }
    assert!(verify(&auth(), &none).await.is_err());
    let open = config::Auth::default();
    assert_eq!(verify(&open, &good).await.unwrap_err(), AuthError::NotConfigured);
}

#[tokio::test]
async fn public_keys_of_all_kinds_verify() {
    let folder = tempfile::tempdir().unwrap();
    for algorithm in [
        Algorithm::RS256,
        Algorithm::PS512,
        Algorithm::ES256,
        Algorithm::EdDSA,
    ] {
        let (private, public) = pair(algorithm);
        let path = folder.path().join("key.pem");
        std::fs::write(&path, &public).unwrap();
        let mut auth = config::Auth {
            public_key_file: Some(path.display().to_string()),
            ..config::Auth::default()
        };
        if algorithm == Algorithm::PS512 {
            auth.algorithms = vec![config::Algorithm::PS512];
        }
        let token = sign(algorithm, &private, None, &json!({"sub": "ana"}));
        assert!(verify(&auth, &token).await.is_ok(), "{algorithm:?}");
        assert!(
            verify(&auth, &sign(algorithm, &pair(algorithm).0, None, &json!({})))
                .await
                .is_err(),
            "{algorithm:?}"
        );
        // The public key is no secret: a token signed with its text must not pass.
        let confused = sign(
            Algorithm::HS256,
            &EncodingKey::from_secret(public.as_bytes()),
            None,
            &json!({"sub": "eva"}),
        );
        assert_eq!(verify(&auth, &confused).await.unwrap_err(), AuthError::Algorithm);
    }
}

/// A server of one changing answer; counts its requests.
struct KeyServer {
    url: String,
    body: Arc<parking_lot::Mutex<(u16, String)>>,
    asked: Arc<AtomicUsize>,
}

impl KeyServer {
    async fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}/jwks.json", listener.local_addr().unwrap());
        let (body, asked) = (
            Arc::new(parking_lot::Mutex::new((200, String::new()))),
            Arc::new(AtomicUsize::new(0)),
        );
        let (answer, count) = (body.clone(), asked.clone());
        tokio::spawn(async move {
            while let Ok((mut socket, _)) = listener.accept().await {
                let _ = socket.read(&mut [0; 4096]).await;
                count.fetch_add(1, Ordering::SeqCst);
                let (status, body) = answer.lock().clone();
                let head = format!(
                    "HTTP/1.1 {status} x\r\nContent-Length: {}\r\nConnection: close\r\n\r\n",
                    body.len()
                );
                let _ = socket.write_all(format!("{head}{body}").as_bytes()).await;
            }
        });
        Self { url, body, asked }
    }

    fn serve(&self, keys: &[Value]) {
        *self.body.lock() = (200, json!({ "keys": keys }).to_string());
    }

    fn asked(&self) -> usize {
        self.asked.load(Ordering::SeqCst)
    }
}

fn jwk(key: &EncodingKey, algorithm: Algorithm, kid: &str) -> Value {
    let mut jwk = serde_json::to_value(Jwk::from_encoding_key(key, algorithm).unwrap()).unwrap();
    jwk["kid"] = json!(kid);
    jwk
}

fn remote(url: &str) -> config::Auth {
    config::Auth {
        jwks_url: Some(url.into()),
        ..config::Auth::default()
    }
}

#[tokio::test]
async fn a_key_set_may_rotate() {
    let server = KeyServer::start().await;
    let (first, second) = (pair(Algorithm::ES256).0, pair(Algorithm::EdDSA).0);
    let unknown = json!({"kty": "future", "kid": "f"});
    server.serve(&[unknown.clone(), jwk(&first, Algorithm::ES256, "1")]);
    let jwks = jwks::Jwks::with_pause(server.url.clone(), Duration::ZERO).unwrap();
    let verifier = Verifier::build(&remote(&server.url)).unwrap().with_jwks(jwks);
    let one = sign(Algorithm::ES256, &first, Some("1"), &json!({"sub": 1}));
    let two = sign(Algorithm::EdDSA, &second, Some("2"), &json!({"sub": 2}));
    assert!(verifier.verify_at(&one, now()).await.is_ok());
    assert!(verifier.verify_at(&one, now()).await.is_ok());
    assert_eq!(server.asked(), 1, "the set is kept");
    assert_eq!(
        verifier.verify_at(&two, now()).await.unwrap_err(),
        AuthError::UnknownKey
    );
    server.serve(&[
        jwk(&first, Algorithm::ES256, "1"),
        jwk(&second, Algorithm::EdDSA, "2"),
    ]);
    assert!(verifier.verify_at(&two, now()).await.is_ok());
    // Answers that are none leave the keys as they are.
    for (status, body) in [(500, "{}"), (200, "nonsense"), (200, r#"{"keys":[]}"#)] {
        *server.body.lock() = (status, body.into());
        let third = sign(Algorithm::ES256, &first, Some("3"), &json!({}));
        assert_eq!(
            verifier.verify_at(&third, now()).await.unwrap_err(),
            AuthError::UnknownKey
        );
        assert!(verifier.verify_at(&two, now()).await.is_ok());
    }
}

#[tokio::test]
async fn an_odd_key_of_a_set_locks_nobody_out() {
    let server = KeyServer::start().await;
    let (ed, ec) = (pair(Algorithm::EdDSA).0, pair(Algorithm::ES256).0);
    let mut named = jwk(&ed, Algorithm::EdDSA, "ed");
    named["alg"] = json!("Ed25519"); // RFC 9864
    named["x"] = json!(format!("{}=", named["x"].as_str().unwrap()));
    let mut other = jwk(&ec, Algorithm::ES256, "ec");
    other["key_ops"] = json!(["whatever", 7]);
    let short = json!({"kty": "OKP", "crv": "Ed25519", "x": "AA", "kid": "ed"});
    let odd = json!({"kty": "OKP", "crv": "Ed448", "x": "AA", "alg": "Ed448", "kid": "ed"});
    server.serve(&[json!("no key"), short, odd, named, other]);
    let strange =
        server
            .body
            .lock()
            .1
            .replacen("\"no key\"", r#"{"kty":"RSA","n":1e400,"e":"cut \ud83d"}"#, 1);
    server.body.lock().1 = strange;
    let verifier = Verifier::build(&remote(&server.url)).unwrap();
    let one = sign(Algorithm::EdDSA, &ed, Some("ed"), &json!({"sub": 1}));
    assert!(verifier.verify_at(&one, now()).await.is_ok());
    let two = sign(Algorithm::ES256, &ec, Some("ec"), &json!({"sub": 2}));
    assert!(verifier.verify_at(&two, now()).await.is_ok());
}

#[tokio::test]
async fn a_claim_that_cannot_be_read_is_null_for_itself_alone() {
    use base64::Engine as _;
    use base64::engine::general_purpose::URL_SAFE_NO_PAD;
    let server = KeyServer::start().await;
    let key = pair(Algorithm::EdDSA).0;
    server.serve(&[jwk(&key, Algorithm::EdDSA, "1")]);
    let verifier = Verifier::build(&remote(&server.url)).unwrap();
    let header = URL_SAFE_NO_PAD.encode(r#"{"alg":"EdDSA","kid":"1"}"#);
    let token = |claims: &str| {
        let signed = format!("{header}.{}", URL_SAFE_NO_PAD.encode(claims));
        let signature = jsonwebtoken::crypto::sign(signed.as_bytes(), &key, Algorithm::EdDSA).unwrap();
        format!("{signed}.{signature}")
    };
    let named = token(r#"{"sub":"ana","name":"cut \ud83d","n":1e400}"#);
    let claims = verifier.verify_at(&named, now()).await.unwrap();
    assert_eq!(claims.subject().as_deref(), Some("ana"));
    assert_eq!(claims.value().unwrap()["name"], Value::Null);
    for refused in [
        r#"{"sub":"ana","exp":1e400}"#,
        r#"{"sub":"ana","nbf":"\ud83d"}"#,
        "[1e400]",
    ] {
        let told = verifier.verify_at(&token(refused), now()).await.unwrap_err();
        assert_eq!(told, AuthError::Malformed, "{refused}");
    }
}

#[tokio::test]
async fn tokens_may_name_ed25519_and_carry_padding() {
    use base64::Engine as _;
    use base64::engine::general_purpose::URL_SAFE;
    let server = KeyServer::start().await;
    let key = pair(Algorithm::EdDSA).0;
    server.serve(&[jwk(&key, Algorithm::EdDSA, "1")]);
    let verifier = Verifier::build(&remote(&server.url)).unwrap();
    for header in [
        r#"{"alg":"Ed25519","kid":"1"}"#,
        r#"{"alg":"EdDSA","kid":"1","typ":"JWT"}"#,
    ] {
        let signed = format!(
            "{}.{}",
            URL_SAFE.encode(header),
            URL_SAFE.encode(r#"{"sub":"ana"}"#)
        );
        let signature = jsonwebtoken::crypto::sign(signed.as_bytes(), &key, Algorithm::EdDSA).unwrap();
        let padding = "=".repeat((4 - signature.len() % 4) % 4);
        let claims = verifier
            .verify_at(&format!("{signed}.{signature}{padding}"), now())
            .await
            .unwrap();
        assert_eq!(claims.subject().as_deref(), Some("ana"));
        let other = format!(
            "{signed}.{}",
            jsonwebtoken::crypto::sign(b"other", &key, Algorithm::EdDSA).unwrap()
        );
        assert_eq!(
            verifier.verify_at(&other, now()).await.unwrap_err(),
            AuthError::Signature
        );
    }
}

#[tokio::test]
async fn invented_key_names_do_not_make_us_ask_again_and_again() {
    let server = KeyServer::start().await;
    let key = pair(Algorithm::ES256).0;
    server.serve(&[jwk(&key, Algorithm::ES256, "1")]);
    let verifier = Verifier::build(&remote(&server.url)).unwrap();
    for kid in ["a", "b", "c"] {
        let token = sign(Algorithm::ES256, &key, Some(kid), &json!({}));
        assert_eq!(
            verifier.verify_at(&token, now()).await.unwrap_err(),
            AuthError::UnknownKey
        );
    }
    assert_eq!(server.asked(), 1);
    assert!(
        verifier
            .verify_at(&sign(Algorithm::ES256, &key, None, &json!({})), now())
            .await
            .is_ok(),
        "without a name all are tried"
    );
}

#[tokio::test]
async fn a_published_secret_is_no_key() {
    let server = KeyServer::start().await;
    let secret = EncodingKey::from_secret(b"published");
    server.serve(&[jwk(&secret, Algorithm::HS256, "1")]);
    let verifier = Verifier::build(&remote(&server.url)).unwrap();
    let token = sign(Algorithm::HS256, &secret, Some("1"), &json!({}));
    assert_eq!(
        verifier.verify_at(&token, now()).await.unwrap_err(),
        AuthError::Algorithm
    );
}

#[test]
fn key_sets_come_by_https_or_from_this_machine() {
    for yes in [
        "https://id.example.com/jwks",
        "http://127.0.0.1:1/x",
        "http://localhost/x",
        "http://[::1]/x",
    ] {
        assert!(keys::secure(yes), "{yes}");
    }
    for no in [
        "http://id.example.com",
        "http://localhost@evil.example",
        "http://127.0.0.1.evil.example",
        "file:///x",
        "x",
        "",
    ] {
        assert!(!keys::secure(no), "{no}");
    }
}

#[test]
fn minted_tokens_can_be_opened() {
    let opened = mint::inspect(&hs256(&json!({"sub": "ana"}))).unwrap();
    assert_eq!(
        (opened.algorithm.as_str(), &opened.claims["sub"]),
        ("HS256", &json!("ana"))
    );
    assert!(mint::inspect("x.y").is_err());
}

proptest::proptest! {
    #[test]
    fn verifying_never_panics(token in "[A-Za-z0-9_.-]*|.*") {
        let _ = mint::inspect(&token);
        let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
        assert!(runtime.block_on(verify(&auth(), &token)).is_err());
    }
}
