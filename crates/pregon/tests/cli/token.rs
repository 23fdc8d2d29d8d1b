//! `pregon token`.

use serde_json::json;

use super::{file, run, run_with_input};

const CLAVE: [(&str, &str); 1] = [("JWT_SECRET", "una clave que mide más de 32 bytes")];

#[test]
fn a_short_secret_is_a_warning_and_the_token_is_made() {
    let minted = run(&["token", "mint", "--sub", "7"], &[("JWT_SECRET", "clave")]);
    assert_eq!(minted.code, 0, "{minted:?}");
    assert!(
        minted.err.starts_with("warning: ") && minted.out.matches('.').count() == 2,
        "{minted:?}"
    );
}

#[test]
fn a_minted_token_is_valid_and_says_what_was_asked() {
    let minted = run(
        &[
            "token",
            "mint",
            "--sub",
            "7",
            "--claim",
            "role=seller",
            "--claim",
            "seller_id:=123",
        ],
        &CLAVE,
    );
    assert_eq!((minted.code, minted.err.as_str()), (0, ""));
    let told = run(&["token", "inspect", minted.out.trim(), "--json"], &CLAVE).json();
    let claims = &told["claims"];
    assert_eq!(
        (&told["valid"], &told["algorithm"]),
        (&json!(true), &json!("HS256"))
    );
    assert_eq!(
        (&claims["sub"], &claims["role"], &claims["seller_id"]),
        (&json!("7"), &json!("seller"), &json!(123))
    );
    assert_eq!(
        claims["exp"].as_u64().unwrap() - claims["iat"].as_u64().unwrap(),
        3600
    );
    assert_eq!(
        run(&["token", "mint", "--expires", "never", "--json"], &CLAVE).json()["claims"].get("exp"),
        None
    );
}

#[test]
fn a_refused_token_is_a_finding() {
    let minted = run(
        &[
            "token",
            "mint",
            "--sub",
            "7",
            "--expires",
            "0s",
            "--claim",
            "exp:=1000",
            "--claim",
            "iat:=500",
        ],
        &CLAVE,
    );
    let told = run(&["token", "inspect", minted.out.trim()], &CLAVE);
    assert_eq!(told.code, 1);
    assert!(
        told.out.contains("refused    the token has expired") && told.out.contains("1970-01-01T00:16:40Z"),
        "{told:?}"
    );
    let told = run(&["token", "inspect", minted.out.trim(), "--secret", "otra"], &[]);
    assert!(told.code == 1 && told.out.contains("signature"), "{told:?}");
    let told = run_with_input(&["token", "inspect", "-"], &minted.out);
    assert!(told.code == 0 && told.out.contains("unverified"), "{told:?}");
    assert_eq!(run(&["token", "inspect", "no.es.nada"], &CLAVE).code, 1);
}

#[test]
fn the_configuration_gives_secret_issuer_and_audience() {
    let config = file("[auth]\nsecret = \"clave\"\nissuer = \"yo\"\naudience = \"app\"\n");
    let config = config.to_str().unwrap();
    let minted = run(&["token", "mint", "--config", config, "--sub", "7"], &[]);
    let told = run(
        &[
            "token",
            "inspect",
            "--config",
            config,
            "--json",
            minted.out.trim(),
        ],
        &[],
    )
    .json();
    assert_eq!(
        (&told["valid"], &told["claims"]["iss"], &told["claims"]["aud"]),
        (&json!(true), &json!("yo"), &json!("app"))
    );
    let nothing = run(&["token", "mint", "--sub", "7"], &[]);
    assert!(
        nothing.code == 1 && nothing.err.contains("JWT_SECRET"),
        "{nothing:?}"
    );
}
