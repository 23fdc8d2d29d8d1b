//! `GET /api/history?channel=c&since=&last=`: what a channel had, for those who may follow it.

use std::sync::Arc;

use axum::body::Body;
use axum::extract::{Request, State};
use axum::response::{IntoResponse, Response};
use http::StatusCode;

use super::{Api, asked_channel, refuse};
use crate::log::Past;
use crate::log::Since;
use crate::log::window::{Follow, Most, Start};
use crate::transport::admit::Refused;
use crate::transport::head::Head;

/// Entries of an answer where the request says nothing.
const DEFAULT: usize = 100;

pub(super) async fn history(State(api): State<Arc<Api>>, request: Request<Body>) -> Response {
    let head = Head::of(&request);
    match read(&api, &head).await {
        Ok(body) => ([(http::header::CONTENT_TYPE, "application/json")], body).into_response(),
        Err(refused) => refuse(refused),
    }
}

async fn read(api: &Api, head: &Head) -> Result<Vec<u8>, Refused> {
    let bad = |message: String| Refused::new(StatusCode::BAD_REQUEST, message);
    let (_, channel) = asked_channel(api, head).await?;
    if !api.door.rights.load().history(&channel) {
        return Err(Refused::new(
            StatusCode::FORBIDDEN,
            "this channel gives no history",
        ));
    }
    let since: Option<Since> = head
        .query_first("since")
        .map(|text| text.parse())
        .transpose()
        .map_err(|e| bad(format!("since: {e}")))?;
    let last: Option<usize> = head
        .query_first("last")
        .map(|n| n.parse())
        .transpose()
        .map_err(|_| bad("last must be a number".into()))?;
    let most = last.unwrap_or(DEFAULT).min(api.limits.history);
    let read = move |past: &Past| render(past, &channel, since, last.is_some(), most);
    let answer = api.door.desk.read(read).await;
    answer.ok_or_else(|| Refused::new(StatusCode::SERVICE_UNAVAILABLE, "the node is stopping"))
}

/// Blocks: what is asked for may lie before the window.
fn render(past: &Past, channel: &str, since: Option<Since>, newest: bool, most: usize) -> Vec<u8> {
    let window = past.window();
    // Read once: what is appended meanwhile belongs to the next request.
    let head = window.head();
    let (after, mut complete) = match since.map(|since| past.start(channel, since)) {
        Some(Start::After(after)) => (after, true),
        Some(Start::Pruned | Start::Foreign) => (past.pruned(channel), false),
        None => (past.before_last(channel, most), true),
    };
    let after = if newest {
        after.max(past.before_last(channel, most))
    } else {
        after
    };
    // The newest ones are counted already; a gap among them must not push out the last.
    let counted = newest || since.is_none();
    let limits = Most {
        entries: if counted { usize::MAX } else { most },
        bytes: usize::MAX,
    };
    let merged = past.read_all(&[Follow { channel, after }], after, head, limits);
    complete &= merged
        .as_ref()
        .is_some_and(|merged| !merged.entries.iter().any(|entry| entry.is_gap()));
    let merged = merged.unwrap_or_default();
    let mut out = format!("{{\"complete\":{complete},\"events\":[").into_bytes();
    for entry in &merged.entries {
        if !entry.is_gap() {
            entry.write_event(channel, true, &mut out);
            out.push(b',');
        }
    }
    if out.last() == Some(&b',') {
        out.pop();
    }
    let last = merged
        .entries
        .last()
        .filter(|_| !merged.complete)
        .map(|entry| entry.offset);
    let position = window.position(last.unwrap_or_else(|| head.max(after)));
    out.extend_from_slice(format!("],\"position\":\"{position}\"}}").as_bytes());
    out
}
