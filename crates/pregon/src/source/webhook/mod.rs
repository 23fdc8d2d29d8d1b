//! Signed deliveries of other services as a source: verified, appended, then answered.
//!
//! A receipt that fails is a 503, so that the sender comes again; the event's id is the delivery's own, so that a second one changes
//! nothing. Handlers run as requests do; nothing is kept between them.

pub(crate) mod signature;
pub(crate) mod body;

use std::sync::Arc;
use std::time::{Duration, SystemTime};

use axum::body::Body;
use axum::extract::{Request, State};
use axum::response::{IntoResponse, Response};
use axum::routing::{MethodRouter, get};
use bytes::Bytes;
use http::{HeaderMap, StatusCode, Uri, header};

use crate::auth::same_key;
use crate::config::{self, Preset, Secret};
use crate::event::{Event, EventId, What};
use crate::lenient;
use crate::limits::Permit;
use crate::limits::bodies::Bodies;
use crate::metrics::{Metrics, Reason};
use crate::pipeline::Pipeline;
use crate::route::json::Fields;
use body::Unread;
use signature::Scheme;

/// How long a body may take to come.
const PATIENCE: Duration = Duration::from_secs(10);

/// One path that takes deliveries.
pub(crate) struct Webhook {
    name: Arc<str>,
    preset: Preset,
    scheme: Scheme,
    verify_token: Option<Secret>,
    limit: usize,
    bodies: Arc<Bodies>,
    pipeline: Arc<Pipeline>,
    metrics: Arc<Metrics>,
}

/// The paths of a configuration and who answers there.
pub(crate) fn routes(
    config: &config::Config,
    pipeline: &Arc<Pipeline>,
    metrics: &Arc<Metrics>,
) -> Vec<(String, MethodRouter)> {
    let bodies = Bodies::new(config.limits.bodies.bytes());
    let route = |section: &config::Webhook| {
        let webhook = Arc::new(Webhook {
            name: Arc::from(section.name.as_str()),
            preset: section.preset,
            scheme: Scheme::new(section),
            verify_token: section.verify_token.clone(),
            limit: section.body.bytes(),
            bodies: Arc::clone(&bodies),
            pipeline: Arc::clone(pipeline),
            metrics: Arc::clone(metrics),
        });
        let handlers = get(subscribe).post(deliver).with_state(webhook);
        (section.path.clone(), handlers)
    };
    config.webhook.iter().map(route).collect()
}

/// WhatsApp's question when somebody subscribes.
async fn subscribe(State(webhook): State<Arc<Webhook>>, uri: Uri) -> Response {
    challenge(webhook.verify_token.as_ref(), &uri)
}

/// The challenge as plain text, so that no browser makes a page of it, or 403.
pub(crate) fn challenge(token: Option<&Secret>, uri: &Uri) -> Response {
    let query = uri.query().unwrap_or_default();
    let asked = |name: &str| {
        form_urlencoded::parse(query.as_bytes())
            .find(|(key, _)| key == name)
            .map(|(_, value)| value.into_owned())
    };
    let given = asked("hub.verify_token").unwrap_or_default();
    let known = token.is_some_and(|token| same_key(&given, token.reveal()));
    if !known || asked("hub.mode").as_deref() != Some("subscribe") {
        return failure(
            StatusCode::FORBIDDEN,
            "the verify token is not the configured one",
        );
    }
    let plain = [
        (header::CONTENT_TYPE, "text/plain; charset=utf-8"),
        (header::X_CONTENT_TYPE_OPTIONS, "nosniff"),
    ];
    (plain, asked("hub.challenge").unwrap_or_default()).into_response()
}

async fn deliver(State(webhook): State<Arc<Webhook>>, request: Request<Body>) -> Response {
    let (head, body) = request.into_parts();
    let sender = head.extensions.get::<Permit>();
    let Some(signature) = webhook.scheme.signature(&head.headers) else {
        return webhook.unsigned();
    };
    let mut room = webhook.bodies.begin(sender);
    let reading = body::read(body, webhook.limit, &mut room);
    let body = match tokio::time::timeout(PATIENCE, reading).await {
        Ok(Ok(body)) => body,
        Ok(Err(Unread::TooLarge | Unread::Broken)) => {
            webhook.metrics.dropped(Reason::TooLarge);
            return failure(
                StatusCode::PAYLOAD_TOO_LARGE,
                "the body is larger than the limit, or broke off",
            );
        }
        Ok(Err(Unread::NoRoom)) => {
            webhook.metrics.dropped(Reason::Bodies);
            if let Some(sender) = sender {
                sender.refused(Reason::Bodies);
            }
            return later("too many deliveries at once, try again");
        }
        Err(_) => {
            webhook.metrics.dropped(Reason::Handshake);
            return failure(StatusCode::REQUEST_TIMEOUT, "the body took too long");
        }
    };
    let accepted = webhook.scheme.accepts(signature, &body, SystemTime::now());
    if !accepted.await {
        return webhook.unsigned();
    }
    let event = webhook.event(&head.headers, body);
    match webhook.pipeline.ingest(vec![event]).await.wait().await {
        Ok(_) => axum::Json(serde_json::json!({ "success": true })).into_response(),
        Err(error) => {
            tracing::warn!(webhook = &*webhook.name, %error, "a delivery could not be kept, its sender will repeat it");
            later("the delivery could not be kept, try again")
        }
    }
}

/// Its sender shall repeat it.
fn later(message: &str) -> Response {
    let mut response = failure(StatusCode::SERVICE_UNAVAILABLE, message);
    let seconds = header::HeaderValue::from_static("5");
    response.headers_mut().insert(header::RETRY_AFTER, seconds);
    response
}

fn failure(status: StatusCode, message: &str) -> Response {
    let body = serde_json::json!({ "success": false, "error": message });
    (status, axum::Json(body)).into_response()
}

impl Webhook {
    fn unsigned(&self) -> Response {
        self.metrics.dropped(Reason::Token);
        failure(
            StatusCode::UNAUTHORIZED,
            "the signature is missing or is not of a configured secret",
        )
    }

    /// The delivery as an event, with the name and the id that its sender gave it.
    fn event(&self, headers: &HeaderMap, body: Bytes) -> Event {
        let header = |name: &str| headers.get(name)?.to_str().ok().map(str::to_owned);
        let field = |name: &str| {
            let text = lenient::text(Fields::read(&body).get(name)?)?;
            Some(text.into_owned())
        };
        let (id, kind) = match self.preset {
            Preset::Stripe => (field("id"), field("type")),
            Preset::Github => (header("x-github-delivery"), header("x-github-event")),
            // The same bytes are the same delivery: there is no id.
            Preset::Whatsapp => (Some(signature::digest(&body)), None),
            Preset::Hmac => (header("idempotency-key"), None),
        };
        let what = What::Delivery {
            name: kind.map(Arc::from),
            text: body,
        };
        let mut event = Event::new(Arc::clone(&self.name), what);
        if let Some(id) = id {
            event.id = EventId::named(format!("webhook/{}/{id}", self.name));
        }
        event
    }
}
