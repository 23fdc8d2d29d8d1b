//! Frames: the decoder of what clients send, the encoders of what we send, message compression.

mod header;

mod decode;

mod deflate;

mod encode;

pub use decode::{Decoder, Message};
pub use deflate::{Deflater, worth_deflating};
pub use encode::{close_frame, deflated_text_frame, frame};
pub use header::Opcode;

use crate::codes;

/// The peer broke the protocol or a limit: send a close frame with this code and end the connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("{reason} (close code {close})")]
pub struct WsError {
    /// 1002 protocol error, 1007 not UTF-8 or not deflate, 1009 too big.
    pub close: u16,
    /// Short enough for a close frame.
    pub reason: &'static str,
}

impl WsError {
    const fn protocol(reason: &'static str) -> Self {
        Self {
            close: codes::CLOSE_PROTOCOL_ERROR.number,
            reason,
        }
    }

    const fn invalid_data(reason: &'static str) -> Self {
        Self {
            close: codes::CLOSE_INVALID_DATA.number,
            reason,
        }
    }

    const fn too_big() -> Self {
        Self {
            close: codes::CLOSE_MESSAGE_TOO_BIG.number,
            reason: "message too big",
        }
    }
}
