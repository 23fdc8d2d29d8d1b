//! What a client says and hears before its first delivery, and what it must answer afterwards.

use std::net::SocketAddr;

use super::frames::{TEXT, client_frame};

/// What a client speaks.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Protocol {
    /// WebSocket that needs no word from the client.
    Bare,
    /// The full protocol: wait for the welcome, subscribe, wait for the answer.
    Full,
    /// Server-sent events.
    Sse,
    /// Socket.IO over Engine.IO on a WebSocket: wait to be opened, connect, wait to be let in. The server joins the room.
    SocketIo,
}

/// What a text message means for a client that is not yet in.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Step {
    Wait,
    /// Send this frame, then go on waiting.
    Say(Vec<u8>),
    /// Deliveries come from now on.
    In,
    Refused,
}

impl Protocol {
    /// The frame that a client sends at once after the upgrade.
    pub(crate) fn opening(self) -> Option<Vec<u8>> {
        let subscribe = br#"{"id":1,"type":"subscribe","channel":"bench"}"#;
        (self == Self::Full).then(|| client_frame(TEXT, subscribe))
    }

    /// Whether words are exchanged between the upgrade and the first delivery.
    pub(crate) fn greets(self) -> bool {
        matches!(self, Self::Full | Self::SocketIo)
    }

    /// What a text means before the first delivery.
    pub(crate) fn step(self, text: &[u8]) -> Step {
        let contains = |part: &[u8]| memchr::memmem::find(text, part).is_some();
        match self {
            Self::Bare | Self::Sse => Step::In,
            Self::Full if !contains(br#""id":1"#) => Step::Wait,
            Self::Full if contains(br#""error""#) => Step::Refused,
            Self::Full => Step::In,
            // Engine.IO opens; a connect to the root namespace is answered by a connect or a connect error.
            Self::SocketIo if text.starts_with(b"0{") => Step::Say(client_frame(TEXT, b"40")),
            Self::SocketIo if text.starts_with(b"40{") => Step::In,
            Self::SocketIo if text.starts_with(b"44") => Step::Refused,
            Self::SocketIo => Step::Wait,
        }
    }

    /// The answer to a ping that is a text message, as Engine.IO has it.
    pub(crate) fn pong(self, text: &[u8]) -> Option<Vec<u8>> {
        (self == Self::SocketIo && text == b"2").then(|| client_frame(TEXT, b"3"))
    }

    /// Whether a text message ends the connection.
    pub(crate) fn is_farewell(self, text: &[u8]) -> bool {
        self == Self::SocketIo && (text == b"1" || text.starts_with(b"41"))
    }

    /// The request that opens a stream.
    pub(crate) fn request(self, address: SocketAddr, path: &str) -> String {
        if self == Self::Sse {
            return format!("GET {path} HTTP/1.1\r\nHost: {address}\r\nAccept: text/event-stream\r\n\r\n");
        }
        format!(
            "GET {path} HTTP/1.1\r\nHost: {address}\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\
             Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n"
        )
    }

    /// How the answer to it begins when the stream is open.
    pub(crate) fn accepted(self) -> &'static [u8] {
        if self == Self::Sse {
            b"HTTP/1.1 200"
        } else {
            b"HTTP/1.1 101"
        }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::indexing_slicing, clippy::panic)]
    use super::*;

    #[test]
    fn socketio_connects_after_it_is_opened_and_answers_pings() {
        let protocol = Protocol::SocketIo;
        let open = br#"0{"sid":"a","upgrades":[],"pingInterval":25000}"#;
        assert_eq!(protocol.step(open), Step::Say(client_frame(TEXT, b"40")));
        assert_eq!(protocol.step(br#"40{"sid":"b"}"#), Step::In);
        assert_eq!(protocol.step(br#"44{"message":"no"}"#), Step::Refused);
        assert_eq!(protocol.pong(b"2"), Some(client_frame(TEXT, b"3")));
        assert_eq!(Protocol::Bare.pong(b"2"), None);
        assert!(protocol.is_farewell(b"41") && !protocol.is_farewell(br#"42["tick",1]"#));
    }

    #[test]
    fn the_full_protocol_waits_for_the_answer_to_its_subscribe() {
        let welcome = br#"{"type":"welcome","session":"x"}"#;
        assert_eq!(Protocol::Full.step(welcome), Step::Wait);
        assert_eq!(Protocol::Full.step(br#"{"id":1,"type":"ok"}"#), Step::In);
        let refused = br#"{"id":1,"type":"error","code":103}"#;
        assert_eq!(Protocol::Full.step(refused), Step::Refused);
    }
}
