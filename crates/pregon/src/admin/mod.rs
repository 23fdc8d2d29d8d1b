//! The dashboard of operators: a page that is embedded in the binary, and the API behind it. Off without `[admin] token`.
//!
//! `guard` lets in who has the token, `page` serves the files; the rest are the questions, one file each. Nothing here is asked by the
//! path of the data: shards answer between their rounds, page by page (`hub/inspect.rs`), and every answer is bounded. Streams end with
//! the node's draining, or when their reader goes.

mod guard;
mod asked;
mod page;
mod exposition;
mod rates;
mod overview;
mod sources;
mod stream;
mod sessions;
mod channels;
mod entry;
mod tail;
mod routes;
mod explain;
mod revoke;

pub(crate) use revoke::close as close_revoked;

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::SystemTime;

use arc_swap::ArcSwap;
use axum::Router;
use axum::middleware::from_fn_with_state;
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post};
use http::StatusCode;
use serde_json::Value;
use tokio::sync::Semaphore;

use crate::api::{Health, refuse};
use crate::auth::Revoked;
use crate::config::{Config, Secret};
use crate::desk::Desk;
use crate::hub::Hub;
use crate::hub::closed::Closed;
use crate::log::Log;
use crate::metrics::Metrics;
use crate::pipeline::unrouted::UnroutedRing;
use crate::route;
use crate::transport::refused::Refused;

/// Streams at one time: a handful of operators with a few tabs each.
const STREAMS: usize = 16;

/// What a node gives its dashboard.
pub(crate) struct Parts {
    pub token: Secret,
    /// For the names of sources and the facts of the node; routes and rights are those of the last reload.
    pub config: Config,
    pub address: SocketAddr,
    pub router: Arc<ArcSwap<route::Routes>>,
    pub log: Arc<dyn Log>,
    pub hub: Arc<Hub>,
    pub health: Arc<Health>,
    pub metrics: Arc<Metrics>,
    pub desk: Arc<Desk>,
    pub revoked: Arc<Revoked>,
    pub closed: Arc<Closed>,
    pub unrouted: Arc<UnroutedRing>,
}

/// See the module.
struct Admin {
    parts: Parts,
    failures: guard::Failures,
    overview: overview::Last,
    streams: Arc<Semaphore>,
    started: SystemTime,
}

impl std::ops::Deref for Admin {
    type Target = Parts;

    fn deref(&self) -> &Parts {
        &self.parts
    }
}

/// All that is served below `/admin`.
pub(crate) fn router(parts: Parts) -> Router {
    let admin = Arc::new(Admin {
        parts,
        failures: guard::Failures::default(),
        overview: overview::Last::default(),
        streams: Arc::new(Semaphore::new(STREAMS)),
        started: SystemTime::now(),
    });
    let api = Router::new()
        .route("/overview", get(overview::overview))
        .route("/stream", get(stream::stream))
        .route("/sessions", get(sessions::sessions))
        .route("/disconnect", post(sessions::disconnect))
        .route("/channels", get(channels::channels))
        .route("/tail", get(tail::tail))
        .route("/unrouted", get(routes::unrouted))
        .route("/try-route", post(routes::try_route))
        .route("/explain", get(explain::explain))
        .route("/revoke", get(revoke::list).post(revoke::revoke))
        .route("/restore", post(revoke::restore))
        .fallback(nothing)
        .layer(from_fn_with_state(Arc::clone(&admin), guard::guard))
        .with_state(admin);
    page::routes().nest("/admin/api", api)
}

async fn nothing() -> Response {
    refuse(Refused::new(
        StatusCode::NOT_FOUND,
        "the dashboard has no such question: see docs/dashboard.md",
    ))
}

/// An answer as JSON, or why there is none.
type Answer = Result<axum::Json<Value>, Failure>;

/// Why a question has no answer.
struct Failure(Refused);

impl Failure {
    fn new(status: StatusCode, message: impl Into<String>) -> Self {
        Self(Refused::new(status, message))
    }

    fn bad(message: impl Into<String>) -> Self {
        Self::new(StatusCode::BAD_REQUEST, message)
    }
}

impl IntoResponse for Failure {
    fn into_response(self) -> Response {
        refuse(self.0)
    }
}

/// A time as JSON: RFC 3339 in UTC with milliseconds.
fn time(at: SystemTime) -> Value {
    crate::log::entry::rfc3339(at).into()
}
