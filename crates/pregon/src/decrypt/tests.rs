//! Every format against texts of the real libraries, and what becomes of texts that are wrong, damaged or plain.
#![allow(clippy::unwrap_used, clippy::indexing_slicing, clippy::panic)]

use bytes::Bytes;
use serde_json::{Value as Json, json};

use super::*;
use crate::config::{Decrypt, Secret};
use crate::event::Sealed;

/// What the libraries made; `conformance/vectors/run` makes it anew.
const VECTORS: [(&str, &str); 5] = [
    ("node", include_str!("vectors/node.json")),
    ("cryptojs", include_str!("vectors/cryptojs.json")),
    ("cloak", include_str!("vectors/cloak.json")),
    ("fernet", include_str!("vectors/fernet.json")),
    ("laravel", include_str!("vectors/laravel.json")),
];

#[derive(serde::Deserialize)]
struct File {
    sets: Vec<Set>,
}

#[derive(serde::Deserialize)]
struct Set {
    section: Json,
    keys: String,
    aad: Option<String>,
    texts: Vec<Pair>,
}

#[derive(serde::Deserialize)]
struct Pair {
    plain: String,
    text: String,
}

impl Set {
    fn config(&self, more: &Json) -> Decrypt {
        let mut section = self.section.clone();
        let options = section.as_object_mut().unwrap();
        options.insert("key_env".into(), json!("KEYS"));
        options.extend(more.as_object().unwrap().clone());
        let mut section: Decrypt = serde_json::from_value(section).unwrap();
        section.key = Some(Secret::new(self.keys.as_str()));
        section
    }

    fn build(&self, more: &Json) -> Section {
        build(&self.config(more))
    }

    fn open(&self, section: &Section, text: &str) -> Result<Value, Failure> {
        section.open(&json!(text).to_string(), self.aad.as_deref().map(str::as_bytes))
    }
}

fn build(section: &Decrypt) -> Section {
    Section::build(section).unwrap_or_else(|faults| panic!("{faults:?}"))
}

fn sets() -> Vec<(&'static str, Set)> {
    let read = |(name, text): (&'static str, &str)| {
        let file: File = serde_json::from_str(text).unwrap();
        file.sets.into_iter().map(move |set| (name, set))
    };
    VECTORS.into_iter().flat_map(read).collect()
}

/// The first set of a file.
fn first(name: &str) -> Set {
    sets().into_iter().find(|(file, _)| *file == name).unwrap().1
}

fn faults(section: Decrypt) -> Vec<String> {
    let faults = Section::build(&section).err().unwrap_or_default();
    faults
        .iter()
        .map(|fault| format!("{}: {fault}", fault.option))
        .collect()
}

#[test]
fn every_text_of_the_real_libraries_is_decrypted() {
    let mut texts = 0;
    for (name, set) in sets() {
        let section = set.build(&json!({}));
        for pair in &set.texts {
            let opened = set.open(&section, &pair.text);
            assert_eq!(
                opened,
                Ok(Value::Text(pair.plain.clone())),
                "{name} {}",
                set.section
            );
            texts += 1;
        }
    }
    assert_eq!(texts, 30 * 6);
}

#[test]
fn another_key_opens_nothing_and_a_ring_opens_what_any_of_its_keys_made() {
    for (name, set) in sets() {
        let other = other_key(&set);
        let mut config = set.config(&json!({}));
        config.key = Some(Secret::new(other.as_str()));
        let wrong = build(&config);
        config.key = Some(Secret::new(format!("{other},{}", set.keys)));
        let ring = build(&config);
        for pair in &set.texts {
            assert_eq!(
                set.open(&wrong, &pair.text),
                Err(Failure::Sealed),
                "{name} {}",
                set.section
            );
            assert_eq!(
                set.open(&ring, &pair.text),
                Ok(Value::Text(pair.plain.clone())),
                "{name} {}",
                set.section
            );
        }
    }
}

/// A key that is written like those of the set.
fn other_key(set: &Set) -> String {
    let key = set.keys.split(',').next().unwrap();
    let (head, tail) = key.split_at(
        key.find([':', '.'])
            .map_or(0, |_| key.rfind([':', '.']).unwrap() + 1),
    );
    let changed = tail.chars().enumerate().map(|(index, c)| match (index, c) {
        (0..8, '1') => '2',
        (0..8, 'b'..='z' | 'B'..='Z' | '0' | '2'..='9') => '1',
        _ => c,
    });
    let other = format!("{head}{}", changed.collect::<String>());
    assert_ne!(other, key);
    other
}

#[test]
fn a_damaged_text_is_a_failure_even_where_plain_texts_pass() {
    for (name, set) in sets() {
        let section = set.build(&json!({"plain": "pass"}));
        let authentic = set.section["format"] != "aes-256-cbc" && set.section["format"] != "cryptojs";
        for pair in &set.texts {
            let short = &pair.text[..pair.text.len() - 1];
            for damaged in [short.to_owned(), tampered(&pair.text)] {
                let opened = set.open(&section, &damaged);
                let survives = opened == Ok(Value::Text(pair.plain.clone()))
                    && damaged.len() < pair.text.len()
                    && pair.text.ends_with('=');
                // Without a MAC a changed byte may come out as another text, but never as the text that was changed.
                let garbled = !authentic && matches!(&opened, Ok(Value::Text(text)) if *text != pair.plain);
                // Joined parts without data: nothing is left that says what it was, and nothing that could be read.
                let layout = set.section["layout"].as_str().unwrap_or("");
                let empty = pair.plain.is_empty() && layout.contains('+') && opened == Ok(Value::Unchanged);
                // The IV is what tells a ciphertext from a plain text, and it lost its end.
                let cut_iv = layout.ends_with("iv") && damaged == short && opened == Ok(Value::Unchanged);
                assert!(
                    opened == Err(Failure::Sealed) || survives || garbled || empty || cut_iv,
                    "{name} {} {damaged}: {opened:?}",
                    set.section
                );
            }
        }
    }
}

/// The text with a character in the middle of its last piece changed to another of the same alphabet.
fn tampered(text: &str) -> String {
    let piece = text.rfind([':', '.', '|', '-']).map_or(0, |at| at + 1);
    // An empty last piece: the tag before it is changed.
    let at = if piece == text.len() {
        text.len() - 6
    } else {
        piece + (text.len() - piece) / 2
    };
    let changed = if &text[at..=at] == "0" { "1" } else { "0" };
    format!("{}{changed}{}", &text[..at], &text[at + 1..])
}

#[test]
fn rows_from_before_the_encryption_pass_only_where_it_is_declared() {
    for (name, set) in sets() {
        let (strict, lenient) = (set.build(&json!({})), set.build(&json!({"plain": "pass"})));
        for plain in [
            "hola",
            "",
            "12:34:56",
            "a:b:c",
            "¿qué?: sí",
            "{\"a\":1}",
            "U2Fs",
            "v1.x",
            "eyJ.a.b",
        ] {
            assert_eq!(
                set.open(&strict, plain),
                Err(Failure::Foreign),
                "{name} {plain} {}",
                set.section
            );
            assert_eq!(
                set.open(&lenient, plain),
                Ok(Value::Unchanged),
                "{name} {plain} {}",
                set.section
            );
        }
        for raw in ["7", "true", "{\"iv\":\"00\"}", "[]"] {
            assert_eq!(strict.open(raw, None), Err(Failure::NotText));
            assert_eq!(lenient.open(raw, None), Ok(Value::Unchanged));
        }
        for section in [strict, lenient] {
            assert_eq!(
                section.open("null", None),
                Ok(Value::Unchanged),
                "null is nothing to decrypt"
            );
        }
    }
}

#[test]
fn hexadecimal_may_be_of_either_case() {
    let set = first("node");
    let section = set.build(&json!({}));
    for pair in &set.texts {
        assert_eq!(
            set.open(&section, &pair.text.to_uppercase()),
            Ok(Value::Text(pair.plain.clone()))
        );
    }
}

#[test]
fn padding_of_base64_may_be_left_out() {
    for (_, set) in sets()
        .into_iter()
        .filter(|(_, set)| set.section["encoding"] == "base64")
    {
        let section = set.build(&json!({}));
        for pair in &set.texts {
            assert_eq!(
                set.open(&section, &pair.text.replace('=', "")),
                Ok(Value::Text(pair.plain.clone()))
            );
        }
    }
}

#[test]
fn a_text_that_is_bound_opens_only_where_it_belongs() {
    let bound: Vec<_> = sets().into_iter().filter(|(_, set)| set.aad.is_some()).collect();
    assert_eq!(bound.len(), 2, "with both lengths of IV");
    for (_, set) in bound {
        let section = set.build(&json!({}));
        let raw = json!(set.texts[0].text).to_string();
        assert_eq!(section.open(&raw, Some(b"conversation:43")), Err(Failure::Sealed));
        assert_eq!(section.open(&raw, Some(b"")), Err(Failure::Sealed));
        assert_eq!(
            section.open(&raw, None),
            Err(Failure::Sealed),
            "a value of the template was missing"
        );
    }
    // A text that is bound to nothing does not open under a template that could not be rendered.
    let set = first("node");
    let section = set.build(&json!({"aad": "{x}"}));
    assert_eq!(
        section.open(&json!(set.texts[0].text).to_string(), None),
        Err(Failure::Sealed)
    );
}

#[test]
fn json_takes_its_place_only_if_it_is_json() {
    let set = first("node");
    let section = set.build(&json!({"json": true}));
    let opened = |part: &str| {
        let pair = set.texts.iter().find(|pair| pair.plain.contains(part)).unwrap();
        set.open(&section, &pair.text)
    };
    assert!(matches!(opened("10.50"), Ok(Value::Json(json)) if json.contains("10.50")));
    assert_eq!(opened("hola"), Err(Failure::NotJson));
}

#[test]
fn a_serialised_text_is_not_taken_for_a_bare_one() {
    let serialised = sets()
        .into_iter()
        .filter(|(_, set)| set.section["serialized"] == true);
    for (_, set) in serialised {
        let bare = set.build(&json!({"serialized": false}));
        assert_eq!(
            set.open(&bare, &set.texts[0].text),
            Ok(Value::Text("s:4:\"hola\";".into()))
        );
    }
    let (_, bare) = sets()
        .into_iter()
        .find(|(_, set)| set.section["serialized"] == false)
        .unwrap();
    let wrapped = bare.build(&json!({"serialized": true}));
    assert_eq!(bare.open(&wrapped, &bare.texts[0].text), Err(Failure::Sealed));
}

#[test]
fn what_is_wrong_with_a_section_is_told_with_its_option_and_without_its_keys() {
    let set = first("node");
    let with = |more: Json| faults(set.config(&more));
    let keys = |text: &str| {
        let mut section = set.config(&json!({}));
        section.key = Some(Secret::new(text));
        faults(section)
    };
    assert_eq!(with(json!({})), Vec::<String>::new());
    assert!(
        with(json!({"layout": "iv:data"}))[0].starts_with("layout: `tag` must be named once; write it like")
    );
    assert!(with(json!({"layout": null}))[0].starts_with("format: the key `layout` is missing"));
    assert!(with(json!({"iv": 13}))[0].starts_with("iv: must be 12 or 16"));
    assert!(with(json!({"serialized": true}))[0].starts_with("serialized: does not belong"));
    assert_eq!(
        with(json!({"format": "fernet", "key_encoding": "hex"})).len(),
        2,
        "layout and encoding"
    );
    assert!(with(json!({"key_env": null}))[0].starts_with("format: has no key"));
    assert!(with(json!({"key_file": "x"}))[0].starts_with("key_file: `key_env` and `key_file` exclude"));
    assert!(
        with(json!({"key_env": null, "key_file": "/nowhere/key"}))[0]
            .starts_with("key_file: cannot read /nowhere/key")
    );
    let unset = Decrypt {
        key: None,
        ..set.config(&json!({}))
    };
    assert_eq!(
        faults(unset),
        ["key_env: the variable KEYS is not set, so there is no key; set KEYS, or use `key_file`"]
    );
    assert!(keys("")[0].contains("holds no key"));
    for wrong in [
        "c0ffee",
        "no hexadecimal",
        &set.keys[1..],
        &format!("{},c0ffee", set.keys),
    ] {
        let told = keys(wrong);
        assert!(
            told[0].contains("is not 32 bytes as hex; make one with `openssl rand -hex 32`"),
            "{told:?}"
        );
        assert!(!told[0].contains("c0ffee") && !told[0].contains(&set.keys[1..]));
    }
    assert!(keys(&format!("{},c0ffee", set.keys))[0].contains("key 2"));
}

#[test]
fn a_key_file_has_a_key_on_each_line() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("keys");
    let set = first("node");
    std::fs::write(&path, format!("{}\r\n\n{}\n", "0".repeat(64), set.keys)).unwrap();
    let section = set.build(&json!({"key_env": null, "key_file": path.to_str().unwrap()}));
    assert_eq!(
        set.open(&section, &set.texts[0].text),
        Ok(Value::Text("hola".into()))
    );
}

fn decryptor(section: Section) -> Decryptor {
    Decryptor([(Arc::from("s"), section)].into_iter().collect())
}

fn sealed(field: &str) -> Sealed {
    Sealed {
        field: field.into(),
        with: "s".into(),
        aad: None,
    }
}

/// Opens a payload, and says for which fields it failed.
fn payload(decryptor: &Decryptor, json: &str, fields: &[&str]) -> (String, Vec<String>) {
    let sealed: Vec<_> = fields.iter().map(|field| sealed(field)).collect();
    let mut failed = Vec::new();
    let opened = payload::open(
        &Bytes::from(json.to_owned()),
        &sealed,
        decryptor,
        &mut |sealed, _| {
            failed.push(sealed.field.to_string());
        },
    );
    (String::from_utf8(opened.to_vec()).unwrap(), failed)
}

#[test]
fn a_payload_keeps_every_other_byte() {
    let set = first("node");
    let decryptor = decryptor(set.build(&json!({})));
    let cipher = json!(set.texts[2].text).to_string();
    let plain = json!(set.texts[2].plain).to_string();
    let around = |value: &str| format!(" {{ \"n\": 10.50,\"m\" :{value} , \"b\":1e2,\"ñ\\u00e9\":[ 1 ]}}\n");
    assert_eq!(
        payload(&decryptor, &around(&cipher), &["m"]),
        (around(&plain), vec![])
    );
    let two = format!("{{\"m\":{cipher},\"k\":{cipher},\"x\":{cipher}}}");
    assert_eq!(
        payload(&decryptor, &two, &["k", "m"]).0,
        format!("{{\"m\":{plain},\"k\":{plain},\"x\":{cipher}}}")
    );
    assert_eq!(
        payload(&decryptor, "{\"m\":null}", &["m"]),
        ("{\"m\":null}".into(), vec![])
    );
    assert_eq!(payload(&decryptor, "{}", &["m"]), ("{}".into(), vec![]));
}

#[test]
fn a_failure_is_null_and_says_so_at_the_top() {
    let set = first("node");
    let decryptor = decryptor(set.build(&json!({})));
    let (good, bad) = (&set.texts[0].text, tampered(&set.texts[0].text));
    let (opened, failed) = payload(
        &decryptor,
        &format!("{{\"m\":\"{bad}\",\"k\":\"{good}\",\"n\":10.50}} "),
        &["m", "k"],
    );
    assert_eq!(
        opened,
        "{\"m\":null,\"k\":\"hola\",\"n\":10.50,\"decrypt_error\":true} "
    );
    assert_eq!(failed, ["m"]);
    let (opened, _) = payload(
        &decryptor,
        &format!("{{\"decrypt_error\":false,\"m\":\"{bad}\"}}"),
        &["m"],
    );
    assert_eq!(opened, "{\"decrypt_error\":true,\"m\":null}");
    let (opened, failed) = payload(
        &decryptor,
        &format!("{{\"m\":\"{bad}\",\"m\":\"{good}\"}}"),
        &["m"],
    );
    assert_eq!(
        (opened.as_str(), failed.len()),
        ("{\"m\":null,\"m\":\"hola\",\"decrypt_error\":true}", 1),
        "a repeated key hides nothing"
    );
    let (opened, failed) = payload(&Decryptor::default(), &format!("{{\"m\":\"{good}\"}}"), &["m"]);
    assert_eq!(
        (opened.as_str(), failed.len()),
        ("{\"m\":null,\"decrypt_error\":true}", 1),
        "its section is gone"
    );
}

proptest::proptest! {
    #[test]
    fn no_text_makes_a_format_panic(text in "(U2FsdGVkX1|gAAAAA|eyJ|v1\\.aesgcm256\\.)?[0-9a-zA-Z+/=:._-]{0,80}") {
        for (_, set) in sets() {
            let _ = set.open(&set.build(&json!({})), &text);
        }
    }
}
