//! Bytes to words and back, sans-I/O: nothing here opens a socket, waits or knows the time.
//!
//! ```text
//! socket bytes ─▶ ws::handshake ─▶ ws::frame::Decoder ─▶ plain::parse ─▶ Command ─▶ session
//! socket bytes ◀─ ws::frame::frame / sse::event ◀─ plain::event, gap, ok … ◀─ words of the session
//!
//! frame or poll body ─▶ engineio::parse / Payload ─▶ socketio::Assembler ─▶ Packet ─▶ session
//! frame or poll body ◀─ engineio::PayloadWriter ◀─ socketio::encode_event, encode_ack … ◀─ words of the session
//!
//! bytes of Redis ─▶ resp::decode ─▶ Frame ─▶ source
//! ```
//!
//! Every function takes outside bytes without panicking, keeps no state but what it is handed, and appends
//! what it encodes to a buffer of the caller, so that one encoded entry can be shared by all its readers.

pub mod ws;

pub mod plain;

pub mod sse;

pub mod engineio;

pub mod socketio;

pub mod centrifuge;

pub mod resp;

pub mod words;

pub mod codes;

pub use codes::Code;
pub use words::{Command, GapReason};
