//! `GET /api/presence?channel=c`: who is in a channel, for those who may follow it.

use std::sync::Arc;

use axum::body::Body;
use axum::extract::{Request, State};
use axum::response::{IntoResponse, Response};
use http::StatusCode;

use super::{Api, asked_channel, refuse};
use crate::transport::admit::Refused;
use crate::transport::head::Head;

pub(super) async fn presence(State(api): State<Arc<Api>>, request: Request<Body>) -> Response {
    match members(&api, &Head::of(&request)).await {
        Ok(clients) => axum::Json(serde_json::json!({ "clients": clients })).into_response(),
        Err(refused) => refuse(refused),
    }
}

async fn members(api: &Api, head: &Head) -> Result<Vec<String>, Refused> {
    loop {
        let granted = asked_channel(api, head).await?;
        if !granted.rights.presence(&granted.channel) {
            let message = "this channel tells nobody who is in it";
            return Err(Refused::new(StatusCode::FORBIDDEN, message));
        }
        let members = api.hub.members(&granted.channel);
        if granted.holds(api) {
            return Ok(members.iter().map(|client| client.to_string()).collect());
        }
    }
}
