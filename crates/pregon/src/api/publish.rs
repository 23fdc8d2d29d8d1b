//! `POST /api/publish`: one publication or an array, answered when the log has them.

use std::sync::Arc;
use std::time::SystemTime;

use axum::body::Body;
use axum::extract::{Request, State};
use axum::response::{IntoResponse, Response};
use futures_util::StreamExt;
use http::{HeaderMap, StatusCode};
use serde::Deserialize;
use serde_json::value::RawValue;

use super::{Api, refuse};
use pregon_wire::socketio::is_reserved;

use crate::auth::{same_key, token};
use crate::event::{Data, EventId, Publication};
use crate::log::Append;
use crate::metrics::Reason;
use crate::session::decide::check_name;
use crate::transport::refused::Refused;

/// Longest idempotency key, bytes; it is kept as long as its publications.
const KEY: usize = 255;

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Item<'a> {
    channel: String,
    event: String,
    #[serde(borrow)]
    data: &'a RawValue,
}

pub(super) async fn publish(State(api): State<Arc<Api>>, request: Request<Body>) -> Response {
    match accept(&api, request).await {
        Ok(batch) => match api.pipeline.append(batch).wait().await {
            Ok(positions) => {
                let positions: Vec<String> = positions.iter().map(ToString::to_string).collect();
                axum::Json(serde_json::json!({ "positions": positions })).into_response()
            }
            Err(error) => refuse(Refused::new(StatusCode::SERVICE_UNAVAILABLE, error.to_string())),
        },
        Err(refused) => refuse(refused),
    }
}

/// Who may not publish is told so before a byte of the body is read.
async fn accept(api: &Api, request: Request<Body>) -> Result<Vec<Append>, Refused> {
    let (head, body) = request.into_parts();
    authorize(api, &head.headers)?;
    let key = idempotency_key(&head.headers)?;
    let body = read(api, body).await?;
    let items = parse(&body).map_err(|message| Refused::new(StatusCode::BAD_REQUEST, message))?;
    if items.len() > api.limits.batch {
        api.metrics.dropped(Reason::TooLarge);
        let message = format!(
            "a batch has at most {} publications: send several",
            api.limits.batch
        );
        return Err(Refused::new(StatusCode::PAYLOAD_TOO_LARGE, message));
    }
    let now = SystemTime::now();
    let mut batch = Vec::with_capacity(items.len());
    for (index, item) in items.into_iter().enumerate() {
        batch.push(Append::Publication(publication(item, index, key, now)?));
    }
    Ok(batch)
}

/// The whole body, in the time that a request may take.
pub(super) async fn read(api: &Api, body: Body) -> Result<Vec<u8>, Refused> {
    match tokio::time::timeout(api.limits.handshake.0, read_patiently(api, body)).await {
        Ok(body) => body,
        Err(_) => {
            api.metrics.dropped(Reason::Handshake);
            let message = "the body took too long";
            Err(Refused::new(StatusCode::REQUEST_TIMEOUT, message))
        }
    }
}

async fn read_patiently(api: &Api, body: Body) -> Result<Vec<u8>, Refused> {
    let mut pieces = body.into_data_stream();
    let mut whole = Vec::new();
    while let Some(piece) = pieces.next().await {
        let piece = piece.map_err(|error| Refused::new(StatusCode::BAD_REQUEST, error.to_string()))?;
        if whole.len() + piece.len() > api.limits.body.bytes() {
            api.metrics.dropped(Reason::TooLarge);
            let message = format!("a body has at most {}: send several", api.limits.body);
            return Err(Refused::new(StatusCode::PAYLOAD_TOO_LARGE, message));
        }
        whole.extend_from_slice(&piece);
    }
    Ok(whole)
}

pub(super) fn authorize(api: &Api, headers: &HeaderMap) -> Result<(), Refused> {
    let Some(key) = &api.key else {
        let message = "publishing is closed: set [server] api_key or PREGON_API_KEY";
        return Err(Refused::new(StatusCode::FORBIDDEN, message));
    };
    match token::by_header(headers) {
        Some(given) if same_key(&given, key.reveal()) => Ok(()),
        _ => {
            api.metrics.dropped(Reason::Token);
            let message = "send the API key: Authorization: Bearer …";
            let headers = vec![("WWW-Authenticate", "Bearer".to_owned())];
            Err(Refused {
                headers,
                ..Refused::new(StatusCode::UNAUTHORIZED, message)
            })
        }
    }
}

fn parse(body: &[u8]) -> Result<Vec<Item<'_>>, String> {
    let first = body.iter().find(|byte| !byte.is_ascii_whitespace());
    let items = if first == Some(&b'[') {
        serde_json::from_slice(body)
    } else {
        serde_json::from_slice(body).map(|item| vec![item])
    };
    items.map_err(|error| format!("send {{\"channel\",\"event\",\"data\"}} or an array of them: {error}"))
}

fn idempotency_key(headers: &HeaderMap) -> Result<Option<&str>, Refused> {
    let Some(value) = headers.get("idempotency-key") else {
        return Ok(None);
    };
    match value.to_str() {
        Ok(key) if !key.is_empty() && key.len() <= KEY => Ok(Some(key)),
        _ => Err(Refused::new(
            StatusCode::BAD_REQUEST,
            "Idempotency-Key must be 1 to 255 printable characters",
        )),
    }
}

fn publication(
    item: Item<'_>,
    index: usize,
    key: Option<&str>,
    at: SystemTime,
) -> Result<Publication, Refused> {
    for (what, name) in [("channel", &item.channel), ("event", &item.event)] {
        check_name(name)
            .map_err(|message| Refused::new(StatusCode::BAD_REQUEST, format!("{what}: {message}")))?;
    }
    if is_reserved(&item.event) {
        let message = format!(
            "event: Socket.IO keeps the name `{}` for itself, choose another",
            item.event
        );
        return Err(Refused::new(StatusCode::BAD_REQUEST, message));
    }
    let data = Data::Json(bytes::Bytes::copy_from_slice(item.data.get().as_bytes()));
    Ok(Publication {
        id: key.map_or_else(EventId::unique, |key| {
            EventId::named(format!("http/{key}/{index}"))
        }),
        at,
        ..Publication::new([Arc::from(item.channel)], item.event, data)
    })
}
