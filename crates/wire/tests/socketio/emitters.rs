//! What the official emitters and adapters wrote (`emitters.json`), and random messages of the same layouts.

use pregon_wire::socketio::emitter::{
    Action, Broadcast, EmitError, Emitted, MAX_ROOMS, Noted, RoomChange, Target, postgres, redis, stored,
};
use proptest::collection::{hash_map, vec};
use proptest::prelude::*;
use serde_json::{Value, json};

fn vectors() -> Value {
    serde_json::from_str(include_str!("emitters.json")).unwrap()
}

fn from_hex(text: &str) -> Vec<u8> {
    let digits = text.as_bytes().chunks(2);
    digits
        .map(|pair| u8::from_str_radix(std::str::from_utf8(pair).unwrap(), 16).unwrap())
        .collect()
}

/// The recorded message of that group and name, read.
fn read(group: &str, name: &str) -> Emitted {
    let vectors = vectors();
    let vector = &vectors[group][name];
    let (channel, message) = (
        vector["channel"].as_str().unwrap(),
        vector["message"].as_str().unwrap(),
    );
    if !group.starts_with("postgres") {
        let prefix = if group == "redis_json" { "app" } else { "socket.io" };
        return redis(prefix, channel, &from_hex(message)).unwrap();
    }
    let namespace = channel.strip_prefix("socket.io#").unwrap();
    match postgres(namespace, message.as_bytes()).unwrap() {
        Noted::Whole(emitted) => emitted,
        Noted::Stored(id) => {
            assert!(id > 0, "{id}");
            stored(namespace, &from_hex(vector["stored"].as_str().unwrap())).unwrap()
        }
    }
}

fn broadcast(group: &str, name: &str) -> Broadcast {
    match read(group, name) {
        Emitted::Broadcast(broadcast) => broadcast,
        other => panic!("{group} {name}: {other:?}"),
    }
}

fn target(namespace: &str, rooms: &[&str], except: &[&str]) -> Target {
    let owned = |names: &[&str]| names.iter().map(|&name| name.to_owned()).collect();
    Target {
        namespace: namespace.into(),
        rooms: owned(rooms),
        except: owned(except),
    }
}

fn said(to: Target, event: &str, args: &str, count: usize) -> Broadcast {
    Broadcast {
        to,
        volatile: false,
        event: event.into(),
        args: args.into(),
        count,
        attachments: Vec::new(),
    }
}

/// Whoever can speak to our sockets, by the group of what was recorded of them.
const EVERYBODY: [&str; 6] = [
    "redis",
    "redis_json",
    "postgres",
    "adapter",
    "sharded",
    "postgres_adapter",
];

const ROW: &str = r#"{"id":7,"text":"ñandú 🦤","total":10.5,"none":null,"yes":true,"list":[1,-1,300,70000,5000000000,-5000000000]}"#;

#[test]
fn everybody_says_the_same_event_in_their_own_way() {
    let room = said(target("/", &["room1"], &[]), "message:new", ROW, 1);
    let several = said(
        target("/", &["a", "b", "c"], &["muted", "x", "y"]),
        "news",
        r#""one",2,[3]"#,
        3,
    );
    for group in EVERYBODY {
        assert_eq!(broadcast(group, "room"), room, "{group}");
        assert_eq!(broadcast(group, "rooms_except"), several, "{group}");
    }
    for group in ["redis", "postgres", "sharded"] {
        let all = said(target("/", &[], &[]), "hello", r#"{"a":1}"#, 1);
        assert_eq!(broadcast(group, "everyone"), all, "{group}");
    }
    for group in ["redis", "postgres"] {
        let tick = said(target("/", &["room1"], &[]), "tick", "", 0);
        assert_eq!(broadcast(group, "no_arguments"), tick, "{group}");
        let admin = said(target("/admin", &["room1"], &[]), "hello", r#""you""#, 1);
        assert_eq!(broadcast(group, "admin"), admin, "{group}");
        let admins = said(target("/admin", &[], &[]), "hello", r#""all""#, 1);
        assert_eq!(broadcast(group, "admin_everyone"), admins, "{group}");
        let number = said(target("/", &["42"], &[]), "hello", "", 0);
        assert_eq!(broadcast(group, "number_room"), number, "{group}");
        assert!(broadcast(group, "volatile").volatile, "{group}");
        let texts = vec![
            "2023-11-14T22:13:20.000Z",
            "2023-11-14T22:13:20.123Z",
            "1969-12-31T00:00:00.000Z",
        ];
        let dates: Vec<String> =
            serde_json::from_str(&format!("[{}]", broadcast(group, "dates").args)).unwrap();
        assert_eq!(dates, texts, "{group}");
    }
}

#[test]
fn bytes_are_attachments() {
    for group in ["redis", "postgres", "adapter", "sharded"] {
        let file = broadcast(group, "binary");
        let args = r#"{"name":"a.bin","bytes":{"_placeholder":true,"num":0}},{"_placeholder":true,"num":1}"#;
        assert_eq!((file.args.as_str(), file.count), (args, 2), "{group}");
        assert_eq!(file.attachments, [&[1, 2, 3, 255][..], &[9][..]], "{group}");
    }
    let large = broadcast("postgres", "large");
    assert_eq!(large.args.len(), 8002);
}

#[test]
fn odd_values_are_json() {
    let words = r#"-0.5,null,null,null,"",[],{},9007199254740991,-9007199254740991,[[[]]]"#;
    assert_eq!(
        broadcast("postgres", "odd_values").args,
        format!("0.1,1e+21,{words}")
    );
    // The encoder of Redis wraps whole numbers that do not fit 64 bits; a Socket.IO server reads the same.
    let redis = broadcast("redis", "odd_values").args;
    assert!(redis.starts_with("0.1,") && redis.ends_with(words), "{redis}");
}

#[test]
fn sockets_are_told_what_to_do() {
    let rooms = |names: &[&str]| names.iter().map(|&name| name.to_owned()).collect::<Vec<_>>();
    let change = |to, action| Emitted::Change(RoomChange { to, action });
    let join = change(
        target("/", &["room1"], &["muted"]),
        Action::Join(rooms(&["room2", "room3"])),
    );
    for group in EVERYBODY {
        assert_eq!(read(group, "join"), join, "{group}");
    }
    for group in ["redis", "postgres", "sharded"] {
        let leave = change(target("/", &[], &[]), Action::Leave(rooms(&["room1"])));
        assert_eq!(read(group, "leave"), leave, "{group}");
        let end = change(target("/", &["sid1"], &[]), Action::Disconnect { close: true });
        assert_eq!(read(group, "disconnect"), end, "{group}");
    }
    for group in ["redis", "postgres"] {
        let admins = change(target("/admin", &[], &[]), Action::Disconnect { close: false });
        assert_eq!(read(group, "admin_disconnect"), admins, "{group}");
    }
}

#[test]
fn what_is_among_servers_is_ignored() {
    for (group, name) in [
        ("redis", "server_side"),
        ("postgres", "server_side"),
        ("adapter", "server_side"),
        ("adapter", "wants_acknowledgements"),
        ("sharded", "server_side"),
        ("postgres_adapter", "heartbeat"),
    ] {
        assert!(matches!(read(group, name), Emitted::Ignored(_)), "{group} {name}");
    }
    let answer = redis("socket.io", "socket.io-response#/#abc#", b"{}");
    assert!(matches!(answer, Ok(Emitted::Ignored(_))), "{answer:?}");
    let fetch = json!({"type": 3, "nsp": "/other", "data": {}}).to_string();
    assert!(matches!(
        postgres("/", fetch.as_bytes()),
        Ok(Noted::Whole(Emitted::Ignored(_)))
    ));
}

#[test]
fn what_cannot_be_delivered_says_why() {
    let emit = |data: Value, rooms: Value| {
        let opts = json!({"rooms": rooms, "except": []});
        let message = json!(["emitter", {"type": 2, "data": data, "nsp": "/"}, opts]);
        redis("socket.io", "socket.io#/#", message.to_string().as_bytes())
    };
    assert!(emit(json!(["x"]), json!([])).is_ok());
    assert!(matches!(
        emit(json!(["disconnect"]), json!([])),
        Err(EmitError::Event(_))
    ));
    assert!(matches!(emit(json!([]), json!([])), Err(EmitError::Event(_))));
    assert!(matches!(
        emit(json!({"a": 1}), json!([])),
        Err(EmitError::Layout(_))
    ));
    // `to(undefined)`: nobody, never everyone.
    assert!(matches!(
        emit(json!(["x"]), json!([null])),
        Err(EmitError::Layout(_))
    ));
    let crowd: Vec<usize> = (0..=MAX_ROOMS).collect();
    assert_eq!(emit(json!(["x"]), json!(crowd)), Err(EmitError::TooManyRooms));
    for channel in [
        "socket.io",
        "socket.io#",
        "socket.io#/",
        "socket.io#x#",
        "other#/#",
        "socket.io-x#/#",
    ] {
        assert_eq!(
            redis("socket.io", channel, b"[]"),
            Err(EmitError::Channel),
            "{channel}"
        );
    }
    for message in [
        &b""[..],
        b"\xc1",
        b"\x93\xa1",
        b"[1,2",
        b"\xdd\xff\xff\xff\xff\xc0",
        b"\x91\xd4\x05\x00",
        b"\x81\x01\x02",
    ] {
        assert!(
            redis("socket.io", "socket.io#/#", message).is_err(),
            "{message:?}"
        );
    }
    let twice = json!({"type": 3, "attachmentId": "1"}).to_string();
    assert!(matches!(stored("/", twice.as_bytes()), Err(EmitError::Layout(_))));
}

#[test]
fn arguments_may_be_as_deep_as_their_emitter_likes() {
    let deep = [vec![0x91; 100_000], vec![0xc0]].concat();
    let message = packed(&[deep]);
    let Ok(Emitted::Broadcast(said)) = redis("socket.io", "socket.io#/#", &message) else {
        panic!("refused")
    };
    assert_eq!(
        said.args,
        format!("{}null{}", "[".repeat(100_000), "]".repeat(100_000))
    );
}

/// `[uid, packet, opts]` in MessagePack, with these arguments in MessagePack.
fn packed(args: &[Vec<u8>]) -> Vec<u8> {
    let mut out = b"\x93\xa7emitter\x83\xa4type\x02\xa4data".to_vec();
    rmp::encode::write_array_len(&mut out, u32::try_from(args.len()).unwrap() + 1).unwrap();
    rmp::encode::write_str(&mut out, "e").unwrap();
    out.extend(args.concat());
    out.extend(b"\xa3nsp\xa1/\x83\xa5rooms\x90\xa5flags\x80\xa6except\x90");
    out
}

fn unpacked(args: &[Vec<u8>]) -> Result<Broadcast, EmitError> {
    match redis("socket.io", "socket.io#/#", &packed(args))? {
        Emitted::Broadcast(broadcast) => Ok(broadcast),
        other => panic!("{other:?}"),
    }
}

fn pack(value: &Value, out: &mut Vec<u8>) {
    match value {
        Value::Null => rmp::encode::write_nil(out).unwrap(),
        Value::Bool(yes) => rmp::encode::write_bool(out, *yes).unwrap(),
        Value::Number(number) => match (number.as_u64(), number.as_i64()) {
            (Some(whole), _) => drop(rmp::encode::write_uint(out, whole).unwrap()),
            (_, Some(whole)) => drop(rmp::encode::write_sint(out, whole).unwrap()),
            _ => rmp::encode::write_f64(out, number.as_f64().unwrap()).unwrap(),
        },
        Value::String(text) => rmp::encode::write_str(out, text).unwrap(),
        Value::Array(items) => {
            rmp::encode::write_array_len(out, u32::try_from(items.len()).unwrap()).unwrap();
            items.iter().for_each(|item| pack(item, out));
        }
        Value::Object(map) => {
            rmp::encode::write_map_len(out, u32::try_from(map.len()).unwrap()).unwrap();
            for (key, item) in map {
                rmp::encode::write_str(out, key).unwrap();
                pack(item, out);
            }
        }
    }
}

fn bin(bytes: &[u8]) -> Vec<u8> {
    let mut out = Vec::new();
    rmp::encode::write_bin(&mut out, bytes).unwrap();
    out
}

#[test]
fn clients_take_ten_attachments_and_the_rest_as_base64() {
    let files: Vec<Vec<u8>> = (0..12).map(|n| bin(&[n])).collect();
    let files = unpacked(&files).unwrap();
    assert_eq!((files.count, files.attachments.len()), (12, 10));
    assert!(
        files
            .args
            .ends_with(r#"{"_placeholder":true,"num":9},"Cg==","Cw==""#),
        "{}",
        files.args
    );
}

#[test]
fn a_placeholder_of_the_sender_stands_for_nothing() {
    let mut forged = Vec::new();
    pack(&json!({"_placeholder": true, "num": 5}), &mut forged);
    assert_eq!(
        unpacked(&[forged.clone(), bin(b"x")]),
        Err(EmitError::Placeholder)
    );
    // Without attachments it is data like any other.
    assert!(unpacked(&[forged]).unwrap().attachments.is_empty());
}

#[test]
fn what_older_encoders_wrote_is_read() {
    let undefined = vec![0xd4, 0x00, 0x00];
    let date = [&[0xd7, 0x00][..], &1_700_000_000_123_i64.to_be_bytes()].concat();
    let buffer = vec![0xc7, 0x02, 0x00, 7, 8];
    let old = unpacked(&[undefined, date, buffer]).unwrap();
    assert_eq!(
        old.args,
        r#"null,"2023-11-14T22:13:20.123Z",{"_placeholder":true,"num":0}"#
    );
    assert_eq!(old.attachments, [&[7, 8][..]]);
}

#[test]
fn small_floats_and_texts_cut_in_a_letter_arrive() {
    let single = [&[0xca][..], &1.5_f32.to_be_bytes()].concat();
    let cut = vec![0xa2, b'a', 0xc3];
    assert_eq!(unpacked(&[single, cut]).unwrap().args, "1.5,\"a\u{fffd}\"");
}

fn value() -> impl Strategy<Value = Value> {
    let leaf = prop_oneof![
        Just(Value::Null),
        any::<bool>().prop_map(Value::from),
        any::<u64>().prop_map(Value::from),
        any::<i64>().prop_map(Value::from),
        any::<f64>()
            .prop_filter("a number", |float| float.is_finite())
            .prop_map(Value::from),
        any::<String>().prop_map(Value::from),
    ];
    leaf.prop_recursive(5, 40, 6, |inner| {
        prop_oneof![
            vec(inner.clone(), 0..20).prop_map(Value::from),
            hash_map(any::<String>(), inner, 0..6).prop_map(|map| Value::Object(map.into_iter().collect())),
        ]
    })
}

/// Bytes that get past the first checks more often than noise does.
fn soup() -> impl Strategy<Value = Vec<u8>> {
    let piece = prop_oneof![
        any::<u8>().prop_map(|byte| vec![byte]),
        prop::sample::select(vec![
            &b"\x93\xa7emitter"[..],
            b"\x83\xa4type\x02\xa4data\x91\xa1e\xa3nsp\xa1/",
            b"\x83\xa5rooms\x90\xa5flags\x80\xa6except\x90",
            b"[\"emitter\",",
            b"{\"type\":2,\"data\":[\"e\"],\"nsp\":\"/\"}",
            b"{\"rooms\":[1],\"except\":[]}",
            b"{\"type\":3,\"data\":{\"packet\":",
            b",\"opts\":",
            b"}}",
            b"]",
            b"\xc4\x01x",
            b"\xdd\x7f\xff\xff\xff",
        ])
        .prop_map(<[u8]>::to_vec),
    ];
    vec(piece, 0..12).prop_map(|pieces| pieces.concat())
}

proptest! {
    #[test]
    fn any_json_goes_through_messagepack_unchanged(values in vec(value(), 0..5)) {
        let args: Vec<Vec<u8>> = values.iter().map(|value| { let mut out = Vec::new(); pack(value, &mut out); out }).collect();
        let read = unpacked(&args).unwrap();
        prop_assert_eq!(read.count, values.len());
        // As texts: the parser of the test would round some floats.
        let texts: Vec<String> = values.iter().map(Value::to_string).collect();
        prop_assert_eq!(read.args, texts.join(","));
    }

    #[test]
    fn any_bytes_end_in_an_answer(message in soup(), cut in any::<prop::sample::Index>(), mut vector in 0_usize..64) {
        let _ = redis("socket.io", "socket.io#/#", &message);
        let _ = redis("socket.io", "socket.io-request#/#", &message);
        let _ = postgres("/", &message);
        let _ = stored("/", &message);
        // A recorded message with its end missing, and with one byte changed.
        let vectors = vectors();
        let redis_messages = vectors["redis"].as_object().unwrap();
        vector %= redis_messages.len();
        let mut recorded = from_hex(redis_messages.values().nth(vector).unwrap()["message"].as_str().unwrap());
        let at = cut.index(recorded.len());
        prop_assert!(redis("socket.io", "socket.io#/#", &recorded[..at]).is_err());
        recorded[at] = message.first().copied().unwrap_or_default();
        let _ = redis("socket.io", "socket.io#/#", &recorded);
        let _ = stored("/", &recorded);
    }
}
