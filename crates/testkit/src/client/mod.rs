//! Clients as a browser or a till would be, small enough to see every byte.

pub mod http;
pub mod sse;
pub mod ws;
