//! `GET /api/presence?channel=c&since=`: who is in a channel, for those who may follow it. An answer holds a bounded page and says where the
//! next begins.

use std::sync::Arc;

use axum::body::Body;
use axum::extract::{Request, State};
use axum::response::{IntoResponse, Response};
use http::StatusCode;
use serde::Serialize;

use super::{Api, asked_channel, refuse};
use crate::session::members::Page;
use crate::transport::head::Head;
use crate::transport::refused::Refused;

/// An answer.
#[derive(Serialize)]
struct Members<'a> {
    clients: Vec<&'a str>,
    /// Behind whom the next page begins, where there is one.
    #[serde(skip_serializing_if = "Option::is_none")]
    next: Option<&'a str>,
}

pub(super) async fn presence(State(api): State<Arc<Api>>, request: Request<Body>) -> Response {
    match members(&api, &Head::of(&request)).await {
        Ok(page) => axum::Json(Members {
            clients: page.clients.iter().map(|client| &**client).collect(),
            next: page.next(),
        })
        .into_response(),
        Err(refused) => refuse(refused),
    }
}

async fn members(api: &Api, head: &Head) -> Result<Page, Refused> {
    let since = head.query_first("since");
    loop {
        let granted = asked_channel(api, head).await?;
        if !granted.rights.presence(&granted.channel) {
            let message = "this channel tells nobody who is in it";
            return Err(Refused::new(StatusCode::FORBIDDEN, message));
        }
        let members = api.hub.members(&granted.channel, since.as_deref());
        if granted.holds(api) {
            return Ok(members);
        }
    }
}
