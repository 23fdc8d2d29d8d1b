//! Random streams in random portions: no panic, no difference, nothing lost.

use pregon_wire::ws::{Deflater, Opcode, close_frame, deflated_text_frame, frame};
use proptest::collection::vec;
use proptest::prelude::*;

use crate::client::{Got, decode, decode_whole, mask_server_frame, masked};

const MAX: usize = 4096;

/// Cuts at the given places (modulo what is left).
fn portions<'a>(bytes: &'a [u8], cuts: &[usize]) -> Vec<&'a [u8]> {
    let mut rest = bytes;
    let mut parts = Vec::new();
    for cut in cuts {
        let (part, after) = rest.split_at(cut % (rest.len() + 1));
        parts.push(part);
        rest = after;
    }
    parts.push(rest);
    parts
}

/// Bytes that get past the first checks more often than plain noise.
fn soup() -> impl Strategy<Value = Vec<u8>> {
    let first = prop::sample::select(vec![
        0x81u8, 0x82, 0x01, 0x02, 0x00, 0x80, 0x88, 0x89, 0x8a, 0xc1, 0xc2, 0x41, 0x83, 0xa1, 0x09,
    ]);
    let payload = prop_oneof![
        vec(any::<u8>(), 0..20),
        Just(b"\x03\xe8bye".to_vec()),
        Just(b"\xf2\x48\xcd\xc9\xc9\x07\x00".to_vec()),
        Just("ñandú €".as_bytes().to_vec()),
        vec(any::<u8>(), 100..300),
    ];
    let frame =
        (first, any::<[u8; 4]>(), payload).prop_map(|(first, mask, payload)| masked(first, mask, &payload));
    vec(prop_oneof![6 => frame, 1 => vec(any::<u8>(), 0..12)], 0..8).prop_map(|parts| parts.concat())
}

fn message() -> impl Strategy<Value = Got> {
    prop_oneof![
        ".{0,200}".prop_map(Got::Text),
        "[a-c]{0,2000}".prop_map(Got::Text),
        vec(any::<u8>(), 0..300).prop_map(Got::Binary),
        vec(any::<u8>(), 0..=125).prop_map(Got::Ping),
        vec(any::<u8>(), 0..=125).prop_map(Got::Pong),
    ]
}

fn encode(message: &Got, deflater: Option<&mut Deflater>) -> Vec<u8> {
    let mut out = Vec::new();
    match (message, deflater) {
        (Got::Text(text), Some(deflater)) => deflated_text_frame(text.as_bytes(), deflater, &mut out),
        (Got::Text(text), None) => frame(Opcode::Text, text.as_bytes(), &mut out),
        (Got::Binary(bytes), _) => frame(Opcode::Binary, bytes, &mut out),
        (Got::Ping(bytes), _) => frame(Opcode::Ping, bytes, &mut out),
        (Got::Pong(bytes), _) => frame(Opcode::Pong, bytes, &mut out),
        (Got::Close(code, reason), _) => close_frame(code.unwrap_or(1000), reason, &mut out),
    }
    out
}

proptest! {
    #[test]
    fn the_portions_of_a_stream_make_no_difference(
        bytes in prop_oneof![soup(), vec(any::<u8>(), 0..200)],
        cuts in vec(any::<usize>(), 0..30),
        pauses in vec(any::<bool>(), 1..8),
        deflate in any::<bool>(),
    ) {
        let mut pauses = pauses.iter().copied().cycle();
        let cut = decode(&portions(&bytes, &cuts), MAX, deflate, || pauses.next().unwrap());
        prop_assert_eq!(cut, decode_whole(&bytes, MAX, deflate));
    }

    #[test]
    fn one_byte_at_a_time_makes_no_difference(bytes in soup(), deflate in any::<bool>()) {
        let single: Vec<_> = bytes.chunks(1).collect();
        prop_assert_eq!(decode(&single, MAX, deflate, || false), decode_whole(&bytes, MAX, deflate));
    }

    #[test]
    fn what_the_server_encodes_is_what_is_decoded(
        messages in vec(message(), 0..10),
        masks in vec(any::<[u8; 4]>(), 10),
        cuts in vec(any::<usize>(), 0..20),
        deflate in any::<bool>(),
        close in "[a-zñ]{0,40}",
    ) {
        let mut deflater = Deflater::new();
        let mut stream = Vec::new();
        let mut wanted = messages;
        wanted.push(Got::Close(Some(3001), close));
        for (message, mask) in wanted.iter().zip(masks.iter().cycle()) {
            let frame = encode(message, deflate.then_some(&mut deflater));
            stream.extend(mask_server_frame(&frame, *mask));
        }
        let outcome = decode(&portions(&stream, &cuts), 1 << 20, deflate, || false);
        prop_assert_eq!(outcome.error, None);
        prop_assert_eq!(outcome.messages, wanted);
    }

    #[test]
    fn fragments_with_pings_between_them_are_one_message(
        text in ".{1,200}",
        cuts in vec(any::<usize>(), 0..5),
        mask in any::<[u8; 4]>(),
        compressed in any::<bool>(),
    ) {
        let mut server = Vec::new();
        match compressed {
            true => deflated_text_frame(text.repeat(5).as_bytes(), &mut Deflater::new(), &mut server),
            false => frame(Opcode::Text, text.repeat(5).as_bytes(), &mut server),
        }
        let whole = mask_server_frame(&server, [0; 4]);
        let start = whole.len() - payload_len(&server);
        let parts = portions(&whole[start..], &cuts);
        let mut stream = Vec::new();
        for (index, part) in parts.iter().enumerate() {
            let opening = if index == 0 { server[0] & 0x7f } else { 0 };
            let fin = if index + 1 == parts.len() { 0x80 } else { 0 };
            stream.extend(masked(opening | fin, mask, part));
            if fin == 0 {
                stream.extend(masked(0x89, mask, b"!"));
            }
        }
        let mut outcome = decode_whole(&stream, 1 << 20, true);
        prop_assert_eq!(outcome.error, None);
        prop_assert_eq!(outcome.messages.pop(), Some(Got::Text(text.repeat(5))));
        prop_assert_eq!(outcome.messages, vec![Got::Ping(b"!".to_vec()); parts.len() - 1]);
    }

    #[test]
    fn a_limit_holds_whatever_the_compression(text in "[a-d]{0,3000}", max in 0usize..3000) {
        let mut server = Vec::new();
        deflated_text_frame(text.as_bytes(), &mut Deflater::new(), &mut server);
        let outcome = decode_whole(&mask_server_frame(&server, [1, 2, 3, 4]), max, true);
        let closed = outcome.error.map(|error| error.close);
        prop_assert_eq!(closed, (text.len() > max).then_some(1009));
    }
}

fn payload_len(server_frame: &[u8]) -> usize {
    server_frame.len()
        - match server_frame[1] {
            126 => 4,
            127 => 10,
            _ => 2,
        }
}
