//! The full protocol: JSON text frames, one command or one message each.
//! [`parse`] reads what clients send without copying; the other functions append what the server sends.
//! `data` is raw JSON in and out and is never parsed again.

mod parse;

pub(crate) mod encode;

pub use encode::{
    error, event, gap, gap_object, join, leave, lost, member, ok, ok_presence, ok_published, ok_subscribed,
    ping, welcome, write_json_str,
};
pub use parse::{ParseError, Request, parse};
