//! HTTP that is no stream: publishing, history, presence, health, metrics.

mod publish;
mod unsubscribe;
mod history;
mod presence;
mod status;

use std::sync::Arc;

use axum::Router;
use axum::response::{IntoResponse, Response};
use axum::routing::{MethodRouter, get, post};
use http::StatusCode;
use tower_http::cors::{AllowCredentials, AllowOrigin, CorsLayer};

use crate::auth::Claims;
use crate::config;
use crate::hub::Hub;
use crate::log::Log;
use crate::metrics::Metrics;
use crate::pipeline::Pipeline;
use crate::route::grant::Rights;
use crate::session::decide::check_name;
use crate::transport::admit::Admission;
use crate::transport::head::Head;
use crate::transport::refused::Refused;

pub(crate) use status::Health;

/// What the handlers need.
pub(crate) struct Api {
    pub admission: Arc<Admission>,
    pub pipeline: Arc<Pipeline>,
    pub log: Arc<dyn Log>,
    pub hub: Arc<Hub>,
    pub health: Arc<Health>,
    pub metrics: Arc<Metrics>,
    pub limits: config::Limits,
    /// Key of the publishing API; without one it is closed.
    pub key: Option<config::Secret>,
    pub serve_metrics: bool,
    /// Paths of webhooks, and who answers there.
    pub webhooks: Vec<(String, MethodRouter)>,
}

/// All routes.
pub(crate) fn router(mut api: Api) -> Router {
    let cors = cors(&api.admission);
    let webhooks = std::mem::take(&mut api.webhooks);
    let api = Arc::new(api);
    let mut router = Router::new()
        .route("/api/publish", post(publish::publish))
        .route("/api/unsubscribe", post(unsubscribe::unsubscribe))
        .route("/api/history", get(history::history))
        .route("/api/presence", get(presence::presence))
        .route("/healthz", get(status::alive))
        .route("/readyz", get(status::ready))
        .route("/metrics", get(status::metrics))
        .fallback(not_found)
        .with_state(api);
    for (path, handlers) in webhooks {
        router = router.route(&path, handlers);
    }
    router.layer(cors)
}

/// Web pages of the allowed origins may read history with their token or cookie; publishing keys do not belong into pages. The
/// preflights of `/sse` come here too: readers of streams that are no `EventSource` name where they were in a header.
fn cors(admission: &Arc<Admission>) -> CorsLayer {
    let (admission, credentials) = (Arc::clone(admission), Arc::clone(admission));
    let allowed = move |origin: &http::HeaderValue, _: &http::request::Parts| {
        origin
            .to_str()
            .is_ok_and(|origin| !admission.origins.cors(Some(origin)).is_empty())
    };
    let believed = move |origin: &http::HeaderValue, _: &http::request::Parts| {
        credentials.origins.allows(origin.to_str().ok())
    };
    CorsLayer::new()
        .allow_origin(AllowOrigin::predicate(allowed))
        .allow_credentials(AllowCredentials::predicate(believed))
        .allow_methods([http::Method::GET, http::Method::POST])
        .allow_headers([
            http::header::AUTHORIZATION,
            http::header::CACHE_CONTROL,
            http::header::CONTENT_TYPE,
            http::HeaderName::from_static("last-event-id"),
        ])
}

/// A request about a channel, which whoever made it may follow by these rights.
struct Granted {
    claims: Claims,
    channel: String,
    rights: Arc<Rights>,
}

impl Granted {
    /// Whether the rights are those of now: what they granted is not given away otherwise.
    fn holds(&self, api: &Api) -> bool {
        api.admission.desk.in_force(&self.rights)
    }
}

/// Whose request it is, and the channel that it names, which they may follow.
async fn asked_channel(api: &Api, head: &Head) -> Result<Granted, Refused> {
    let bad = |message: &str| Refused::new(StatusCode::BAD_REQUEST, message);
    let claims = api.admission.claims(head, api.admission.auth.required()).await?;
    let claims = claims.unwrap_or_default();
    let channel = head.query_first("channel");
    let channel = channel.ok_or_else(|| bad("name the channel: ?channel=…"))?;
    check_name(&channel).map_err(bad)?;
    let rights = api.admission.rights.load_full();
    api.admission.may_follow(&rights, &claims, &channel).await?;
    Ok(Granted {
        claims,
        channel,
        rights,
    })
}

async fn not_found() -> Response {
    refuse(Refused::new(
        StatusCode::NOT_FOUND,
        "there is nothing at this path: see the endpoints of the configuration",
    ))
}

/// A refusal as JSON.
pub(crate) fn refuse(refused: Refused) -> Response {
    let reason = refused
        .status
        .canonical_reason()
        .unwrap_or("error")
        .to_ascii_lowercase()
        .replace(' ', "_");
    let body = serde_json::json!({ "error": reason, "message": refused.message });
    let mut response = (refused.status, axum::Json(body)).into_response();
    for (name, value) in refused.headers {
        if let Ok(value) = value.parse() {
            response.headers_mut().insert(name, value);
        }
    }
    response
}
