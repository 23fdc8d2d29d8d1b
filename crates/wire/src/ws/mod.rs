//! The server's side of WebSocket (RFC 6455) and permessage-deflate (RFC 7692).

pub mod handshake;

pub mod frame;

pub use frame::{
    Decoder, Deflater, Message, Opcode, WsError, close_frame, deflated_text_frame, frame, worth_deflating,
};
