//! A client's side in small: builds masked frames, collects what the decoder hands out, reads server frames.

use pregon_wire::ws::{Decoder, Message, WsError};

/// An owned [`Message`].
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Got {
    Text(String),
    Binary(Vec<u8>),
    Ping(Vec<u8>),
    Pong(Vec<u8>),
    Close(Option<u16>, String),
}

impl From<Message<'_>> for Got {
    fn from(message: Message<'_>) -> Self {
        match message {
            Message::Text(text) => Self::Text(text.to_owned()),
            Message::Binary(bytes) => Self::Binary(bytes.to_vec()),
            Message::Ping(bytes) => Self::Ping(bytes.to_vec()),
            Message::Pong(bytes) => Self::Pong(bytes.to_vec()),
            Message::Close(code, reason) => Self::Close(code, reason.to_owned()),
        }
    }
}

/// How a run of the decoder went.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Outcome {
    pub(crate) messages: Vec<Got>,
    pub(crate) error: Option<WsError>,
}

/// Feeds the portions, pausing after each message for which `pause` says so and going on at once.
pub(crate) fn decode(
    portions: &[&[u8]],
    max: usize,
    deflate: bool,
    mut pause: impl FnMut() -> bool,
) -> Outcome {
    let mut decoder = Decoder::new();
    let mut messages = Vec::new();
    for portion in portions {
        let mut input = portion.to_vec();
        loop {
            let mut paused = false;
            let fed = decoder.feed(&mut input, max, deflate, &mut |message| {
                messages.push(message.into());
                paused = pause();
                !paused
            });
            if let Err(error) = fed {
                assert!(decoder.is_idle(), "an error frees everything");
                return Outcome {
                    messages,
                    error: Some(error),
                };
            }
            if !paused {
                break;
            }
            input.clear();
        }
    }
    Outcome {
        messages,
        error: None,
    }
}

/// Feeds everything at once.
pub(crate) fn decode_whole(bytes: &[u8], max: usize, deflate: bool) -> Outcome {
    decode(&[bytes], max, deflate, || false)
}

/// A client's frame: `first` is the byte with fin, reserved bits and opcode.
pub(crate) fn masked(first: u8, mask: [u8; 4], payload: &[u8]) -> Vec<u8> {
    let mut frame = vec![first];
    match payload.len() {
        len @ ..=125 => frame.push(0x80 | len as u8),
        len @ ..=65_535 => {
            frame.push(0x80 | 126);
            frame.extend((len as u16).to_be_bytes());
        }
        len => {
            frame.push(0x80 | 127);
            frame.extend((len as u64).to_be_bytes());
        }
    }
    frame.extend(mask);
    frame.extend(
        payload
            .iter()
            .zip(mask.iter().cycle())
            .map(|(byte, key)| byte ^ key),
    );
    frame
}

/// Turns one server frame into what a client would send with the same content.
pub(crate) fn mask_server_frame(frame: &[u8], mask: [u8; 4]) -> Vec<u8> {
    let start = match frame[1] {
        126 => 4,
        127 => 10,
        _ => 2,
    };
    masked(frame[0], mask, &frame[start..])
}
