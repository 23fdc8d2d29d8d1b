//! `GET /admin/api/sessions`: who is connected, who is slow, who has gone and why; `POST /admin/api/disconnect` ends one.

use std::sync::Arc;

use axum::Json;
use axum::extract::State;
use http::StatusCode;
use pregon_wire::codes;
use serde::Deserialize;
use serde_json::{Value, json};

use super::asked::{Body, Params};
use super::{Admin, Answer, Failure, time};
use crate::hub::closed::ClosedSession;
use crate::hub::conn::ConnectionState;
use crate::hub::inspect::{Asked, Behind, Facts, What};
use crate::lines;

/// Sessions of an answer, unless fewer are asked for.
const MOST: usize = 200;

/// Which are asked for.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Question {
    user: Option<String>,
    session: Option<String>,
    channel: Option<String>,
    /// `live` (default), `slow` or `closed`.
    state: Option<String>,
    limit: Option<usize>,
}

pub(super) async fn sessions(State(admin): State<Arc<Admin>>, Params(question): Params<Question>) -> Answer {
    let most = question.limit.unwrap_or(MOST).clamp(1, MOST);
    let behind = match question.state.as_deref() {
        None | Some("live") => false,
        Some("slow") => true,
        Some("closed") => return Ok(Json(closed(&admin, &question, most))),
        Some(_) => return Err(Failure::bad("state: live, slow or closed")),
    };
    let asked = Asked {
        user: question.user,
        session: question.session,
        channel: question.channel,
        behind,
        entry: None,
    };
    let (found, complete) = find(&admin, asked, most).await;
    let list: Vec<Value> = found.iter().map(facts).collect();
    Ok(Json(json!({ "sessions": list, "complete": complete })))
}

/// The sessions that are meant, at most `most`, and whether these are all.
pub(super) async fn find(admin: &Admin, asked: Asked, most: usize) -> (Vec<Facts>, bool) {
    let mut found = Vec::new();
    let take = |seen: crate::hub::inspect::Seen| {
        found.extend(seen.sessions);
        found.len() <= most
    };
    admin.hub.look(What::Sessions(Arc::new(asked)), take).await;
    let complete = found.len() <= most;
    found.truncate(most);
    (found, complete)
}

/// A session as JSON. Of its claims only the user is told.
pub(super) fn facts(facts: &Facts) -> Value {
    let channels: Vec<&str> = facts.channels.iter().map(|name| &**name).collect();
    json!({
        "session": facts.session,
        "user": facts.claims.subject(),
        "transport": facts.transport.as_str(),
        "address": facts.address,
        "opened": time(facts.opened),
        "state": state(facts),
        "channels": channels,
        "followed": facts.followed,
        "behind": facts.behind.as_ref().map(behind),
    })
}

fn state(facts: &Facts) -> &'static str {
    match (facts.state, &facts.behind) {
        (ConnectionState::AwaitingToken(_), _) => "without_token",
        (ConnectionState::Closing { .. }, _) => "closing",
        (ConnectionState::Open, None) => "live",
        (ConnectionState::Open, Some(behind)) if behind.blocked => "slow",
        (ConnectionState::Open, Some(_)) => "catching_up",
    }
}

fn behind(behind: &Behind) -> Value {
    json!({
        "queued": behind.queued,
        "lag": behind.lag,
        "replays": behind.replays,
        "blocked": behind.blocked,
        "progress": time(behind.progress),
    })
}

fn closed(admin: &Admin, question: &Question, most: usize) -> Value {
    let list = admin.closed.list();
    let meant = |closed: &&Arc<ClosedSession>| {
        let follows = |channel: &String| closed.channels.iter().any(|(name, _)| **name == **channel);
        question
            .user
            .as_ref()
            .is_none_or(|user| closed.user.as_ref() == Some(user))
            && question
                .session
                .as_ref()
                .is_none_or(|session| closed.session == *session)
            && question.channel.as_ref().is_none_or(follows)
    };
    let found: Vec<Value> = list.iter().filter(meant).take(most).map(|c| ended(c)).collect();
    json!({ "sessions": found, "complete": true })
}

/// A session that has ended, as JSON.
pub(super) fn ended(closed: &ClosedSession) -> Value {
    let (reason, help) = closed.reason();
    let channels: Vec<&str> = closed.channels.iter().map(|(name, _)| &**name).collect();
    json!({
        "session": closed.session,
        "user": closed.user,
        "transport": closed.transport.as_str(),
        "opened": time(closed.opened),
        "closed": time(closed.closed),
        "code": closed.code,
        "reason": reason,
        "help": help,
        "channels": channels,
        "followed": closed.followed,
    })
}

/// Which session shall end.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Disconnect {
    session: String,
}

pub(super) async fn disconnect(
    State(admin): State<Arc<Admin>>,
    Body(Disconnect { session }): Body<Disconnect>,
) -> Answer {
    let asked = Asked {
        session: Some(session),
        ..Asked::default()
    };
    let (found, _) = find(&admin, asked, 1).await;
    let Some(facts) = found.first() else {
        let message = "no such session is connected to this node";
        return Err(Failure::new(StatusCode::NOT_FOUND, message));
    };
    admin.hub.end(&[facts.place], &codes::CLOSE_DISCONNECTED);
    tracing::info!(name: lines::RECORD, session = facts.session, "an operator ends a session");
    Ok(Json(
        json!({ "closed": facts.session, "code": codes::CLOSE_DISCONNECTED.number }),
    ))
}
