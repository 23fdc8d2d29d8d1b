//! The first 2 to 14 bytes of a frame.

use super::WsError;

/// RFC 6455 §5.5: what a control frame may carry, and where longer length fields begin.
pub(super) const MAX_CONTROL: usize = 125;

/// What a frame is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u8)]
pub enum Opcode {
    /// More of the message that an earlier frame began.
    Continuation = 0,
    /// A text message, or its beginning.
    Text = 1,
    /// A binary message, or its beginning.
    Binary = 2,
    /// The end of the connection.
    Close = 8,
    /// Is anybody there.
    Ping = 9,
    /// Yes.
    Pong = 10,
}

impl Opcode {
    /// Whether frames of this kind may stand between the fragments of a message.
    pub const fn is_control(self) -> bool {
        (self as u8) >= 8
    }

    const fn from_bits(bits: u8) -> Option<Self> {
        Some(match bits {
            0 => Self::Continuation,
            1 => Self::Text,
            2 => Self::Binary,
            8 => Self::Close,
            9 => Self::Ping,
            10 => Self::Pong,
            _ => return None,
        })
    }
}

/// A client's frame header, checked for what can be judged without knowing the frames before it.
#[derive(Debug, Clone, Copy)]
pub(super) struct Header {
    pub(super) fin: bool,
    pub(super) compressed: bool,
    pub(super) opcode: Opcode,
    pub(super) mask: [u8; 4],
    /// Bytes of the header itself.
    pub(super) size: usize,
    /// Bytes of the payload.
    pub(super) length: u64,
}

impl Header {
    /// `None` when more bytes are needed. Fails as soon as the bytes at hand cannot become a valid header.
    pub(super) fn parse(bytes: &[u8]) -> Result<Option<Self>, WsError> {
        let [first, second, rest @ ..] = bytes else {
            return Ok(None);
        };
        if first & 0x30 != 0 {
            return Err(WsError::protocol("reserved bits set"));
        }
        let opcode = Opcode::from_bits(first & 0x0f).ok_or(WsError::protocol("unknown opcode"))?;
        let fin = first & 0x80 != 0;
        let compressed = first & 0x40 != 0;
        if second & 0x80 == 0 {
            return Err(WsError::protocol("unmasked frame"));
        }
        let short = second & 0x7f;
        if opcode.is_control() && (!fin || compressed || usize::from(short) > MAX_CONTROL) {
            return Err(WsError::protocol(
                "control frame fragmented, compressed or too long",
            ));
        }
        let Some((length, rest)) = extended_length(short, rest) else {
            return Ok(None);
        };
        if length >> 63 != 0 {
            return Err(WsError::protocol("frame length out of range"));
        }
        let Some(&mask) = rest.first_chunk::<4>() else {
            return Ok(None);
        };
        let size = bytes.len() - rest.len() + mask.len();
        Ok(Some(Self {
            fin,
            compressed,
            opcode,
            mask,
            size,
            length,
        }))
    }
}

/// The payload's length and what follows it. Longer forms than needed are accepted, as by most servers.
fn extended_length(short: u8, rest: &[u8]) -> Option<(u64, &[u8])> {
    match short {
        126 => rest
            .split_first_chunk()
            .map(|(bytes, rest)| (u64::from(u16::from_be_bytes(*bytes)), rest)),
        127 => rest
            .split_first_chunk()
            .map(|(bytes, rest)| (u64::from_be_bytes(*bytes), rest)),
        _ => Some((u64::from(short), rest)),
    }
}

/// Undoes (or applies) the client's mask, eight bytes at a time.
pub(super) fn unmask(payload: &mut [u8], mask: [u8; 4]) {
    let [a, b, c, d] = mask;
    let wide = u64::from_ne_bytes([a, b, c, d, a, b, c, d]);
    let (words, tail) = payload.as_chunks_mut::<8>();
    for word in words {
        *word = (u64::from_ne_bytes(*word) ^ wide).to_ne_bytes();
    }
    for (byte, key) in tail.iter_mut().zip(mask.into_iter().cycle()) {
        *byte ^= key;
    }
}
