//! The webhook: whether it is the app that asks, and that an answer means "kept".
//!
//! A body is read to its end only within the limit and within the room for all bodies together; the signature is checked over the
//! bytes as they came. Whatever a verified body holds, it is kept and answered with 200.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant, SystemTime};

use axum::Router;
use axum::body::{Body, BodyDataStream};
use axum::extract::{Request, State};
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use bytes::Bytes;
use futures_util::StreamExt;
use http::{HeaderMap, StatusCode, Uri, header};
use tokio::sync::{OwnedSemaphorePermit, Semaphore, mpsc, oneshot};

use super::inbox::Delivery;
use super::metrics::{Answer, Metrics};
use super::payload;
use super::rules::Rules;
use crate::config::Secret;
use crate::limits::Permit;
use crate::limits::bodies::{Bodies, HeldBody};
use crate::source::webhook::body::{Unread, read_pieces};
use crate::source::webhook::challenge;
use crate::source::webhook::signature::Signers;

/// How long a body may take to come.
const BODY: Duration = Duration::from_secs(10);
/// How long a delivery may wait for the inbox; its sender gives up about then.
const KEEP: Duration = Duration::from_secs(10);
/// Bytes of all verified bodies that wait for the inbox, in KiB.
const ROOM: usize = 256 * 1024;
/// How much of an oversize body is read and thrown away, in limits: a sender that is cut off does not see the answer.
const THROWN_AWAY: usize = 8;

/// What the handlers need.
pub(super) struct Webhook {
    pub(super) signers: Signers,
    pub(super) verify_token: Option<Secret>,
    /// Largest body, bytes.
    pub(super) limit: usize,
    pub(super) inbox: mpsc::Sender<Delivery>,
    pub(super) room: Arc<Semaphore>,
    /// Room for those whose signatures are not checked yet.
    pub(super) bodies: Arc<Bodies>,
    pub(super) rules: Arc<Rules>,
    /// Whether the tables are there.
    pub(super) ready: Arc<AtomicBool>,
    pub(super) metrics: Arc<Metrics>,
}

/// Room for bodies.
pub(super) fn room() -> Arc<Semaphore> {
    Arc::new(Semaphore::new(ROOM))
}

/// All routes of the router's process.
pub(super) fn routes(path: &str, webhook: Webhook) -> Router {
    Router::new()
        .route(path, get(subscribe).post(deliver))
        .route("/healthz", get(|| async { "ok\n" }))
        .route("/readyz", get(ready))
        .route("/metrics", get(metrics))
        .with_state(Arc::new(webhook))
}

async fn ready(State(webhook): State<Arc<Webhook>>) -> Response {
    if webhook.ready.load(Ordering::Acquire) {
        "ready\n".into_response()
    } else {
        (StatusCode::SERVICE_UNAVAILABLE, "not ready: postgres\n").into_response()
    }
}

async fn metrics(State(webhook): State<Arc<Webhook>>) -> Response {
    let kind = "application/openmetrics-text; version=1.0.0; charset=utf-8";
    ([(header::CONTENT_TYPE, kind)], webhook.metrics.render()).into_response()
}

/// Confirms a subscription.
async fn subscribe(State(webhook): State<Arc<Webhook>>, uri: Uri) -> Response {
    let response = challenge(webhook.verify_token.as_ref(), &uri);
    let answer = if response.status().is_success() {
        Answer::Verified
    } else {
        Answer::Refused
    };
    webhook.metrics.answered(answer, None);
    response
}

async fn deliver(State(webhook): State<Arc<Webhook>>, request: Request<Body>) -> Response {
    let began = Instant::now();
    let (answer, response) = match webhook.take(request).await {
        Ok(()) => (
            Answer::Accepted,
            axum::Json(serde_json::json!({ "success": true })).into_response(),
        ),
        Err(refused) => refused.response(),
    };
    webhook.metrics.answered(answer, Some(began.elapsed()));
    response
}

/// Why a delivery was not taken.
enum Refused {
    Signature,
    TooLarge,
    Incomplete,
    Later(&'static str),
}

impl Refused {
    fn response(self) -> (Answer, Response) {
        match self {
            Self::Signature => {
                let message = "X-Hub-Signature-256 is missing or is not of a configured app secret";
                (Answer::BadSignature, failure(StatusCode::UNAUTHORIZED, message))
            }
            Self::TooLarge => {
                let message = "the body is larger than [router] body allows";
                (Answer::TooLarge, failure(StatusCode::PAYLOAD_TOO_LARGE, message))
            }
            Self::Incomplete => {
                let message = "the body did not come to its end in time";
                (Answer::Unavailable, failure(StatusCode::REQUEST_TIMEOUT, message))
            }
            Self::Later(message) => {
                let mut response = failure(StatusCode::SERVICE_UNAVAILABLE, message);
                let seconds = header::HeaderValue::from_static("5");
                response.headers_mut().insert(header::RETRY_AFTER, seconds);
                (Answer::Unavailable, response)
            }
        }
    }
}

fn failure(status: StatusCode, message: &str) -> Response {
    let body = serde_json::json!({ "success": false, "error": message });
    (status, axum::Json(body)).into_response()
}

impl Webhook {
    /// Reads, verifies and keeps a delivery.
    async fn take(&self, request: Request<Body>) -> Result<(), Refused> {
        let (head, body) = request.into_parts();
        let mut pieces = body.into_data_stream();
        let announced = declared(&head.headers).unwrap_or(0);
        if announced > self.limit as u64 {
            self.throw_away(&mut pieces).await;
            return Err(Refused::TooLarge);
        }
        let signature = head
            .headers
            .get("x-hub-signature-256")
            .ok_or(Refused::Signature)?;
        let sender = head.extensions.get::<Permit>();
        let mut unverified = self.bodies.begin(sender);
        let body = tokio::time::timeout(BODY, self.read(&mut pieces, announced, &mut unverified))
            .await
            .map_err(|_| Refused::Incomplete)??;
        if !self.signers.accept(signature.as_bytes(), &body).await {
            return Err(Refused::Signature);
        }
        // From here on strangers take nothing of its room.
        let room = self.room_of(&body)?;
        drop(unverified);
        if !self.ready.load(Ordering::Acquire) {
            return Err(Refused::Later("the database cannot be reached"));
        }
        let payload::Read {
            mut items,
            unreadable,
        } = payload::read(&body, now());
        self.metrics.unreadable.inc_by(unreadable.into());
        self.rules.judge(&mut items, now());
        let (kept, is_kept) = oneshot::channel();
        let delivery = Delivery {
            body,
            items,
            kept,
            room,
        };
        let keep = async {
            self.inbox.send(delivery).await.ok()?;
            is_kept.await.ok()
        };
        match tokio::time::timeout(KEEP, keep).await {
            Ok(Some(true)) => Ok(()),
            Ok(_) => Err(Refused::Later("the delivery could not be kept")),
            Err(_) => Err(Refused::Later("the inbox is full")),
        }
    }

    /// Reads a body of which nobody knows yet who sent it.
    async fn read(
        &self,
        pieces: &mut BodyDataStream,
        announced: u64,
        room: &mut HeldBody,
    ) -> Result<Bytes, Refused> {
        match read_pieces(pieces, announced, self.limit, room).await {
            Ok(body) => Ok(body),
            Err(Unread::TooLarge) => {
                self.throw_away(pieces).await;
                Err(Refused::TooLarge)
            }
            Err(Unread::Broken) => Err(Refused::Incomplete),
            Err(Unread::NoRoom) => Err(Refused::Later("too many deliveries at once")),
        }
    }

    /// Room for a body whose sender is known, until the inbox has it.
    fn room_of(&self, body: &Bytes) -> Result<OwnedSemaphorePermit, Refused> {
        let kib = u32::try_from(body.len().div_ceil(1024)).unwrap_or(u32::MAX);
        let permit = Arc::clone(&self.room).try_acquire_many_owned(kib);
        permit.map_err(|_| Refused::Later("too many deliveries at once"))
    }

    /// Reads on for a while, so that the sender gets to see the answer.
    async fn throw_away(&self, pieces: &mut BodyDataStream) {
        let most = self.limit.saturating_mul(THROWN_AWAY);
        let reading = async {
            let mut seen = 0;
            while let Some(Ok(piece)) = pieces.next().await {
                seen += piece.len();
                if seen > most {
                    return;
                }
            }
        };
        let _ = tokio::time::timeout(BODY, reading).await; // Late or not, the answer is the same.
    }
}

fn declared(headers: &HeaderMap) -> Option<u64> {
    headers.get(header::CONTENT_LENGTH)?.to_str().ok()?.parse().ok()
}

fn now() -> i64 {
    let since = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH);
    since.map_or(0, |since| i64::try_from(since.as_secs()).unwrap_or(i64::MAX))
}
