//! Packets that socket.io-parser 4.2.7 and socket.io-client 4.8.4 write, and one for every rule that closes a connection.

use bytes::Bytes;
use pregon_wire::engineio;
use pregon_wire::socketio::{
    Assembler, Head, Kind, Packet, ParseError, encode_ack, encode_connect, encode_connect_error,
    encode_disconnect, encode_event, encode_event_args, parse, write_placeholder,
};

const MAX: usize = 1000;

fn text(write: impl FnOnce(&mut Vec<u8>)) -> String {
    let mut out = Vec::new();
    write(&mut out);
    String::from_utf8(out).unwrap()
}

fn packet<'a>(kind: Kind, namespace: &'a str, ack: Option<u64>, data: Option<&'a str>) -> Packet<'a> {
    Packet {
        kind,
        namespace,
        ack,
        attachments: 0,
        data,
    }
}

#[test]
fn packets_of_official_clients_are_read() {
    let root = |kind, data| packet(kind, "/", None, data);
    let cases = [
        ("0", root(Kind::Connect, None)),
        (r#"0{"token":"T"}"#, root(Kind::Connect, Some(r#"{"token":"T"}"#))),
        ("0/custom,", packet(Kind::Connect, "/custom", None, None)),
        ("0/custom", packet(Kind::Connect, "/custom", None, None)),
        (
            r#"0/c,{"a":1}"#,
            packet(Kind::Connect, "/c", None, Some(r#"{"a":1}"#)),
        ),
        ("1", root(Kind::Disconnect, None)),
        ("1/custom,", packet(Kind::Disconnect, "/custom", None, None)),
        (r#"2["m",{"n":1}]"#, root(Kind::Event, Some(r#"["m",{"n":1}]"#))),
        (
            r#"212["x"]"#,
            packet(Kind::Event, "/", Some(12), Some(r#"["x"]"#)),
        ),
        (
            r#"2/c,0["x"]"#,
            packet(Kind::Event, "/c", Some(0), Some(r#"["x"]"#)),
        ),
        (r#"2[5,"\ud800"]"#, root(Kind::Event, Some(r#"[5,"\ud800"]"#))),
        ("30[]", packet(Kind::Ack, "/", Some(0), Some("[]"))),
        (
            r#"3/custom,7[{"ok":true}]"#,
            packet(Kind::Ack, "/custom", Some(7), Some(r#"[{"ok":true}]"#)),
        ),
        (
            r#"4/x,{"message":"Invalid namespace"}"#,
            packet(
                Kind::ConnectError,
                "/x",
                None,
                Some(r#"{"message":"Invalid namespace"}"#),
            ),
        ),
    ];
    for (wire, wanted) in cases {
        assert_eq!(parse(wire), Ok(wanted), "{wire}");
    }
}

#[test]
fn names_and_arguments_are_raw_json_but_for_the_name() {
    let event = parse(r#"2/custom,12["a\"b\nñ\u0001",1,{"x":[1, 2]},null]"#)
        .unwrap()
        .event()
        .unwrap();
    assert_eq!(event.name, "a\"b\nñ\u{1}");
    assert_eq!(event.args.as_str(), r#"1,{"x":[1, 2]},null"#);
    assert_eq!(event.args.collect::<Vec<_>>(), ["1", r#"{"x":[1, 2]}"#, "null"]);
    assert_eq!(parse("2[5]").unwrap().event().unwrap().name, "5");
    let ack = parse(r#"37["a",[]]"#).unwrap();
    assert_eq!(
        (ack.event(), ack.answer().collect::<Vec<_>>()),
        (None, vec![r#""a""#, "[]"])
    );
    let auth = parse(r#"0{"pid":"hscU","offset":"Q81yhR5","token":"T"}"#)
        .unwrap()
        .auth();
    assert_eq!(
        (auth.pid.as_deref(), auth.token.as_deref()),
        (Some("hscU"), Some("T"))
    );
    assert_eq!(parse(r#"2["token"]"#).unwrap().auth().token, None);
}

#[test]
fn what_must_close_the_connection_is_an_error() {
    use ParseError as E;
    let cases = [
        ("", E::Kind),
        ("abc", E::Kind),
        ("7[]", E::Kind),
        ("ñ", E::Kind),
        ("0[]", E::Data),
        ("0null", E::Data),
        (r#"0"token""#, E::Data),
        ("0{", E::Data),
        ("1{}", E::Data),
        ("1abc", E::Data),
        ("2", E::Data),
        ("2{}", E::Data),
        (r#"2"x""#, E::Data),
        (r#"2abc["message-with-ack",1]"#, E::Data),
        (r#"2["x""#, E::Data),
        (r#"2["x"]]"#, E::Data),
        (r#"2 ["x"]"#, E::Data),
        (r#"21-["x"]"#, E::Data),
        (r#"2-1["x"]"#, E::Data),
        ("2/abc", E::Data),
        ("2[]", E::EventName),
        ("2[null]", E::EventName),
        ("2[true]", E::EventName),
        (r#"2[{"a":1}]"#, E::EventName),
        (r#"2["\ud800"]"#, E::EventName),
        ("3", E::Data),
        ("30", E::Data),
        ("30{}", E::Data),
        ("4", E::Data),
        ("4[]", E::Data),
        (r#"29007199254740992["x"]"#, E::AckId),
        (r#"299999999999999999999["x"]"#, E::AckId),
        ("0/a\u{1e}b,", E::Namespace),
        (r#"5["x"]"#, E::AttachmentCount),
        (r#"5-["x"]"#, E::AttachmentCount),
        (r#"50-["x"]"#, E::AttachmentCount),
        (r#"511-["x"]"#, E::AttachmentCount),
        (r#"51e0-["x"]"#, E::AttachmentCount),
        (r#"599999999999999999999-["x"]"#, E::AttachmentCount),
        ("51-", E::Data),
        ("61-{}", E::Data),
        (r#"51-[{"_placeholder":true,"num":0}]"#, E::EventName),
    ];
    for (wire, wanted) in cases {
        assert_eq!(parse(wire), Err(wanted), "{wire}");
    }
    for name in [
        "connect",
        "connect_error",
        "disconnect",
        "disconnecting",
        "newListener",
        "removeListener",
    ] {
        assert_eq!(parse(&format!(r#"2["{name}"]"#)), Err(E::ReservedEvent));
    }
    assert_eq!(
        parse(r#"2["\u0063onnect"]"#),
        Err(E::ReservedEvent),
        "escapes hide no name"
    );
}

#[test]
fn a_binary_event_is_complete_with_its_last_attachment() {
    let wire = r#"52-3["f",{"_placeholder":true,"num":0},{"x":[{"_placeholder":true,"num":1}]}]"#;
    let mut assembler = Assembler::default();
    assert_eq!(assembler.text(wire, MAX), Ok(None));
    assert_eq!(assembler.binary(Bytes::from_static(&[1, 2]), MAX), Ok(None));
    assert_eq!(assembler.buffered(), wire.len() + 2);
    let whole = assembler.binary(Bytes::from_static(&[3]), MAX).unwrap().unwrap();
    let packet = whole.packet();
    assert_eq!(
        (packet.kind, packet.ack, packet.attachments),
        (Kind::BinaryEvent, Some(3), 2)
    );
    let event = packet.event().unwrap();
    assert_eq!((event.name.as_ref(), event.args.count()), ("f", 2));
    assert_eq!(whole.attachments(), [&[1, 2][..], &[3]]);
    assert_eq!(assembler.buffered(), 0);
    assert_eq!(assembler.text("1", MAX).unwrap().unwrap().kind, Kind::Disconnect);
    let ack = r#"61-/custom,3[{"_placeholder":true,"num":0}]"#;
    assert_eq!(assembler.text(ack, MAX), Ok(None));
    let whole = assembler.binary(Bytes::new(), MAX).unwrap().unwrap();
    assert_eq!(
        (whole.packet().namespace, whole.packet().answer().count()),
        ("/custom", 1)
    );
    assert_eq!(&*whole.into_parts().0, r#"[{"_placeholder":true,"num":0}]"#);
}

#[test]
fn attachments_out_of_turn_or_out_of_bounds_are_errors() {
    let wire = r#"51-["f",{"_placeholder":true,"num":0}]"#;
    let waiting = || {
        let mut assembler = Assembler::default();
        assert_eq!(assembler.text(wire, 50), Ok(None));
        assembler
    };
    let stray = Assembler::default().binary(Bytes::from_static(b"x"), MAX);
    assert_eq!(stray, Err(ParseError::StrayAttachment));
    assert_eq!(waiting().text("1", MAX), Err(ParseError::AttachmentDue));
    assert!(
        waiting()
            .binary(vec![0; 50 - wire.len()].into(), 50)
            .is_ok_and(|whole| whole.is_some())
    );
    let large = waiting().binary(vec![0; 51 - wire.len()].into(), 50);
    assert_eq!(large, Err(ParseError::TooLarge));
    assert_eq!(Assembler::default().text(wire, 8), Err(ParseError::TooLarge));
    let illegal = r#"51-["f",{"_placeholder":true,"num":1}]"#;
    assert_eq!(
        Assembler::default().text(illegal, MAX),
        Err(ParseError::Placeholder)
    );
}

#[test]
fn the_server_writes_what_the_reference_server_writes() {
    let cases = [
        (
            text(|out| encode_connect("/", "jm88", None, out)),
            r#"40{"sid":"jm88"}"#,
        ),
        (
            text(|out| encode_connect("/", "jm88", Some("hscU"), out)),
            r#"40{"sid":"jm88","pid":"hscU"}"#,
        ),
        (
            text(|out| encode_connect("/custom", "a", None, out)),
            r#"40/custom,{"sid":"a"}"#,
        ),
        (
            text(|out| encode_connect_error("/x", "Invalid namespace", None, out)),
            r#"44/x,{"message":"Invalid namespace"}"#,
        ),
        (
            text(|out| encode_connect_error("/", "no", Some(br#"{"code":102}"#), out)),
            r#"44{"message":"no","data":{"code":102}}"#,
        ),
        (text(|out| encode_disconnect("/", out)), "41"),
        (text(|out| encode_disconnect("/custom", out)), "41/custom,"),
        (
            text(|out| encode_event("/", "m", br#"{"n":1}"#, Some("Q81yhR5"), out)),
            r#"42["m",{"n":1},"Q81yhR5"]"#,
        ),
        (
            text(|out| encode_event("/c", "a\"b", b"", None, out)),
            r#"42/c,["a\"b",null]"#,
        ),
    ];
    for (got, wanted) in cases {
        assert_eq!(got, wanted);
    }
}

#[test]
fn acks_and_binary_packets_have_ids_and_counts() {
    let head = |namespace, ack, attachments| Head {
        namespace,
        ack,
        attachments,
    };
    let none: [&[u8]; 0] = [];
    let mut binary = Vec::new();
    write_placeholder(0, &mut binary);
    let cases = [
        (
            text(|out| encode_ack(&head("/", Some(0), 0), none, out)),
            "430[]".to_owned(),
        ),
        (
            text(|out| encode_ack(&head("/c", Some(7), 0), [&b"1"[..], br#"{"a":2}"#], out)),
            r#"43/c,7[1,{"a":2}]"#.to_owned(),
        ),
        (
            text(|out| encode_ack(&head("/c", Some(3), 1), [&binary[..]], out)),
            r#"461-/c,3[{"_placeholder":true,"num":0}]"#.to_owned(),
        ),
        (
            text(|out| encode_event_args(&head("/", Some(12), 1), "f", [&binary[..], b"1"], None, out)),
            r#"451-12["f",{"_placeholder":true,"num":0},1]"#.to_owned(),
        ),
        (
            text(|out| encode_event_args(&Head::new("/"), "none", none, None, out)),
            r#"42["none"]"#.to_owned(),
        ),
    ];
    for (got, wanted) in cases {
        assert_eq!(got, wanted);
    }
}

/// A whole session of socket.io-client with recovery, as recorded: engine packets around Socket.IO packets.
#[test]
fn a_recovered_session_is_read_and_written() {
    let connect = r#"40{"pid":"hscU","offset":"Q81yhR5","token":"T"}"#;
    let Ok(engineio::Packet::Message(inner)) = engineio::parse(connect) else {
        panic!("{connect}");
    };
    let auth = parse(inner).unwrap().auth();
    assert_eq!(auth.offset.as_deref(), Some("Q81yhR5"));
    let mut body = Vec::new();
    let mut writer = engineio::PayloadWriter::new(&mut body, MAX);
    let missed = text(|out| encode_event("/", "m", br#"{"n":2}"#, Some("Q81yhTW"), out));
    let reply = text(|out| encode_connect("/", "jm88", auth.pid.as_deref(), out));
    assert!(writer.text(missed.as_bytes()) && writer.text(reply.as_bytes()));
    let wanted = "42[\"m\",{\"n\":2},\"Q81yhTW\"]\u{1e}40{\"sid\":\"jm88\",\"pid\":\"hscU\"}";
    assert_eq!(body, wanted.as_bytes());
}
