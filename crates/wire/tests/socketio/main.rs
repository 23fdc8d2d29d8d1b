//! The Socket.IO parser, assembler and encoders against recorded packets and against random ones.
#![allow(clippy::unwrap_used, clippy::indexing_slicing, clippy::panic)]

mod golden;
mod properties;
mod emitters;
