//! The router and the rights as the configuration describes them.
#![allow(clippy::unwrap_used, clippy::indexing_slicing, clippy::panic)]

use std::path::Path;
use std::sync::Arc;
use std::time::SystemTime;

use bytes::Bytes;

use super::grant::{Rights, SqlQuestion};
use super::outcome::Routed;
use super::*;
use crate::auth::Claims;
use crate::config::Config;
use crate::event::{Data, Event, EventId, What};
use pregon_capture::change::Op;

fn config(text: &str) -> Config {
    let text = format!("[postgres]\nurl='postgres://h/d'\n{text}");
    crate::check::parse(&text, "pregon.toml", Path::new("."), &|_| None)
        .unwrap_or_else(|problems| panic!("{problems}"))
}

fn router(text: &str) -> Routes {
    Routes::build(&config(text)).unwrap()
}

fn event(source: &str, op: Op, row: Option<&str>, old: Option<&str>) -> Event {
    let bytes = |text: &str| Bytes::copy_from_slice(text.as_bytes());
    Event {
        at: SystemTime::UNIX_EPOCH,
        ..Event::new(
            source.into(),
            What::Row {
                op,
                new: row.map(bytes),
                old: old.map(bytes),
            },
        )
    }
}

fn message(source: &str, text: &str) -> Event {
    let what = What::Message {
        channel: source.into(),
        text: Bytes::copy_from_slice(text.as_bytes()),
    };
    Event {
        at: SystemTime::UNIX_EPOCH,
        ..Event::new(source.into(), what)
    }
}

/// Channels, name and payload of every publication.
fn made(routed: &Routed) -> Vec<(String, String, String)> {
    let text = |data: &Data| String::from_utf8(data.raw().to_vec()).unwrap();
    routed
        .publications
        .iter()
        .map(|p| (p.channels.join(" "), p.event.to_string(), text(&p.data)))
        .collect()
}

const MESSAGES: &str = r#"
[[watch]]
table = "messages"
[[route]]
from = "messages"
when = "row.sender != 'bot'"
to = ["conversation_{conversation_id}", "conversation_{old.conversation_id}", "all"]
event = "message:{op}"
[[route]]
from = "messages"
to = "totals"
payload = { total = "row.total", twice = "row.n * 2", "a\"b" = "row.nada" }
[[route]]
from = "messages"
to = "ids_{id}"
fields = ["total", "id"]
"#;

#[test]
fn rules_address_name_and_build() {
    let row = r#"{"id":9007199254740993,"conversation_id":5,"sender":"user","total":10.50,"n":3}"#;
    let routed = router(MESSAGES).route(&event("messages", Op::Insert, Some(row), None));
    assert_eq!(
        made(&routed),
        [
            ("conversation_5 all".into(), "message:insert".into(), row.into()),
            (
                "totals".into(),
                "insert".into(),
                r#"{"a\"b":null,"total":10.50,"twice":6}"#.into()
            ),
            (
                "ids_9007199254740993".into(),
                "insert".into(),
                r#"{"total":10.50,"id":9007199254740993}"#.into()
            ),
        ]
    );
    assert_eq!(
        (routed.passed, routed.failed.len(), routed.nobody),
        (0, 1, 0),
        "the missing value of the payload is counted"
    );
}

#[test]
fn an_update_that_moves_a_row_reaches_both_places() {
    let (new, old) = (
        r#"{"id":1,"conversation_id":6,"sender":"u"}"#,
        r#"{"id":1,"conversation_id":5}"#,
    );
    let routed = router(MESSAGES).route(&event("messages", Op::Update, Some(new), Some(old)));
    assert_eq!(made(&routed)[0].0, "conversation_6 conversation_5 all");
}

#[test]
fn the_row_of_a_delete_is_the_deleted_one() {
    let old = r#"{"id":1,"conversation_id":5,"sender":"u"}"#;
    let routed = router(MESSAGES).route(&event("messages", Op::Delete, None, Some(old)));
    assert_eq!(
        made(&routed)[0],
        ("conversation_5 all".into(), "message:delete".into(), old.into())
    );
}

#[test]
fn missing_null_and_empty_values_address_nobody() {
    for row in ["{}", r#"{"id":null}"#, r#"{"id":""}"#, r#"{"id":[1]}"#] {
        let routed = router("[[watch]]\ntable='t'\n[[route]]\nfrom='t'\nto='x_{id}'\n").route(&event(
            "t",
            Op::Insert,
            Some(row),
            None,
        ));
        assert_eq!((made(&routed).len(), routed.nobody), (0, 1), "{row}");
    }
}

#[test]
fn a_condition_that_fails_is_no_and_counted() {
    let router = router("[[watch]]\ntable='t'\n[[route]]\nfrom='t'\nto='x'\nwhen='row.missing == 1'\n");
    let routed = router.route(&event("t", Op::Insert, Some("{}"), None));
    assert_eq!((made(&routed).len(), routed.failed.len()), (0, 1));
}

#[test]
fn a_source_without_routes_has_a_channel_of_its_name() {
    let router = router("[[listen]]\nchannel='sales{1}'\n[[watch]]\ntable='public.ventas'\n");
    let text = r#"{"id": 1,  "b":2}"#;
    assert_eq!(
        made(&router.route(&message("sales{1}", text))),
        [("sales{1}".into(), "message".into(), text.into())]
    );
    let routed = router.route(&event("ventas", Op::Truncate, None, None));
    assert_eq!(
        made(&routed),
        [("ventas".into(), "truncate".into(), "null".into())]
    );
    assert!(router.channels_of("ventas")[0].is_match("ventas"));
    assert!(router.route(&message("unknown", "x")).publications.is_empty());
}

#[test]
fn messages_may_be_objects_or_texts() {
    let router = router(
        "[[listen]]\nchannel='c'\n[[route]]\nfrom='c'\nto=['u_{user.id}', 'm_{message.kind}', 't_{message}']\n",
    );
    assert_eq!(
        made(&router.route(&message("c", r#"{"user":{"id":7},"kind":"x"}"#)))[0].0,
        "u_7 m_x"
    );
    assert_eq!(made(&router.route(&message("c", "hola")))[0].0, "t_hola");
    assert!(matches!(
        router.route(&message("c", "hola")).publications[0].data,
        Data::Text(_)
    ));
}

#[test]
fn a_publish_is_addressed_already() {
    let what = What::Published {
        channel: "sala".into(),
        name: "hola".into(),
        text: Bytes::from_static(b"{\"a\":1}"),
    };
    let event = Event {
        id: EventId::named("k/0"),
        ..Event::new("publish".into(), what)
    };
    let routed = Routes::default().route(&event);
    assert_eq!(
        made(&routed),
        [("sala".into(), "hola".into(), "{\"a\":1}".into())]
    );
    assert_eq!(routed.publications[0].id, EventId::named("k/0"));
}

#[test]
fn every_rule_gives_an_event_an_identity_of_its_own() {
    let router = router("[[watch]]\ntable='t'\n[[route]]\nfrom='t'\nto='a'\n[[route]]\nfrom='t'\nto='b'\n");
    let routed = router.route(&Event {
        id: EventId::named("7"),
        ..event("t", Op::Insert, Some("{}"), None)
    });
    assert_ne!(routed.publications[0].id, routed.publications[1].id);
}

#[test]
fn a_query_adds_columns_before_the_channels() {
    let router = router(
        "[[watch]]\ntable='t'\n[[route]]\nfrom='t'\nwhen=\"row.kind == 'a'\"\nto='user_{user_id}'\nenrich = { sql = 'SELECT user_id, 2 AS n FROM c WHERE id = :id AND k = :kind' }\n",
    );
    assert!(
        router
            .route(&event("t", Op::Insert, Some(r#"{"kind":"b"}"#), None))
            .waiting
            .is_empty()
    );
    let event = event("t", Op::Insert, Some(r#"{"kind":"a","id":5,"n":1}"#), None);
    let routed = router.route(&event);
    assert!(routed.publications.is_empty());
    let enrich = routed.waiting[0].enrich().unwrap();
    assert_eq!(
        enrich.params(&Scope::event(&event)),
        [Some("5".into()), Some("a".into())]
    );
    let made = routed.waiting[0]
        .publish(&enrich.merge(&event, br#"{"user_id": 77, "n": 2}"#))
        .unwrap();
    assert_eq!(&*made.publication.channels[0], "user_77");
    assert_eq!(
        made.publication.data.raw(),
        r#"{"kind":"a","id":5,"user_id":77,"n":2}"#.as_bytes()
    );
}

#[test]
fn a_channel_name_that_is_too_long_is_nobody() {
    let router = router("[limits]\nchannel_name=8\n[[watch]]\ntable='t'\n[[route]]\nfrom='t'\nto='x_{id}'\n");
    assert_eq!(
        router
            .route(&event("t", Op::Insert, Some(r#"{"id":"1234567"}"#), None))
            .nobody,
        1
    );
}

#[test]
fn an_explanation_says_why() {
    let router = router(MESSAGES);
    let told = router.explain(&event("messages", Op::Insert, Some(r#"{"sender":"bot"}"#), None));
    assert_eq!(told.rules[0].reason, "the condition is false");
    assert!(told.rules[1].publishes && told.rules[1].reason.contains("become null"));
    assert!(told.rules[2].reason.starts_with("no channel"));
}

const ROOMS: &str = r#"
[auth]
secret = "s"
join = ["user_{sub}", "role_{role}"]
anonymous_join = ["lobby"]
[[channel]]
name = "room_{id}"
allow = "channel.id in claims.rooms"
publish = "claims.role == 'seller'"
presence = true
[[channel]]
name = "conversation_{id}"
allow_sql = "SELECT true FROM c WHERE id = :channel.id AND user_id = :claims.sub"
history = false
[[channel]]
name = "news"
"#;

fn claims(json: &str) -> Claims {
    Claims::new(serde_json::from_str(json).unwrap(), None)
}

#[test]
fn claims_join_and_are_let_in_where_they_joined() {
    let rights = Rights::build(&config(ROOMS)).unwrap();
    let ana = claims(r#"{"sub":123,"role":null,"rooms":[4,"5"]}"#);
    assert_eq!(rights.join(&ana).channels, [Arc::from("user_123")]);
    assert_eq!(rights.join(&Claims::default()).channels, [Arc::from("lobby")]);
    assert_eq!(rights.subscribe(&ana, "user_123"), Decision::Allow);
    for no in ["user_12", "user_", "role_", "other", ""] {
        assert!(matches!(rights.subscribe(&ana, no), Decision::Deny(_)), "{no}");
    }
}

#[test]
fn conditions_and_queries_decide_about_the_rest() {
    let rights = Rights::build(&config(ROOMS)).unwrap();
    let ana = claims(r#"{"sub":123,"role":"seller","rooms":[4,"5"]}"#);
    for yes in ["room_4", "room_5", "news"] {
        assert_eq!(rights.subscribe(&ana, yes), Decision::Allow, "{yes}");
    }
    assert!(matches!(rights.subscribe(&ana, "room_6"), Decision::Deny(_)));
    assert!(matches!(
        rights.subscribe(&Claims::default(), "room_4"),
        Decision::Deny(_)
    ));
    assert_eq!(
        rights.subscribe(&ana, "conversation_9"),
        Decision::Ask(vec![SqlQuestion {
            section: "conversation_{id}".into(),
            sql: "SELECT true FROM c WHERE id = $1 AND user_id = $2".into(),
            params: vec!["9".into(), "123".into()],
        }])
    );
    assert!(
        matches!(
            rights.subscribe(&claims("{}"), "conversation_9"),
            Decision::Deny(_)
        ),
        "no claim, no question"
    );
    assert_eq!(rights.publish(&ana, "room_4"), Decision::Allow);
    assert!(
        matches!(rights.publish(&ana, "room_6"), Decision::Deny(_)),
        "who may not follow may not publish"
    );
    assert!(matches!(rights.publish(&ana, "news"), Decision::Deny(_)));
    assert!(rights.presence("room_1") && !rights.history("conversation_1") && rights.history("news"));
}

const INBOX: &str = r#"
[[watch]]
table = "messages"
[[listen]]
channel = "chat"
[[listen]]
channel = "other"
[[decrypt]]
name = "texts"
from = ["messages", "chat"]
fields = ["message", "note"]
format = "aes-256-gcm"
layout = "iv:tag:data"
aad = "{conversation_id}"
key_env = "KEY"
[[route]]
from = "messages"
to = "whole"
[[route]]
from = "messages"
to = "fields"
fields = ["id", "message"]
[[route]]
from = "messages"
to = "built"
payload = { id = "row.id", last_message = "row.message", before = "old.message", gone = "row.note" }
"#;

fn inbox() -> Routes {
    let text = format!("[postgres]\nurl='postgres://h/d'\n{INBOX}");
    let key = |name: &str| (name == "KEY").then(|| "0".repeat(64));
    let config = crate::check::parse(&text, "pregon.toml", Path::new("."), &key);
    Routes::build(&config.unwrap_or_else(|problems| panic!("{problems}"))).unwrap()
}

/// Channel and, of each sealed field, its key and what it is bound to.
fn sealed(event: &Event) -> Vec<String> {
    let told = |publication: &crate::event::Publication| {
        let fields = publication.sealed.iter().map(|sealed| {
            assert_eq!(&*sealed.with, "texts");
            format!(
                " {}={}",
                sealed.field,
                String::from_utf8_lossy(sealed.aad.as_deref().unwrap_or(b"?"))
            )
        });
        format!("{}:{}", publication.channels[0], fields.collect::<String>())
    };
    inbox().route(event).publications.iter().map(told).collect()
}

#[test]
fn encrypted_fields_are_noted_under_the_keys_that_they_travel_by() {
    let (row, old) = (
        r#"{"id":1,"conversation_id":7,"message":"x"}"#,
        r#"{"conversation_id":6,"message":"y"}"#,
    );
    assert_eq!(
        sealed(&event("messages", Op::Update, Some(row), Some(old))),
        [
            "whole: message=7",
            "fields: message=7",
            "built: before=6 last_message=7"
        ]
    );
    assert_eq!(
        sealed(&event("messages", Op::Delete, None, Some(old)))[0],
        "whole: message=6"
    );
    assert_eq!(
        sealed(&event("messages", Op::Insert, Some(r#"{"message":null}"#), None))[0],
        "whole: message=?"
    );
    assert_eq!(
        sealed(&message(
            "chat",
            r#"{"note":"x","message":"y","conversation_id":"ñ"}"#
        )),
        ["chat: message=ñ note=ñ"]
    );
    assert_eq!(sealed(&message("chat", "message")), ["chat:"]);
    assert_eq!(sealed(&message("other", r#"{"message":"y"}"#)), ["other:"]);
}

#[test]
fn a_kept_field_may_be_called_like_a_variable() {
    let router =
        router("[[watch]]\ntable='t'\n[[route]]\nfrom='t'\nto='c'\nfields=['message','row','old']\n");
    let routed = router.route(&event(
        "t",
        Op::Insert,
        Some(r#"{"message":"m","row":1,"old":2,"x":3}"#),
        None,
    ));
    assert_eq!(made(&routed)[0].2, r#"{"message":"m","row":1,"old":2}"#);
}

#[test]
fn an_explanation_shows_the_ciphertext_and_says_that_it_would_be_decrypted() {
    let told = inbox().explain(&event(
        "messages",
        Op::Insert,
        Some(r#"{"message":"cifrado"}"#),
        None,
    ));
    assert_eq!(told.rules[0].reason, "no condition; `message` would be decrypted");
    assert_eq!(told.rules[0].data.as_ref().unwrap()["message"], "cifrado");
}
