//! `POST /api/unsubscribe`: the application takes a channel from a user, whose other channels and sessions go on.

use std::sync::Arc;

use axum::body::Body;
use axum::extract::{Request, State};
use axum::response::{IntoResponse, Response};
use http::StatusCode;
use serde::Deserialize;

use super::publish::{authorize, read};
use super::{Api, refuse};
use crate::session::decide::check_name;
use crate::transport::refused::Refused;

/// From whom which channel is taken.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Asked {
    /// The `sub` of the user's tokens.
    user: String,
    channel: String,
}

/// Answers with the number of sessions that followed the channel. Whoever still has the right may subscribe again.
pub(super) async fn unsubscribe(State(api): State<Arc<Api>>, request: Request<Body>) -> Response {
    match asked(&api, request).await {
        Ok(Asked { user, channel }) => {
            let ended = api.hub.unsubscribe(&user, &channel).await;
            axum::Json(serde_json::json!({ "ended": ended })).into_response()
        }
        Err(refused) => refuse(refused),
    }
}

async fn asked(api: &Api, request: Request<Body>) -> Result<Asked, Refused> {
    let bad = |message: String| Refused::new(StatusCode::BAD_REQUEST, message);
    let (head, body) = request.into_parts();
    authorize(api, &head.headers)?;
    let body = read(api, body).await?;
    let asked: Asked = serde_json::from_slice(&body)
        .map_err(|error| bad(format!("send {{\"user\",\"channel\"}}: {error}")))?;
    check_name(&asked.channel).map_err(|message| bad(format!("channel: {message}")))?;
    if asked.user.is_empty() {
        return Err(bad("user: the `sub` of the tokens".into()));
    }
    Ok(asked)
}
