//! Random texts and random packets: no panic, nothing lost.

use bytes::Bytes;
use pregon_wire::engineio;
use pregon_wire::socketio::{
    Assembler, Head, Kind, MAX_ATTACHMENTS, Packet, encode_ack, encode_event, encode_event_args,
    is_namespace, is_reserved, parse, write_placeholder,
};
use proptest::collection::vec;
use proptest::prelude::*;

/// Texts that get past the first checks more often than plain noise.
fn soup() -> impl Strategy<Value = String> {
    let piece = prop::sample::select(vec![
        "0",
        "1",
        "2",
        "3",
        "4",
        "5",
        "6",
        "51-",
        "62-",
        "/",
        "/c,",
        ",",
        "12",
        "-",
        "[",
        "]",
        "{",
        "}",
        "\"x\"",
        "null",
        " ",
        "\"",
        "\\",
        "ñ",
        "\u{1e}",
        "[\"x\"]",
        "[\"x\",1]",
        "{\"token\":\"T\"}",
        "[\"connect\"]",
        "{\"_placeholder\":true,\"num\":0}",
    ]);
    prop_oneof![3 => vec(piece, 0..8).prop_map(|pieces| pieces.concat()), 1 => any::<String>()]
}

fn namespace() -> impl Strategy<Value = String> {
    prop_oneof![
        Just("/".to_owned()),
        "/[a-zñ0-9\\[\"{]{1,6}".prop_map(String::from)
    ]
}

fn json() -> impl Strategy<Value = String> {
    prop_oneof![
        any::<f64>().prop_map(|number| serde_json::json!(number).to_string()),
        any::<String>().prop_map(|text| serde_json::json!(text).to_string()),
        vec("[,\\[\\]{}\"\\\\]{0,4}", 0..4).prop_map(|list| serde_json::json!({ "a": list }).to_string()),
    ]
}

/// What an encoder wrote, read again.
fn read(message: &[u8]) -> Packet<'_> {
    let text = std::str::from_utf8(message).unwrap();
    let Ok(engineio::Packet::Message(inner)) = engineio::parse(text) else {
        panic!("{text}");
    };
    parse(inner).unwrap_or_else(|error| panic!("{text}: {error}"))
}

proptest! {
    #[test]
    fn any_text_is_a_packet_with_readable_parts_or_an_error(text in soup()) {
        if let Ok(packet) = parse(&text) {
            prop_assert!(is_namespace(packet.namespace));
            prop_assert_eq!(packet.kind.is_binary(), packet.attachments > 0);
            prop_assert_eq!(packet.kind.is_event(), packet.event().is_some());
            let _ = (packet.auth(), packet.answer().count());
            if let Some(data) = packet.data {
                prop_assert!(serde_json::from_str::<&serde_json::value::RawValue>(data).is_ok());
            }
        }
    }

    #[test]
    fn events_come_back(
        namespace in namespace(), name in any::<String>(), data in json(), offset in any::<Option<String>>()
    ) {
        prop_assume!(!is_reserved(&name));
        let mut out = Vec::new();
        encode_event(&namespace, &name, data.as_bytes(), offset.as_deref(), &mut out);
        let packet = read(&out);
        prop_assert_eq!((packet.kind, packet.namespace, packet.ack), (Kind::Event, &*namespace, None));
        let mut event = packet.event().unwrap();
        prop_assert_eq!(event.name, name);
        prop_assert_eq!(event.args.next(), Some(&*data));
        let last = event.args.next().map(|json| serde_json::from_str::<String>(json).unwrap());
        prop_assert_eq!((last, event.args.next()), (offset, None));
    }

    #[test]
    fn answers_come_back(namespace in namespace(), id in 0u64..1 << 53, args in vec(json(), 0..4)) {
        let head = Head { namespace: &namespace, ack: Some(id), attachments: 0 };
        let mut out = Vec::new();
        encode_ack(&head, args.iter().map(String::as_bytes), &mut out);
        let packet = read(&out);
        prop_assert_eq!((packet.kind, packet.namespace, packet.ack), (Kind::Ack, &*namespace, Some(id)));
        prop_assert_eq!(packet.answer().collect::<Vec<_>>(), args);
    }

    #[test]
    fn binary_events_come_back(
        namespace in namespace(), id in prop::option::of(0u64..1 << 53),
        parts in vec(vec(any::<u8>(), 0..16), 1..=MAX_ATTACHMENTS)
    ) {
        let head = Head { namespace: &namespace, ack: id, attachments: parts.len() };
        let args: Vec<Vec<u8>> = (0..parts.len()).map(|num| {
            let mut out = Vec::new();
            write_placeholder(num, &mut out);
            out
        }).collect();
        let mut out = Vec::new();
        encode_event_args(&head, "f", args.iter().map(Vec::as_slice), None, &mut out);
        let text = std::str::from_utf8(&out).unwrap();
        let mut assembler = Assembler::default();
        prop_assert_eq!(assembler.text(&text[1..], 4096), Ok(None));
        let mut whole = None;
        for part in &parts {
            prop_assert!(whole.is_none());
            whole = assembler.binary(Bytes::copy_from_slice(part), 4096).unwrap();
        }
        let whole = whole.unwrap();
        prop_assert_eq!((whole.packet().ack, whole.packet().namespace), (id, &*namespace));
        prop_assert_eq!(whole.packet().event().unwrap().args.count(), parts.len());
        prop_assert_eq!(whole.attachments(), parts);
    }

    #[test]
    fn any_order_of_messages_keeps_the_limit(messages in vec(prop_oneof![
        soup().prop_map(Ok), Just(Ok("52-[\"x\"]".to_owned())), vec(any::<u8>(), 0..40).prop_map(Err),
    ], 0..12)) {
        let mut assembler = Assembler::default();
        for message in &messages {
            let outcome = match message {
                Ok(text) => assembler.text(text, 64).map(drop),
                Err(bytes) => assembler.binary(Bytes::copy_from_slice(bytes), 64).map(drop),
            };
            prop_assert!(assembler.buffered() <= 64);
            if outcome.is_err() {
                break;
            }
        }
    }
}
