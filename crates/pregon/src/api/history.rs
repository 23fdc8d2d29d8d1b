//! `GET /api/history?channel=c&since=&last=`: what a channel had, for those who may follow it. A name that stands for several channels
//! (`[[channel]] follow`) gives what those had that the claims lead to.

use std::sync::Arc;

use axum::body::Body;
use axum::extract::{Request, State};
use axum::response::{IntoResponse, Response};
use http::StatusCode;

use super::{Api, asked_channel, refuse};
use crate::log::window::{Follow, Most, Start};
use crate::log::{Entry, Past, Since};
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
    let (claims, channel) = asked_channel(api, head).await?;
    let rights = api.door.rights.load_full();
    if !rights.history(&channel) {
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
    let asked = Asked {
        channels: rights.resolve(&claims, &channel),
        since,
        newest: last.is_some(),
        most,
    };
    let read = move |past: &Past| asked.render(past);
    let answer = api.door.desk.read(read).await;
    answer.ok_or_else(|| Refused::new(StatusCode::SERVICE_UNAVAILABLE, "the node is stopping"))
}

/// What a request asks for.
struct Asked {
    channels: Vec<Arc<str>>,
    since: Option<Since>,
    /// The newest ones count, not the first.
    newest: bool,
    most: usize,
}

impl Asked {
    /// Blocks: what is asked for may lie before the window.
    fn render(&self, past: &Past) -> Vec<u8> {
        let window = past.window();
        // Read once: what is appended meanwhile belongs to the next request.
        let head = window.head();
        let (follows, mut complete) = self.follows(past);
        let from = follows.iter().map(|follow| follow.after).min().unwrap_or(head);
        // The newest ones are counted already; a gap among them must not push out the last.
        let counted = self.newest || self.since.is_none();
        let limits = Most {
            entries: if counted { usize::MAX } else { self.most },
            bytes: usize::MAX,
        };
        let mut merged = past.read_all(&follows, from, head, limits);
        complete &= merged
            .as_ref()
            .is_some_and(|merged| !merged.entries.iter().any(|entry| entry.is_gap()));
        if let Some(merged) = merged.as_mut().filter(|_| counted) {
            keep_newest(&mut merged.entries, self.most);
        }
        let merged = merged.unwrap_or_default();
        let mut out = format!("{{\"complete\":{complete},\"events\":[").into_bytes();
        for entry in &merged.entries {
            if let Some(channel) = entry
                .channels()
                .iter()
                .find(|named| self.channels.contains(named))
            {
                entry.write_event(channel, true, &mut out);
                out.push(b',');
            }
        }
        if out.last() == Some(&b',') {
            out.pop();
        }
        let last = merged.entries.last().filter(|_| !merged.complete);
        let position = window.position(last.map_or(head.max(from), |entry| entry.offset));
        out.extend_from_slice(format!("],\"position\":\"{position}\"}}").as_bytes());
        out
    }

    /// Where each channel begins, and whether all that was asked for is still there.
    fn follows(&self, past: &Past) -> (Vec<Follow<'_>>, bool) {
        let mut complete = true;
        let follow = |channel| {
            let newest = || past.before_last(channel, self.most);
            let after = match self.since.map(|since| past.start(channel, since)) {
                Some(Start::After(after)) => after,
                Some(Start::Pruned | Start::Foreign) => {
                    complete = false;
                    past.pruned(channel)
                }
                None => newest(),
            };
            let after = if self.newest { after.max(newest()) } else { after };
            Follow { channel, after }
        };
        (
            self.channels
                .iter()
                .map(|channel| &**channel)
                .map(follow)
                .collect(),
            complete,
        )
    }
}

/// Each channel gave its newest ones; of all together there may be more.
fn keep_newest(entries: &mut Vec<Arc<Entry>>, most: usize) {
    let mut left = most;
    let excess = entries.iter().rposition(|entry| {
        if entry.is_gap() {
            return false;
        }
        let full = left == 0;
        left = left.saturating_sub(1);
        full
    });
    entries.drain(..excess.map_or(0, |place| place + 1));
}
