//! The frames that RFC 6455 §5.7 and RFC 7692 §7.2.3 print, and one frame for every rule.

use pregon_wire::ws::{Decoder, Deflater, Opcode, close_frame, deflated_text_frame, frame, worth_deflating};

use crate::client::{Got, decode, decode_whole, masked};

const MASK: [u8; 4] = [0x37, 0xfa, 0x21, 0x3d];
const MAX: usize = 1024;

fn hello() -> Got {
    Got::Text("Hello".to_owned())
}

fn encoded(opcode: Opcode, payload: &[u8]) -> Vec<u8> {
    let mut out = Vec::new();
    frame(opcode, payload, &mut out);
    out
}

fn closes_with(bytes: &[u8], deflate: bool) -> u16 {
    decode_whole(bytes, MAX, deflate)
        .error
        .map_or(0, |error| error.close)
}

#[test]
fn masked_text_and_pong_of_the_rfc_are_read() {
    let text = b"\x81\x85\x37\xfa\x21\x3d\x7f\x9f\x4d\x51\x58";
    assert_eq!(decode_whole(text, MAX, false).messages, [hello()]);
    let pong = b"\x8a\x85\x37\xfa\x21\x3d\x7f\x9f\x4d\x51\x58";
    assert_eq!(
        decode_whole(pong, MAX, false).messages,
        [Got::Pong(b"Hello".to_vec())]
    );
}

#[test]
fn unmasked_frames_of_the_rfc_are_what_we_send() {
    assert_eq!(encoded(Opcode::Text, b"Hello"), b"\x81\x05Hello");
    assert_eq!(encoded(Opcode::Ping, b"Hello"), b"\x89\x05Hello");
    assert_eq!(encoded(Opcode::Binary, &[7; 256])[..4], [0x82, 0x7e, 0x01, 0x00]);
    let long = encoded(Opcode::Binary, &[7; 65_536]);
    assert_eq!(long[..10], [0x82, 0x7f, 0, 0, 0, 0, 0, 1, 0, 0]);
    assert_eq!(long.len(), 65_546);
}

#[test]
fn close_frames_have_code_and_a_reason_that_fits() {
    let mut out = Vec::new();
    close_frame(3001, "slow", &mut out);
    assert_eq!(out, b"\x88\x06\x0b\xb9slow");
    out.clear();
    close_frame(1000, &"ñ".repeat(100), &mut out);
    assert_eq!(
        (out[1], out.len()),
        (124, 126),
        "61 letters of two bytes and the code"
    );
}

#[test]
fn fragments_with_a_ping_between_them_are_one_message() {
    let stream = [
        masked(0x01, MASK, b"Hel"),
        masked(0x89, MASK, b"?"),
        masked(0x80, MASK, b"lo"),
    ]
    .concat();
    let wanted = [Got::Ping(b"?".to_vec()), hello()];
    assert_eq!(decode_whole(&stream, MAX, false).messages, wanted);
}

#[test]
fn compressed_messages_of_the_rfc_are_inflated() {
    let payloads: [&[u8]; 4] = [
        b"\xf2\x48\xcd\xc9\xc9\x07\x00",
        b"\x00\x05\x00\xfa\xffHello\x00",
        b"\xf3\x48\xcd\xc9\xc9\x07\x00\x00",
        b"\xf2\x48\x05\x00\x00\x00\xff\xff\xca\xc9\xc9\x07\x00",
    ];
    for payload in payloads {
        let outcome = decode_whole(&masked(0xc1, MASK, payload), MAX, true);
        assert_eq!((outcome.messages, outcome.error), (vec![hello()], None));
    }
    let parts = [
        masked(0x41, MASK, b"\xf2\x48\xcd"),
        masked(0x80, MASK, b"\xc9\xc9\x07\x00"),
    ];
    assert_eq!(decode_whole(&parts.concat(), MAX, true).messages, [hello()]);
}

#[test]
fn compressed_data_that_is_none_ends_the_connection() {
    let cases: [&[u8]; 4] = [
        // RFC 7692 §7.2.3.2: leans on the message before, which we told the client not to do.
        b"\xf2\x00\x11\x00\x00",
        b"\xff\xff\xff",
        // A second stream behind a final block.
        b"\xf3\x48\xcd\xc9\xc9\x07\x00\xf3\x48\xcd\xc9\xc9\x07\x00",
        // Inflates to bytes that are not UTF-8.
        b"\x00\x01\x00\xfe\xff\xff\x00",
    ];
    for payload in cases {
        assert_eq!(
            closes_with(&masked(0xc1, MASK, payload), true),
            1007,
            "{payload:02x?}"
        );
    }
}

#[test]
fn frames_that_break_the_protocol_close_with_1002() {
    let cases = [
        ("reserved bit 2", masked(0xa1, MASK, b"")),
        ("reserved bit 3", masked(0x91, MASK, b"")),
        ("compressed but not negotiated", masked(0xc1, MASK, b"")),
        ("opcode 3", masked(0x83, MASK, b"")),
        ("opcode 11", masked(0x8b, MASK, b"")),
        ("unmasked", b"\x81\x05Hello".to_vec()),
        ("fragmented ping", masked(0x09, MASK, b"")),
        ("long ping", masked(0x89, MASK, &[0; 126])),
        ("continuation of nothing", masked(0x80, MASK, b"")),
        (
            "message inside another",
            [masked(0x01, MASK, b""), masked(0x81, MASK, b"")].concat(),
        ),
        (
            "length with the top bit",
            b"\x82\xff\x80\0\0\0\0\0\0\0\0\0\0\0".to_vec(),
        ),
        ("close of one byte", masked(0x88, MASK, b"\x03")),
        ("close 999", masked(0x88, MASK, &999u16.to_be_bytes())),
        ("close 1005", masked(0x88, MASK, &1005u16.to_be_bytes())),
        ("close 2999", masked(0x88, MASK, &2999u16.to_be_bytes())),
        ("close 5000", masked(0x88, MASK, &5000u16.to_be_bytes())),
    ];
    for (name, bytes) in cases {
        assert_eq!(closes_with(&bytes, false), 1002, "{name}");
    }
    let continuation = [masked(0x41, MASK, b"\xf2"), masked(0xc0, MASK, b"")].concat();
    assert_eq!(
        closes_with(&continuation, true),
        1002,
        "compressed bit on a continuation"
    );
    assert_eq!(
        closes_with(&masked(0xc9, MASK, b""), true),
        1002,
        "compressed ping"
    );
}

#[test]
fn text_fails_at_the_fragment_that_makes_it_invalid() {
    let split = [masked(0x01, MASK, b"\xc3"), masked(0x80, MASK, b"\xb1")].concat();
    assert_eq!(
        decode_whole(&split, MAX, false).messages,
        [Got::Text("ñ".to_owned())]
    );
    assert_eq!(closes_with(&masked(0x01, MASK, b"ok\xff"), false), 1007);
    let cut = [masked(0x01, MASK, b"\xc3"), masked(0x00, MASK, b"x")].concat();
    assert_eq!(closes_with(&cut, false), 1007);
    assert_eq!(closes_with(&masked(0x81, MASK, b"\xc3"), false), 1007);
    assert_eq!(closes_with(&masked(0x88, MASK, b"\x03\xe8\xff"), false), 1007);
    assert_eq!(closes_with(&masked(0x82, MASK, b"\xff"), false), 0);
}

#[test]
fn too_large_is_seen_from_the_header_alone() {
    assert_eq!(closes_with(b"\x82\xfe\x04\x01\0\0\0\0", false), 1009);
    assert_eq!(
        closes_with(b"\x82\xff\x7f\xff\xff\xff\xff\xff\xff\xff\0\0\0\0", false),
        1009
    );
    let parts = [masked(0x02, MASK, &[0; MAX]), b"\x80\x81\0\0\0\0".to_vec()].concat();
    assert_eq!(closes_with(&parts, false), 1009);
    assert_eq!(
        decode_whole(&masked(0x82, MASK, &[0; MAX]), MAX, false)
            .messages
            .len(),
        1
    );
}

#[test]
fn a_bomb_is_stopped_at_the_limit() {
    let mut small = Vec::new();
    deflated_text_frame(&[b'a'; 1_000_000], &mut Deflater::new(), &mut small);
    assert!(small.len() < 8192, "{}", small.len());
    let bomb = crate::client::mask_server_frame(&small, MASK);
    assert_eq!(
        decode_whole(&bomb, 8192, true).error.map(|error| error.close),
        Some(1009)
    );
    assert_eq!(
        decode_whole(&bomb, 999_999, true).error.map(|error| error.close),
        Some(1009)
    );
    assert_eq!(decode_whole(&bomb, 1_000_000, true).messages.len(), 1);
}

#[test]
fn what_does_not_shrink_is_sent_plain() {
    let mut out = Vec::new();
    deflated_text_frame(b"x", &mut Deflater::new(), &mut out);
    assert_eq!(out, b"\x81\x01x");
    assert!(!worth_deflating(511) && worth_deflating(512));
}

#[test]
fn a_pause_keeps_the_rest_and_nothing_follows_a_close() {
    let stream = [
        masked(0x81, MASK, b"a"),
        masked(0x81, MASK, b"b"),
        masked(0x88, MASK, b""),
    ];
    let stream = [stream.concat(), masked(0x81, MASK, b"late")].concat();
    let mut decoder = Decoder::new();
    let mut seen = Vec::new();
    let mut bytes = stream.clone();
    decoder
        .feed(&mut bytes, MAX, false, &mut |m| {
            seen.push(Got::from(m));
            false
        })
        .unwrap();
    assert_eq!(seen, [Got::Text("a".to_owned())]);
    assert_eq!(decoder.buffered(), stream.len() - 7);
    decoder
        .feed(&mut [], MAX, false, &mut |m| {
            seen.push(Got::from(m));
            true
        })
        .unwrap();
    assert_eq!(
        seen[1..],
        [Got::Text("b".to_owned()), Got::Close(None, String::new())]
    );
    assert!(decoder.is_idle());
}

#[test]
fn an_idle_decoder_is_small_and_keeps_nothing() {
    assert!(size_of::<Decoder>() <= 16);
    let mut decoder = Decoder::new();
    let mut frame = masked(0x81, MASK, b"Hello");
    let (first, second) = frame.split_at_mut(8);
    decoder.feed(first, MAX, false, &mut |_| true).unwrap();
    assert!(!decoder.is_idle());
    decoder.feed(second, MAX, false, &mut |_| true).unwrap();
    assert!(decoder.is_idle());
    assert_eq!(decode(&[], MAX, false, || false).messages, []);
}
