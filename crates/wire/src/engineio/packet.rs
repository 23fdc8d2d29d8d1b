//! One packet: a digit for its type, then its data (engine.io-protocol v4, "Packet encoding").

use std::borrow::Cow;

use base64::Engine as _;
use base64::alphabet::STANDARD;
use base64::engine::{DecodePaddingMode, GeneralPurpose, GeneralPurposeConfig};

/// The heartbeat, which the server sends.
pub const PING: &[u8] = b"2";
/// The answer to a `2probe` that came over the new WebSocket.
pub const PONG_PROBE: &[u8] = b"3probe";
/// What a client writes behind its ping, and the server behind its pong, before an upgrade.
pub const PROBE: &str = "probe";
/// What a client says once its new WebSocket works.
pub const UPGRADE: &[u8] = b"5";
/// Answers a poll with nothing, so that it ends.
pub const NOOP: &[u8] = b"6";
/// The session is over.
pub const CLOSE: &[u8] = b"1";

/// Padding is what clients disagree about; every other deviation from base64 is an error.
const BASE64: GeneralPurpose = GeneralPurpose::new(
    &STANDARD,
    GeneralPurposeConfig::new().with_decode_padding_mode(DecodePaddingMode::Indifferent),
);

/// One packet, borrowed from its frame or polling body.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Packet<'a> {
    /// The handshake, only from servers: a JSON object, see [`super::Open`].
    Open(&'a str),
    /// The session is over.
    Close,
    /// The server's heartbeat; from a client only as [`PROBE`] on a new WebSocket.
    Ping(&'a str),
    /// The answer to a ping, with its data.
    Pong(&'a str),
    /// One Socket.IO packet.
    Message(&'a str),
    /// One attachment: a binary WebSocket frame, or `b` and base64 in a polling body.
    Binary(Cow<'a, [u8]>),
    /// The client's new WebSocket works: leave polling.
    Upgrade,
    /// Nothing; ends a poll.
    Noop,
}

/// Not a packet, which ends the session ("parse error" in the reference server).
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum ParseError {
    /// A frame, or what stands between two separators, has no byte.
    #[error("an engine.io packet has at least its type")]
    Empty,
    /// The first character is no type.
    #[error("an engine.io packet begins with 0 to 6")]
    Type,
    /// A polling body is not UTF-8.
    #[error("a polling body is text in utf-8")]
    NotText,
    /// What follows `b` in a polling body.
    #[error("a binary packet in a polling body is base64")]
    Base64,
}

/// Reads the text of one WebSocket frame. Data behind a type that has none is ignored, as the reference does.
pub fn parse(text: &str) -> Result<Packet<'_>, ParseError> {
    let kind = text.chars().next().ok_or(ParseError::Empty)?;
    let data = text.get(kind.len_utf8()..).unwrap_or_default();
    Ok(match kind {
        '0' => Packet::Open(data),
        '1' => Packet::Close,
        '2' => Packet::Ping(data),
        '3' => Packet::Pong(data),
        '4' => Packet::Message(data),
        '5' => Packet::Upgrade,
        '6' => Packet::Noop,
        _ => return Err(ParseError::Type),
    })
}

/// Reads one packet of a polling body, where binary data is base64.
pub(super) fn parse_polled(text: &str) -> Result<Packet<'_>, ParseError> {
    match text.strip_prefix('b') {
        Some(base64) => BASE64
            .decode(base64)
            .map(|bytes| Packet::Binary(Cow::Owned(bytes)))
            .map_err(|_| ParseError::Base64),
        None => parse(text),
    }
}

/// Appends a packet as the text that a polling body carries. It is also that of a WebSocket frame, but for
/// [`Packet::Binary`], which is a binary frame of just those bytes there.
pub fn encode(packet: &Packet<'_>, out: &mut Vec<u8>) {
    let (kind, data) = match packet {
        Packet::Open(data) => (b'0', *data),
        Packet::Close => (b'1', ""),
        Packet::Ping(data) => (b'2', *data),
        Packet::Pong(data) => (b'3', *data),
        Packet::Message(data) => (b'4', *data),
        Packet::Binary(bytes) => return binary(bytes, out),
        Packet::Upgrade => (b'5', ""),
        Packet::Noop => (b'6', ""),
    };
    out.reserve(1 + data.len());
    out.push(kind);
    out.extend_from_slice(data.as_bytes());
}

/// Appends a message of which `text` is the data.
pub fn message(text: &str, out: &mut Vec<u8>) {
    encode(&Packet::Message(text), out);
}

/// Appends `b` and base64.
pub(super) fn binary(bytes: &[u8], out: &mut Vec<u8>) {
    out.push(b'b');
    let start = out.len();
    out.resize(start + binary_len(bytes.len()) - 1, 0);
    if let Some(room) = out.get_mut(start..) {
        // The room is exactly what base64 needs, so this cannot fail.
        let written = BASE64.encode_slice(bytes, room);
        debug_assert_eq!(written, Ok(binary_len(bytes.len()) - 1));
    }
}

/// How many bytes [`binary`] appends.
pub(super) const fn binary_len(bytes: usize) -> usize {
    1 + bytes.div_ceil(3) * 4
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn every_type_of_the_protocol_is_read() {
        let cases = [
            (r#"0{"sid":"x"}"#, Packet::Open(r#"{"sid":"x"}"#)),
            ("1", Packet::Close),
            ("2", Packet::Ping("")),
            ("2probe", Packet::Ping(PROBE)),
            ("3", Packet::Pong("")),
            ("3probe", Packet::Pong(PROBE)),
            ("4", Packet::Message("")),
            ("42[\"ñ\"]", Packet::Message("2[\"ñ\"]")),
            ("5", Packet::Upgrade),
            ("6", Packet::Noop),
        ];
        for (text, wanted) in cases {
            assert_eq!(parse(text), Ok(wanted), "{text}");
        }
    }

    #[test]
    fn other_texts_are_errors() {
        let cases = [
            ("", ParseError::Empty),
            ("7", ParseError::Type),
            ("ñ", ParseError::Type),
            ("abc", ParseError::Type),
            // Binary is a binary frame on a WebSocket.
            ("bAQID", ParseError::Type),
        ];
        for (text, wanted) in cases {
            assert_eq!(parse(text), Err(wanted), "{text}");
        }
    }

    #[test]
    fn constants_are_what_encode_writes() {
        let cases = [
            (PING, Packet::Ping("")),
            (PONG_PROBE, Packet::Pong(PROBE)),
            (UPGRADE, Packet::Upgrade),
            (NOOP, Packet::Noop),
            (CLOSE, Packet::Close),
        ];
        for (bytes, packet) in cases {
            let mut out = Vec::new();
            encode(&packet, &mut out);
            assert_eq!(out, bytes);
        }
    }

    proptest! {
        #[test]
        fn what_is_read_from_a_body_is_written_again(text in "[0-6b]?.{0,12}") {
            if let Ok(packet) = parse_polled(&text) {
                let mut out = Vec::new();
                encode(&packet, &mut out);
                let written = String::from_utf8(out).expect("encoders write text");
                prop_assert_eq!(parse_polled(&written), Ok(packet));
            }
        }

        #[test]
        fn any_bytes_come_back_through_base64(bytes in any::<Vec<u8>>()) {
            let mut out = b"x".to_vec();
            binary(&bytes, &mut out);
            prop_assert_eq!(out.len(), 1 + binary_len(bytes.len()));
            let text = String::from_utf8(out).expect("base64 is text");
            let packet = parse_polled(text.get(1..).unwrap_or_default());
            prop_assert_eq!(packet, Ok(Packet::Binary(Cow::Owned(bytes))));
        }
    }
}
