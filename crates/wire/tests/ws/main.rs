//! The WebSocket decoder and encoders against recorded frames and against random ones.
#![allow(clippy::unwrap_used, clippy::indexing_slicing, clippy::panic)]

mod client;
mod golden;
mod properties;
