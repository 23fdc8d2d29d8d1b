//! Socket.IO, revision 5 of the protocol (socket.io-protocol v5), for clients since Socket.IO 3.
//!
//! [`parse`] reads the data of one Engine.IO message; [`Assembler`] does too and collects attachments. The
//! `encode_` functions append a whole Engine.IO message, `4` and all, ready for a WebSocket frame or a polling
//! body. Arguments are raw JSON in and out and are never parsed into values.
//!
//! What depends on the state of the connection is the session's to judge, and closes the connection as a
//! [`ParseError`] does: an event before its namespace is connected, a second connect to a namespace,
//! a connect error from a client.

mod packet;

mod elements;

mod auth;

mod placeholder;

mod assemble;

mod encode;

pub mod command;

pub mod room;

pub mod emitter;

pub use assemble::{Assembled, Assembler};
pub use auth::Auth;
pub use elements::Elements;
pub use encode::{
    Head, encode_ack, encode_connect, encode_connect_error, encode_disconnect, encode_event,
    encode_event_args, write_placeholder,
};
pub use packet::{Event, Kind, MAX_ATTACHMENTS, Packet, ParseError, ROOT, is_namespace, is_reserved, parse};
pub use placeholder::fill_placeholders;

/// The values of a list of raw JSON values with commas between, such as [`Elements::as_str`] gives.
pub fn elements(list: &str) -> Elements<'_> {
    Elements::of_list(list)
}
