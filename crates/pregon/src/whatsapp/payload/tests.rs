//! Whole deliveries: nothing is lost, whatever they hold.
#![allow(clippy::unwrap_used, clippy::indexing_slicing, clippy::panic)]

use proptest::prelude::*;
use serde_json::{Value, json};

use super::*;

const NOW: i64 = 1_790_000_000;

fn value(field: &str, value: Value) -> Vec<u8> {
    let delivery = json!({"object": "whatsapp_business_account",
        "entry": [{"id": "WABA", "changes": [{"field": field, "value": value}]}]});
    serde_json::to_vec(&delivery).unwrap()
}

fn messages(list: Value) -> Vec<Item> {
    let contacts = json!([{"profile": {"name": "Ana"}, "wa_id": "5491122334455", "user_id": "AR.1"}]);
    let body = json!({"messaging_product": "whatsapp", "contacts": contacts, "messages": list,
        "metadata": {"display_phone_number": "15550001111", "phone_number_id": "109"}});
    read(&value("messages", body), NOW).items
}

#[test]
fn what_cannot_be_read_is_null_for_itself_alone() {
    let message = json!({"from": "5491122334455", "id": "wamid.1", "type": "text", "text": {"body": "hola"},
        "n": "NUMBER", "deep": "DEEP", "cut": "CUT"});
    let deep = format!("{}{}", "[".repeat(5000), "]".repeat(5000));
    let body = String::from_utf8(value("messages", json!({"messages": [message]}))).unwrap();
    let body = body.replace("\"NUMBER\"", "1e400").replace("\"DEEP\"", &deep);
    let body = body.replace("\"CUT\"", "\"cut \\ud83d\"");
    let read = read(body.as_bytes(), NOW);
    assert_eq!(read.unreadable, 2); // half of a pair is U+FFFD before it is read
    let [Item::Message(message)] = read.items.as_slice() else {
        panic!("{:?}", read.items)
    };
    assert_eq!(
        (message.mensaje.as_deref(), &message.raw["n"]),
        (Some("hola"), &Value::Null)
    );
    assert_eq!(message.raw["cut"], "cut \u{fffd}");
}

fn one(message: Value) -> Message {
    let mut whole = json!({"from": "5491122334455", "id": "wamid.1", "timestamp": "1780000000"});
    whole
        .as_object_mut()
        .unwrap()
        .extend(message.as_object().unwrap().clone());
    match messages(json!([whole])).remove(0) {
        Item::Message(message) => message,
        other => panic!("{other:?}"),
    }
}

#[test]
fn a_message_has_its_contact_number_text_and_time() {
    let message = one(json!({"type": "text", "text": {"body": "Hola"}}));
    assert_eq!(
        (message.numero.as_str(), message.wamid.as_str()),
        ("109", "wamid.1")
    );
    assert_eq!(message.telefono.as_deref(), Some("5491122334455"));
    assert_eq!(message.user_id.as_deref(), Some("AR.1"));
    assert_eq!(message.nombre.as_deref(), Some("Ana"));
    assert_eq!(
        (message.mensaje.as_deref(), message.at),
        (Some("Hola"), 1_780_000_000)
    );
    assert_eq!(message.remitente_tipo, Sender::User);
}

#[test]
fn every_type_has_its_text_or_none() {
    for (message, said) in [
        (
            json!({"type": "image", "image": {"id": "1", "caption": "foto"}}),
            Some("foto"),
        ),
        (
            json!({"type": "audio", "audio": {"id": "1", "voice": true}}),
            None,
        ),
        (
            json!({"type": "document", "document": {"filename": "a.pdf", "caption": "c"}}),
            Some("c"),
        ),
        (json!({"type": "sticker", "sticker": {"id": "1"}}), None),
        (
            json!({"type": "location", "location": {"latitude": 1.5, "longitude": -2}}),
            None,
        ),
        (
            json!({"type": "contacts", "contacts": [{"name": {"formatted_name": "B"}}]}),
            None,
        ),
        (
            json!({"type": "reaction", "reaction": {"message_id": "wamid.0", "emoji": "👍"}}),
            None,
        ),
        (
            json!({"type": "interactive", "interactive": {"type": "button_reply", "button_reply": {"id": "b", "title": "Sí"}}}),
            Some("Sí"),
        ),
        (
            json!({"type": "interactive", "interactive": {"type": "list_reply", "list_reply": {"id": "l", "title": "Uno"}}}),
            Some("Uno"),
        ),
        (
            json!({"type": "interactive", "interactive": {"type": "nfm_reply", "nfm_reply": {"response_json": "{}"}}}),
            None,
        ),
        (json!({"type": "interactive"}), None),
        (
            json!({"type": "button", "button": {"payload": "p", "text": "Quiero"}}),
            Some("Quiero"),
        ),
        (
            json!({"type": "order", "order": {"text": "dos", "product_items": []}}),
            Some("dos"),
        ),
        (
            json!({"type": "edit", "edit": {"original_message_id": "wamid.0", "message": {"type": "text", "text": {"body": "mejor"}}}}),
            Some("mejor"),
        ),
        (
            json!({"type": "revoke", "revoke": {"original_message_id": "wamid.0"}}),
            None,
        ),
        (json!({"type": "unsupported", "errors": [{"code": 131051}]}), None),
        (json!({"type": "hologram", "hologram": {"x": [1]}}), None),
        (json!({"type": 7}), None),
        (json!({}), None),
    ] {
        let item = one(message.clone());
        assert_eq!(item.mensaje.as_deref(), said, "{message}");
        for (key, value) in message.as_object().unwrap() {
            assert_eq!(&item.raw[key], value, "raw of {message}");
        }
    }
}

#[test]
fn a_changed_number_is_a_message_of_the_system_and_a_second_name() {
    let items = messages(json!([{"from": "111", "id": "wamid.2", "type": "system",
        "system": {"body": "Ana cambió", "wa_id": "+2 22", "type": "user_changed_number"}}]));
    let [Item::Message(message), Item::Alias(alias)] = items.as_slice() else {
        panic!("{items:?}")
    };
    assert_eq!(
        (message.remitente_tipo, message.mensaje.as_deref()),
        (Sender::System, Some("Ana cambió"))
    );
    assert_eq!((alias.old.as_str(), alias.new.as_str()), ("tel:111", "tel:222"));
    assert_eq!(items[0].lane(), items[1].lane());
}

#[test]
fn users_without_a_number_and_echoes_have_their_contact() {
    let hidden = json!({"metadata": {"phone_number_id": "109"}, "contacts": [{"profile": {"username": "ana"}, "user_id": "AR.9"}],
        "messages": [{"from_user_id": "AR.9", "id": "w", "type": "text", "text": {"body": "x"}}, {"id": "v", "type": "text"}]});
    let items = read(&value("messages", hidden), NOW).items;
    for item in &items {
        let Item::Message(message) = item else {
            panic!("{item:?}")
        };
        assert_eq!(
            (message.telefono.as_deref(), message.user_id.as_deref()),
            (None, Some("AR.9"))
        );
        assert_eq!((message.nombre.as_deref(), message.at), (Some("ana"), NOW));
    }
    let in_from = json!({"messages": [{"from": "US.134", "id": "w"}], "statuses": [{"id": "w", "status": "read", "recipient_id": "US.134"}]});
    let items = read(&value("messages", in_from), NOW).items;
    let [Item::Message(message), Item::Status(status)] = items.as_slice() else {
        panic!("{items:?}")
    };
    assert_eq!(
        (&message.telefono, message.user_id.as_deref()),
        (&None, Some("US.134"))
    );
    assert_eq!((&status.telefono, &status.user_id), (&None, &message.user_id));
    let echo = json!({"metadata": {"phone_number_id": "109"},
        "message_echoes": [{"from": "15550001111", "to": "549", "id": "e", "type": "text", "text": {"body": "ya voy"}}]});
    let items = read(&value("smb_message_echoes", echo), NOW).items;
    let [Item::Message(message)] = items.as_slice() else {
        panic!("{items:?}")
    };
    assert_eq!(
        (message.telefono.as_deref(), message.remitente_tipo),
        (Some("549"), Sender::Agent)
    );
}

#[test]
fn all_of_a_batch_is_taken_in_order() {
    let change = |id: &str| {
        json!({"field": "messages", "value": {"metadata": {"phone_number_id": "1"},
            "messages": [{"from": "1", "id": id, "type": "text"}, {"from": "2", "id": format!("{id}b"), "type": "text"}],
            "statuses": [{"id": "s", "status": "read", "recipient_id": "1"}, {"status": "sent"}], "errors": [{"code": 1}]}})
    };
    let body = json!({"entry": [{"id": "A", "changes": [change("a"), change("b")]}, {"changes": [change("c")]}, {"id": "B"}, 7]});
    let items = read(body.to_string().as_bytes(), NOW).items;
    let wamids: Vec<_> = items
        .iter()
        .filter_map(|item| match item {
            Item::Message(message) => Some(message.wamid.as_str()),
            _ => None,
        })
        .collect();
    assert_eq!(wamids, ["a", "ab", "b", "bb", "c", "cb"]);
    assert_eq!(
        items
            .iter()
            .filter(|item| matches!(item, Item::Status(_)))
            .count(),
        3
    );
    assert_eq!(
        items.iter().filter(|item| matches!(item, Item::Event(_))).count(),
        3 * 2 + 2
    );
}

#[test]
fn what_is_unknown_is_kept_and_what_is_no_json_is_said() {
    for body in [
        "[]",
        "{}",
        "7",
        "null",
        r#"{"entry":{"a":1}}"#,
        r#"{"entry":null}"#,
    ] {
        let items = read(body.as_bytes(), NOW).items;
        let raw: Value = serde_json::from_str(body).unwrap();
        assert!(
            matches!(items.as_slice(), [Item::Event(other)] if other.raw == raw),
            "{body}: {items:?}"
        );
    }
    let update = json!({"event": "APPROVED", "message_template_id": 1});
    let items = read(&value("message_template_status_update", update.clone()), NOW).items;
    assert!(
        matches!(items.as_slice(), [Item::Event(other)] if other.raw == update && other.field.starts_with("message_template"))
    );
    for body in ["", "{", "\"\u{1}\"", "[1e999"] {
        assert!(
            matches!(
                read(body.as_bytes(), NOW).items.as_slice(),
                [Item::Unreadable { .. }]
            ),
            "{body}"
        );
    }
}

#[test]
fn contacts_are_spread_over_all_lanes() {
    let mut counts = [0_u32; pregon_capture::router::LANES as usize];
    for number in 0..6400 {
        let item = Item::Status(Status {
            numero: "109".into(),
            wamid: "w".into(),
            estado: "read".into(),
            telefono: Some(format!("54911{number:08}")),
            user_id: None,
            at: NOW,
            raw: Value::Null,
        });
        counts[usize::from(item.lane())] += 1;
    }
    assert!(
        counts.iter().all(|count| (50..=160).contains(count)),
        "{counts:?}"
    );
}

/// Values such as nobody would send.
fn any_json() -> impl Strategy<Value = Value> {
    let keys = prop::sample::select(vec![
        "entry",
        "changes",
        "field",
        "value",
        "messages",
        "statuses",
        "errors",
        "contacts",
        "metadata",
        "message_echoes",
        "from",
        "to",
        "id",
        "type",
        "text",
        "system",
        "wa_id",
        "timestamp",
        "status",
        "user_id",
        "profile",
        "edit",
        "message",
    ]);
    let leaf = prop_oneof![
        Just(Value::Null),
        any::<bool>().prop_map(Value::from),
        any::<i64>().prop_map(Value::from),
        "(text|system|edit|12|wamid|[a-z]{0,3})".prop_map(Value::from),
    ];
    leaf.prop_recursive(8, 96, 5, move |inner| {
        prop_oneof![
            prop::collection::vec(inner.clone(), 0..4).prop_map(Value::from),
            prop::collection::vec((keys.clone(), inner), 0..5).prop_map(|pairs| {
                Value::Object(
                    pairs
                        .into_iter()
                        .map(|(key, value)| (key.to_owned(), value))
                        .collect(),
                )
            }),
        ]
    })
}

proptest! {
    #[test]
    fn nothing_panics_and_everything_gives_something(delivery in any_json(), noise in any::<Vec<u8>>()) {
        let entries = delivery.get("entry").and_then(Value::as_array).map_or(1, Vec::len);
        let items = read(delivery.to_string().as_bytes(), NOW).items;
        prop_assert!(items.len() >= entries.min(1));
        for item in items.iter().chain(&read(&noise, NOW).items) {
            prop_assert!(item.lane() < pregon_capture::router::LANES);
            prop_assert!(serde_json::to_value(item).unwrap()["kind"].is_string());
        }
    }

    #[test]
    fn every_message_of_a_value_is_an_item(list in prop::collection::vec(any_json(), 0..6), echoes in prop::collection::vec(any_json(), 0..3)) {
        let body = json!({"messages": list, "message_echoes": echoes});
        let items = read(&value("messages", body), NOW).items;
        let own = |item: &&Item| !matches!(item, Item::Alias(_));
        prop_assert_eq!(items.iter().filter(own).count(), (list.len() + echoes.len()).max(1));
    }
}
