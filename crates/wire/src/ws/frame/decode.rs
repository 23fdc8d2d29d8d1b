//! The decoder of one connection: bytes in any portions become whole messages.
//!
//! An idle connection costs 16 bytes: whole frames are unmasked and handed out where they lie in the caller's
//! shared read buffer, and only what is incomplete (or was not taken, see [`Decoder::feed`]) is kept, until it is
//! used up. What is kept is bounded by `max`, one read of the caller and a header.

use std::mem;

use super::header::{Header, unmask};
use super::{Opcode, WsError, deflate};

/// What a client sent, borrowed for the time of one call.
#[derive(Debug, PartialEq, Eq)]
pub enum Message<'a> {
    /// A whole text message.
    Text(&'a str),
    /// A whole binary message.
    Binary(&'a [u8]),
    /// To be answered by a pong with the same payload.
    Ping(&'a [u8]),
    /// An answer to our ping.
    Pong(&'a [u8]),
    /// The client's last word: code, if there is one, and reason. What it sends after is ignored.
    Close(Option<u16>, &'a str),
}

/// The state between two reads.
#[derive(Debug, Default)]
pub struct Decoder {
    partial: Option<Box<Partial>>,
    /// After a close frame or an error nothing is decoded any more.
    ended: bool,
    /// Only a close frame is handed out any more.
    muted: bool,
}

/// What an idle connection does not have.
#[derive(Debug, Default)]
struct Partial {
    /// Bytes from the socket; those before `taken` are used up.
    held: Vec<u8>,
    taken: usize,
    /// The message whose last fragment has not come.
    message: Option<Fragments>,
}

#[derive(Debug)]
struct Fragments {
    text: bool,
    compressed: bool,
    payload: Vec<u8>,
    /// Up to here an uncompressed text is known to be UTF-8.
    checked: usize,
}

impl Decoder {
    /// A connection that has sent nothing yet.
    pub fn new() -> Self {
        Self::default()
    }

    /// Decodes `input` (which is unmasked in place) and hands every whole message to `out`, in order.
    ///
    /// When `out` returns false, decoding pauses: the rest of the input is kept, and `feed(&mut [], ..)` goes on
    /// later; do not read from the socket until then. `max` bounds a message after inflating; `deflate` tells
    /// whether permessage-deflate was negotiated. After an error or a close frame all input is ignored.
    pub fn feed(
        &mut self,
        input: &mut [u8],
        max: usize,
        deflate: bool,
        out: &mut dyn FnMut(Message<'_>) -> bool,
    ) -> Result<(), WsError> {
        if self.ended {
            return Ok(());
        }
        let limits = Limits { max, deflate };
        let result = if self.buffered() == 0 {
            self.feed_fresh(input, limits, out)
        } else {
            self.feed_held(input, limits, out)
        };
        self.ended |= result.is_err();
        if self.ended || self.partial.as_ref().is_some_and(|partial| partial.is_empty()) {
            self.partial = None;
        }
        result
    }

    /// From now on nothing but a close frame is handed out, and nothing is inflated: for connections that are being closed.
    pub fn mute(&mut self) {
        self.muted = true;
        if let Some(partial) = &mut self.partial {
            partial.message = None;
        }
    }

    /// Bytes from the socket that are kept: an incomplete frame, or what a pause left.
    pub fn buffered(&self) -> usize {
        self.partial
            .as_ref()
            .map_or(0, |partial| partial.held.len() - partial.taken)
    }

    /// Whether nothing is kept: no incomplete frame, no open message.
    pub fn is_idle(&self) -> bool {
        self.partial.is_none()
    }

    /// The common case: nothing is kept, frames are used where they lie.
    fn feed_fresh(
        &mut self,
        input: &mut [u8],
        limits: Limits,
        out: &mut dyn FnMut(Message<'_>) -> bool,
    ) -> Result<(), WsError> {
        let used = self.run(input, limits, out)?;
        let rest = input.get(used..).unwrap_or_default();
        if !rest.is_empty() && !self.ended {
            self.partial_mut().held = rest.to_vec();
        }
        Ok(())
    }

    fn feed_held(
        &mut self,
        input: &[u8],
        limits: Limits,
        out: &mut dyn FnMut(Message<'_>) -> bool,
    ) -> Result<(), WsError> {
        let partial = self.partial_mut();
        let mut held = mem::take(&mut partial.held);
        let mut taken = mem::take(&mut partial.taken);
        if !input.is_empty() {
            held.drain(..taken);
            taken = 0;
            held.extend_from_slice(input);
        }
        taken += self.run(held.get_mut(taken..).unwrap_or_default(), limits, out)?;
        if taken < held.len() && !self.ended {
            let partial = self.partial_mut();
            partial.held = held;
            partial.taken = taken;
        }
        Ok(())
    }

    /// Decodes whole frames from the start of `bytes` and tells how many bytes they took.
    fn run(
        &mut self,
        bytes: &mut [u8],
        limits: Limits,
        out: &mut dyn FnMut(Message<'_>) -> bool,
    ) -> Result<usize, WsError> {
        let mut used = 0;
        while let Some(rest) = bytes.get_mut(used..).filter(|rest| !rest.is_empty()) {
            let Some(header) = Header::parse(rest)? else {
                break;
            };
            self.check(&header, limits)?;
            let end = header
                .size
                .saturating_add(usize::try_from(header.length).unwrap_or(usize::MAX));
            let Some(payload) = rest.get_mut(header.size..end) else {
                break;
            };
            unmask(payload, header.mask);
            used += end;
            if !self.take(&header, payload, limits, out)? || self.ended {
                break;
            }
        }
        Ok(used)
    }

    /// Judges a header by the frames before it and by the limits, before its payload has come.
    fn check(&self, header: &Header, limits: Limits) -> Result<(), WsError> {
        if header.opcode.is_control() || (self.muted && header.length <= limits.wire_max(true)) {
            return Ok(());
        }
        let open = self.partial.as_ref().and_then(|partial| partial.message.as_ref());
        if (header.opcode == Opcode::Continuation) != open.is_some() {
            return Err(WsError::protocol(
                "continuation without a message, or a message inside another",
            ));
        }
        if header.compressed && (!limits.deflate || open.is_some()) {
            return Err(WsError::protocol("compressed frame not allowed here"));
        }
        let compressed = open.map_or(header.compressed, |message| message.compressed);
        let so_far = open.map_or(0, |message| message.payload.len()) as u64;
        if so_far.saturating_add(header.length) > limits.wire_max(compressed) {
            return Err(WsError::too_big());
        }
        Ok(())
    }

    /// Uses up one frame; false when the caller wants a pause.
    fn take(
        &mut self,
        header: &Header,
        payload: &[u8],
        limits: Limits,
        out: &mut dyn FnMut(Message<'_>) -> bool,
    ) -> Result<bool, WsError> {
        if self.muted && header.opcode != Opcode::Close {
            return Ok(true);
        }
        match header.opcode {
            Opcode::Ping => Ok(out(Message::Ping(payload))),
            Opcode::Pong => Ok(out(Message::Pong(payload))),
            Opcode::Close => {
                let (code, reason) = parse_close(payload)?;
                self.ended = true;
                Ok(out(Message::Close(code, reason)))
            }
            Opcode::Text | Opcode::Binary if header.fin => deliver(
                header.opcode == Opcode::Text,
                header.compressed,
                payload,
                limits,
                out,
            ),
            Opcode::Text | Opcode::Binary | Opcode::Continuation => {
                self.take_fragment(header, payload, limits, out)
            }
        }
    }

    fn take_fragment(
        &mut self,
        header: &Header,
        payload: &[u8],
        limits: Limits,
        out: &mut dyn FnMut(Message<'_>) -> bool,
    ) -> Result<bool, WsError> {
        let slot = &mut self.partial_mut().message;
        let mut message = slot.take().unwrap_or_else(|| Fragments {
            text: header.opcode == Opcode::Text,
            compressed: header.compressed,
            payload: Vec::new(),
            checked: 0,
        });
        message.payload.extend_from_slice(payload);
        if header.fin {
            return deliver(message.text, message.compressed, &message.payload, limits, out);
        }
        message.check_text()?;
        *slot = Some(message);
        Ok(true)
    }

    fn partial_mut(&mut self) -> &mut Partial {
        self.partial.get_or_insert_default()
    }
}

impl Partial {
    fn is_empty(&self) -> bool {
        self.held.len() == self.taken && self.message.is_none()
    }
}

impl Fragments {
    /// Fails at the fragment that makes a text invalid, not at the end of the message.
    fn check_text(&mut self) -> Result<(), WsError> {
        if !self.text || self.compressed {
            return Ok(());
        }
        match std::str::from_utf8(self.payload.get(self.checked..).unwrap_or_default()) {
            Ok(_) => self.checked = self.payload.len(),
            // A character that the next fragment may complete.
            Err(error) if error.error_len().is_none() => self.checked += error.valid_up_to(),
            Err(_) => return Err(WsError::invalid_data("text is not utf-8")),
        }
        Ok(())
    }
}

#[derive(Debug, Clone, Copy)]
struct Limits {
    max: usize,
    deflate: bool,
}

impl Limits {
    /// What a message may take on the wire: data that does not shrink grows by a few bytes per block.
    fn wire_max(self, compressed: bool) -> u64 {
        let max = self.max as u64;
        if compressed {
            max.saturating_add(max / 256 + 64)
        } else {
            max
        }
    }
}

fn deliver(
    text: bool,
    compressed: bool,
    payload: &[u8],
    limits: Limits,
    out: &mut dyn FnMut(Message<'_>) -> bool,
) -> Result<bool, WsError> {
    let inflated;
    let payload = if compressed {
        inflated = deflate::inflate(payload, limits.max)?;
        inflated.as_slice()
    } else {
        payload
    };
    if !text {
        return Ok(out(Message::Binary(payload)));
    }
    let text = std::str::from_utf8(payload).map_err(|_| WsError::invalid_data("text is not utf-8"))?;
    Ok(out(Message::Text(text)))
}

fn parse_close(payload: &[u8]) -> Result<(Option<u16>, &str), WsError> {
    let Some((code, reason)) = payload.split_first_chunk::<2>() else {
        return if payload.is_empty() {
            Ok((None, ""))
        } else {
            Err(WsError::protocol("close frame of one byte"))
        };
    };
    let code = u16::from_be_bytes(*code);
    if !is_sendable(code) {
        return Err(WsError::protocol("close code not allowed"));
    }
    let reason =
        std::str::from_utf8(reason).map_err(|_| WsError::invalid_data("close reason is not utf-8"))?;
    Ok((Some(code), reason))
}

/// RFC 6455 §7.4 and IANA's registry: 1004 is reserved, 1005, 1006 and 1015 never stand in a frame.
const fn is_sendable(code: u16) -> bool {
    matches!(code, 1000..=1003 | 1007..=1014 | 3000..=4999)
}
