//! Engine.IO, revision 4 of the protocol (engine.io-protocol v4): what carries Socket.IO over WebSocket frames
//! and polling bodies. A binary WebSocket frame is an attachment as it is and needs no codec.

mod packet;

mod payload;

mod open;

mod handshake;

pub use handshake::{Continuation, Query, Refusal, Transport};
pub use open::Open;
pub use packet::{CLOSE, NOOP, PING, PONG_PROBE, PROBE, Packet, ParseError, UPGRADE, encode, message, parse};
pub use payload::{Payload, PayloadWriter};
