//! The server's frames: unmasked, unfragmented, appended to a buffer.

use super::Opcode;
use super::deflate::Deflater;
use super::header::MAX_CONTROL;

/// Final frame bit.
const FIN: u8 = 0x80;
/// Compressed message bit (RFC 7692 §6).
const RSV1: u8 = 0x40;

/// Appends one whole message. A control frame's payload is cut to the 125 bytes that it may have.
pub fn frame(opcode: Opcode, payload: &[u8], out: &mut Vec<u8>) {
    let payload = match payload.get(..MAX_CONTROL) {
        Some(short) if opcode.is_control() => short,
        _ => payload,
    };
    raw_frame(FIN | opcode as u8, payload, out);
}

/// Appends a close frame; the reason is cut to the 123 bytes that fit, at a character's border.
pub fn close_frame(code: u16, reason: &str, out: &mut Vec<u8>) {
    let fits = (0..=MAX_CONTROL - 2)
        .rev()
        .find_map(|end| reason.get(..end.min(reason.len())));
    let reason = fits.unwrap_or_default();
    let mut payload = Vec::with_capacity(MAX_CONTROL);
    payload.extend_from_slice(&code.to_be_bytes());
    payload.extend_from_slice(reason.as_bytes());
    raw_frame(FIN | Opcode::Close as u8, &payload, out);
}

/// Appends a compressed text message, or a plain one when compression does not make it smaller.
/// Only for connections that negotiated permessage-deflate.
pub fn deflated_text_frame(payload: &[u8], compressor: &mut Deflater, out: &mut Vec<u8>) {
    match compressor.deflate(payload) {
        Some(small) if small.len() < payload.len() => raw_frame(FIN | RSV1 | Opcode::Text as u8, small, out),
        _ => frame(Opcode::Text, payload, out),
    }
}

fn raw_frame(first: u8, payload: &[u8], out: &mut Vec<u8>) {
    // 10 is the longest header of an unmasked frame.
    out.reserve(10 + payload.len());
    out.push(first);
    match payload.len() {
        short @ ..=MAX_CONTROL => out.push(short as u8),
        medium if medium <= usize::from(u16::MAX) => {
            out.push(126);
            out.extend_from_slice(&(medium as u16).to_be_bytes());
        }
        long => {
            out.push(127);
            out.extend_from_slice(&(long as u64).to_be_bytes());
        }
    }
    out.extend_from_slice(payload);
}
