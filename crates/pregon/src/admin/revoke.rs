//! `POST /admin/api/revoke`: a user's tokens of before now count no more, and the sessions that they opened end.
//!
//! The table is changed first: whoever connects from then on is refused, a session that was just being admitted finds out when it opens, and
//! those that are there are looked for and closed.

use std::sync::Arc;
use std::time::{Duration, UNIX_EPOCH};

use axum::Json;
use axum::extract::State;
use http::StatusCode;
use pregon_wire::codes;
use serde::Deserialize;
use serde_json::{Value, json};

use super::asked::Body;
use super::{Admin, Answer, Failure, time};
use crate::auth::Revoked;
use crate::auth::revoked::RevokeError;
use crate::hub::Hub;
use crate::hub::inspect::{Asked, Seen, What};
use crate::lines;

/// Longest name of a user, bytes: it is kept.
const LONGEST: usize = 1024;

/// Whom it is about.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct User {
    /// The token's `sub`.
    user: String,
}

impl User {
    fn checked(self) -> Result<String, Failure> {
        let Self { user } = self;
        match user.is_empty() || user.len() > LONGEST {
            true => Err(Failure::bad("user: the `sub` of the tokens, at most 1024 bytes")),
            false => Ok(user),
        }
    }
}

pub(super) async fn revoke(State(admin): State<Arc<Admin>>, Body(user): Body<User>) -> Answer {
    let user = user.checked()?;
    if !admin.desk.verifies() {
        let message =
            "this node verifies no tokens, so that everybody is anonymous: disconnect sessions instead";
        return Err(Failure::new(StatusCode::CONFLICT, message));
    }
    let (kept, name) = (Arc::clone(&admin.revoked), user.clone());
    let outcome = tokio::task::spawn_blocking(move || kept.revoke(&name)).await;
    let outcome = outcome.map_err(|_| Failure::new(StatusCode::INTERNAL_SERVER_ERROR, "it was given up"))?;
    // What could not be kept on the disk holds all the same.
    let unkept = match &outcome {
        Ok(_) => None,
        Err(RevokeError::Unkept(_)) => outcome.as_ref().err().map(ToString::to_string),
        Err(full) => return Err(Failure::new(StatusCode::CONFLICT, full.to_string())),
    };
    let closed = close(&admin.hub, &admin.revoked, &user).await;
    let untold = match &outcome {
        Ok(since) => admin.revoked.tell_others(&user, Some(*since)).await.err(),
        Err(_) => None,
    };
    let untold = untold.map(|error| format!("it holds on this node, but the others were not told: {error}"));
    // Who it was is a claim, which no log line holds.
    tracing::warn!(name: lines::RECORD, closed, "an operator revoked a user's tokens");
    Ok(Json(
        json!({ "user": user, "closed": closed, "warning": unkept.or(untold) }),
    ))
}

/// Ends all sessions of a user; how many.
pub(crate) async fn close(hub: &Hub, revoked: &Revoked, user: &str) -> usize {
    let asked = Asked {
        user: Some(user.to_owned()),
        ..Asked::default()
    };
    let mut closed = 0;
    let end = |seen: Seen| {
        let refused = |facts: &&crate::hub::inspect::Facts| revoked.refuses(&facts.claims);
        let places: Vec<_> = seen
            .sessions
            .iter()
            .filter(refused)
            .map(|facts| facts.place)
            .collect();
        closed += places.len();
        hub.end(&places, &codes::CLOSE_REVOKED);
        true
    };
    hub.look(What::Sessions(Arc::new(asked)), end).await;
    closed
}

pub(super) async fn restore(State(admin): State<Arc<Admin>>, Body(user): Body<User>) -> Answer {
    let user = user.checked()?;
    let (kept, name) = (Arc::clone(&admin.revoked), user.clone());
    let outcome = tokio::task::spawn_blocking(move || kept.restore(&name)).await;
    match outcome {
        Ok(Ok(true)) => {
            tracing::warn!(name: lines::RECORD, "an operator restored a user's tokens");
            let told = admin.revoked.tell_others(&user, None).await;
            told.map_err(|error| Failure::new(StatusCode::SERVICE_UNAVAILABLE, error))?;
            Ok(Json(json!({ "user": user })))
        }
        Ok(Ok(false)) => Err(Failure::new(StatusCode::NOT_FOUND, "this user is not revoked")),
        Ok(Err(error)) => Err(Failure::new(StatusCode::INTERNAL_SERVER_ERROR, error.to_string())),
        Err(_) => Err(Failure::new(StatusCode::INTERNAL_SERVER_ERROR, "it was given up")),
    }
}

/// `GET /admin/api/revoke`: who is revoked, and since when.
pub(super) async fn list(State(admin): State<Arc<Admin>>) -> Json<Value> {
    let users = admin.revoked.list().into_iter().map(|(user, at)| {
        let since = UNIX_EPOCH.checked_add(Duration::from_secs(at));
        json!({ "user": user, "since": since.map(time) })
    });
    Json(json!({ "users": users.collect::<Vec<_>>() }))
}
