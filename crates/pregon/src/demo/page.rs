//! The demo's page and the little that it asks for: the statements as SSE, the time, and one more row.

use std::convert::Infallible;
use std::sync::Arc;

use axum::Router;
use axum::extract::{Path, State};
use axum::http::{HeaderMap, StatusCode, header};
use axum::response::Html;
use axum::response::sse::{Event, KeepAlive, Sse};
use axum::routing::{get, post};
use futures_util::Stream;
use serde::Serialize;
use tokio::sync::broadcast::error::RecvError;

use super::Running;
use super::example::Wire;
use super::traffic::{Traffic, now};

/// Where the page's own facts go in.
const PLACE: &str = "/*FEEDS*/[]";

/// One feed, as the page's script gets it.
#[derive(Debug, Serialize)]
pub(super) struct Feed {
    name: &'static str,
    /// The WebSocket to open.
    url: String,
    key: &'static str,
    /// What else Socket.IO needs.
    #[serde(skip_serializing_if = "Option::is_none")]
    socketio: Option<SocketIo>,
    /// What a person may type to make an event: psql or redis-cli with its address.
    shell: String,
}

#[derive(Debug, Serialize)]
struct SocketIo {
    token: String,
    rooms: &'static [&'static str],
    event: &'static str,
}

pub(super) fn feed(running: &Running<'_>) -> Feed {
    let example = running.example;
    let token = running.token.clone().unwrap_or_default();
    let (query, socketio) = match example.wire {
        Wire::SocketIo { rooms, event } => (
            "?EIO=4&transport=websocket".to_owned(),
            Some(SocketIo { token, rooms, event }),
        ),
        Wire::Bare(_) if token.is_empty() => (String::new(), None),
        Wire::Bare(_) => (format!("?token={token}"), None),
    };
    Feed {
        name: example.name,
        url: running.gateway.ws_url(&format!("{}{query}", example.wire.path())),
        key: example.key,
        socketio,
        shell: running.shell(),
    }
}

pub(super) fn router(feeds: &[Feed], traffic: Traffic) -> Router {
    // `<` cannot end the script element when it is written as an escape.
    let facts = serde_json::to_string(feeds)
        .unwrap_or_default()
        .replace('<', "\\u003c");
    let html: Arc<str> = include_str!("page.html").replace(PLACE, &facts).into();
    Router::new()
        .route("/", get(move || async move { Html(html.to_string()) }))
        .route("/statements", get(statements))
        .route("/now", get(|| async { now().to_string() }))
        .route("/insert/{example}", post(insert))
        .with_state(traffic)
}

async fn insert(
    State(traffic): State<Traffic>,
    Path(example): Path<String>,
    headers: HeaderMap,
) -> (StatusCode, String) {
    if !is_own(&headers) {
        return (
            StatusCode::FORBIDDEN,
            "only the demo's own page may do that\n".into(),
        );
    }
    if !traffic.names().contains(&example.as_str()) {
        return (StatusCode::NOT_FOUND, format!("no example {example}\n"));
    }
    match traffic.one_more(&example).await {
        Ok(()) => (StatusCode::NO_CONTENT, String::new()),
        Err(error) => (StatusCode::SERVICE_UNAVAILABLE, format!("{error:#}")),
    }
}

/// Whether a request comes from this page or from no page at all: any site that the user visits can send one here.
fn is_own(headers: &HeaderMap) -> bool {
    let Some(origin) = headers.get(header::ORIGIN) else {
        return true;
    };
    let authority = origin.to_str().ok().and_then(|origin| origin.split_once("://"));
    match (authority, headers.get(header::HOST)) {
        (Some((_, authority)), Some(host)) => authority.as_bytes().eq_ignore_ascii_case(host.as_bytes()),
        _ => false,
    }
}

async fn statements(State(traffic): State<Traffic>) -> Sse<impl Stream<Item = Result<Event, Infallible>>> {
    let stream = futures_util::stream::unfold(traffic.statements(), |mut statements| async move {
        loop {
            match statements.recv().await {
                Ok(statement) => {
                    let event = Event::default().json_data(&*statement).unwrap_or_default();
                    return Some((Ok(event), statements));
                }
                Err(RecvError::Lagged(_)) => {}
                Err(RecvError::Closed) => return None,
            }
        }
    });
    Sse::new(stream).keep_alive(KeepAlive::default())
}
