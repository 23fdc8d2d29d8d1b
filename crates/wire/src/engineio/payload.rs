//! A polling body: packets separated by 0x1e (engine.io-protocol v4, "HTTP long-polling").

use super::packet::{Packet, ParseError, binary, binary_len, parse_polled};

/// ASCII's record separator. JSON escapes it and base64 has no such letter, so no packet of ours contains it.
const SEPARATOR: char = '\x1e';

/// The packets of a request's body, read one after the other. Nothing comes after an error.
#[derive(Debug, Clone)]
pub struct Payload<'a> {
    rest: Option<&'a str>,
}

impl<'a> Payload<'a> {
    /// Reads the body of a POST. The transport has bounded its size by `maxPayload` (413 beyond).
    pub fn new(body: &'a [u8]) -> Result<Self, ParseError> {
        let text = std::str::from_utf8(body).map_err(|_| ParseError::NotText)?;
        Ok(Self { rest: Some(text) })
    }
}

impl<'a> Iterator for Payload<'a> {
    type Item = Result<Packet<'a>, ParseError>;

    fn next(&mut self) -> Option<Self::Item> {
        let text = self.rest.take()?;
        let (packet, rest) = match text.split_once(SEPARATOR) {
            Some((packet, rest)) => (packet, Some(rest)),
            None => (text, None),
        };
        let packet = parse_polled(packet);
        if packet.is_ok() {
            self.rest = rest;
        }
        Some(packet)
    }
}

/// Joins packets into the answer to a poll, up to a size; what does not fit waits for the next poll.
#[derive(Debug)]
pub struct PayloadWriter<'a> {
    out: &'a mut Vec<u8>,
    start: usize,
    max: usize,
}

impl<'a> PayloadWriter<'a> {
    /// Appends to `out`, at most `max` bytes.
    pub fn new(out: &'a mut Vec<u8>, max: usize) -> Self {
        let start = out.len();
        Self { out, start, max }
    }

    /// Takes an encoded text packet unless the body is full. The first packet always fits: a packet cannot be
    /// cut, and one that never fits would block the session for ever.
    #[must_use = "a packet that was not taken must be sent with the next poll"]
    pub fn text(&mut self, packet: &[u8]) -> bool {
        if !self.has_room(packet.len()) {
            return false;
        }
        self.separate();
        self.out.extend_from_slice(packet);
        true
    }

    /// Takes an attachment, as [`PayloadWriter::text`] does.
    #[must_use = "a packet that was not taken must be sent with the next poll"]
    pub fn binary(&mut self, bytes: &[u8]) -> bool {
        if !self.has_room(binary_len(bytes.len())) {
            return false;
        }
        self.separate();
        binary(bytes, self.out);
        true
    }

    /// Whether nothing was taken yet.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    fn len(&self) -> usize {
        self.out.len().saturating_sub(self.start)
    }

    fn has_room(&self, packet: usize) -> bool {
        self.is_empty() || self.len().saturating_add(1).saturating_add(packet) <= self.max
    }

    fn separate(&mut self) {
        if !self.is_empty() {
            self.out.push(SEPARATOR as u8);
        }
    }
}

#[cfg(test)]
mod tests {
    use std::borrow::Cow;

    use proptest::collection::vec;
    use proptest::prelude::*;

    use super::*;
    use crate::engineio::{PROBE, encode};

    fn read(body: &[u8]) -> Vec<Result<Packet<'_>, ParseError>> {
        match Payload::new(body) {
            Ok(payload) => payload.collect(),
            Err(error) => vec![Err(error)],
        }
    }

    #[test]
    fn the_example_of_the_protocol_is_read_and_written() {
        let body = b"4hello\x1e2\x1e4world\x1ebAQIDBA==";
        let packets = [
            Packet::Message("hello"),
            Packet::Ping(""),
            Packet::Message("world"),
            Packet::Binary(Cow::Borrowed(&[1, 2, 3, 4])),
        ];
        assert_eq!(read(body), packets.clone().map(Ok));
        let mut out = Vec::new();
        let mut writer = PayloadWriter::new(&mut out, body.len());
        assert!(writer.is_empty());
        assert!(writer.text(b"4hello") && writer.text(b"2") && writer.text(b"4world"));
        assert!(writer.binary(&[1, 2, 3, 4]) && !writer.text(b"2") && !writer.binary(b""));
        assert_eq!(out, body);
    }

    #[test]
    fn errors_end_the_body() {
        assert_eq!(read(b""), [Err(ParseError::Empty)]);
        assert_eq!(read(b"\xff"), [Err(ParseError::NotText)]);
        assert_eq!(read(b"2\x1e"), [Ok(Packet::Ping("")), Err(ParseError::Empty)]);
        assert_eq!(read(b"abc\x1e2"), [Err(ParseError::Type)]);
        assert_eq!(
            read(b"2\x1eb!\x1e2"),
            [Ok(Packet::Ping("")), Err(ParseError::Base64)]
        );
        assert_eq!(
            read(b"bAQIDBA"),
            [Ok(Packet::Binary(Cow::Borrowed(&[1, 2, 3, 4])))]
        );
    }

    #[test]
    fn a_packet_larger_than_the_limit_goes_alone_and_the_buffer_may_have_bytes_before() {
        let mut out = b"head".to_vec();
        let mut writer = PayloadWriter::new(&mut out, 3);
        assert!(writer.text(b"4large") && !writer.text(b"6"));
        assert_eq!(out, b"head4large");
    }

    fn packet() -> impl Strategy<Value = Packet<'static>> {
        prop_oneof![
            Just(Packet::Message("2[\"x\"]")),
            Just(Packet::Ping(PROBE)),
            Just(Packet::Noop),
            vec(any::<u8>(), 0..12).prop_map(|bytes| Packet::Binary(Cow::Owned(bytes))),
        ]
    }

    proptest! {
        #[test]
        fn any_body_is_packets_and_at_most_one_error(body in any::<Vec<u8>>()) {
            let packets = read(&body);
            let errors = packets.iter().filter(|packet| packet.is_err()).count();
            prop_assert!(errors == 0 || (errors == 1 && packets.last().is_some_and(Result::is_err)));
        }

        #[test]
        fn packets_come_back_in_bodies_within_the_limit(packets in vec(packet(), 1..12), max in 1usize..64) {
            let mut bodies: Vec<Vec<u8>> = Vec::new();
            let mut waiting = packets.iter().peekable();
            while waiting.peek().is_some() {
                let mut out = Vec::new();
                let mut writer = PayloadWriter::new(&mut out, max);
                let mut taken = 0;
                while let Some(packet) = waiting.peek() {
                    let mut text = Vec::new();
                    encode(packet, &mut text);
                    let fits = match packet {
                        Packet::Binary(bytes) => writer.binary(bytes),
                        _ => writer.text(&text),
                    };
                    if !fits {
                        break;
                    }
                    taken += 1;
                    waiting.next();
                }
                prop_assert!(taken == 1 || out.len() <= max);
                bodies.push(out);
            }
            let read: Vec<_> = bodies.iter().flat_map(|body| read(body)).collect();
            prop_assert_eq!(read, packets.iter().cloned().map(Ok).collect::<Vec<_>>());
        }
    }
}
