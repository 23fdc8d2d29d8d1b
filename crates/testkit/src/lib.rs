//! Real servers, real faults and real clients for tests, and the PostgreSQL starter of `pregon demo`.
//!
//! ```text
//!   postgres, redis ──▶ proxy (cuts, slows, swallows) ──▶ node (the pregon binary) ──▶ client (ws, sse, http)
//!                                      wait::eventually ties them together; token mints JWTs
//! ```
//!
//! Nothing outlives the process that started it: servers die with their parent ([`process`]) and their folders are
//! removed by a small watcher, so an aborted test leaves neither processes nor files behind.

pub mod process;
pub mod postgres;
pub mod redis;
pub mod proxy;
pub mod node;
pub mod client;
pub mod token;
pub mod wait;

pub use client::{http, sse::SseClient, ws::WsClient};
pub use node::{Node, NodeOptions, PLANTED, assert_untold};
pub use postgres::{Database, Server};
pub use proxy::Proxy;
pub use redis::{Redis, RedisOptions, cluster::Cluster, sentinel::Sentinel};
pub use token::token;
pub use wait::eventually;
