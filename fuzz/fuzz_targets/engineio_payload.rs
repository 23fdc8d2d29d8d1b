//! Any body is packets and at most one error; what was read is written and read as the same again.
#![no_main]

use libfuzzer_sys::fuzz_target;
use pregon_wire::engineio::{Packet, Payload, PayloadWriter, Query, Transport, encode};

fuzz_target!(|body: &[u8]| {
    if let Ok(query) = std::str::from_utf8(body).map(Query::parse)
        && let Ok(query) = query
    {
        let _ = query.begins("GET", true);
        let _ = query.continues(Transport::Polling, false);
    }
    let Ok(payload) = Payload::new(body) else { return };
    let mut packets = Vec::new();
    for packet in payload {
        match packet {
            Ok(packet) => packets.push(packet),
            Err(_) => break,
        }
    }
    if packets.is_empty() {
        return;
    }
    let mut out = Vec::new();
    let mut writer = PayloadWriter::new(&mut out, usize::MAX);
    for packet in &packets {
        let taken = match packet {
            Packet::Binary(bytes) => writer.binary(bytes),
            _ => {
                let mut text = Vec::new();
                encode(packet, &mut text);
                writer.text(&text)
            }
        };
        assert!(taken);
    }
    let again: Result<Vec<_>, _> = Payload::new(&out).expect("text").collect();
    assert_eq!(again.expect("packets"), packets);
});
