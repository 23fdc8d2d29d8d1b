//! What the demo serves: the built pages, the facts that they ask for, statements as SSE, deeds, and the killing of parts.
//!
//! The pages' own server may do what no gateway would: hand out tokens, write rows, kill. So it listens on this machine only, answers to
//! no other name (a foreign one that leads here would be another site in the browser's eyes), and takes orders from its own pages only.

use std::convert::Infallible;
use std::sync::Arc;
use std::time::Duration;

use axum::body::Bytes;
use axum::extract::{DefaultBodyLimit, Path, Query, Request, State};
use axum::http::{HeaderMap, StatusCode, header};
use axum::middleware::{Next, from_fn};
use axum::response::sse::{Event, KeepAlive, Sse};
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post};
use axum::{Json, Router};
use futures_util::Stream;
use serde::Deserialize;
use serde_json::Value;
use tokio::sync::{broadcast, watch};
use tokio_util::task::TaskTracker;

use super::facts::Facts;
use super::files;
use super::report;
use super::statements::{Following, Statement, Statements, now};
use super::traffic::{Refused, Traffic};
use super::victims::{Away, NotKilled, Victim, Victims};

/// Largest body of a deed: a few fields.
const BODY: usize = 16 * 1024;
/// Pause between words to a strip that nothing happens for.
const KEEP_ALIVE: Duration = Duration::from_secs(15);

/// What the handlers need.
#[derive(Debug, Clone)]
pub(super) struct Demo {
    pub(super) facts: Arc<[Facts]>,
    pub(super) traffic: Traffic,
    pub(super) statements: Statements,
    pub(super) victims: Arc<Victims>,
    /// Where kills run, which a page that closes must not stop half-way.
    pub(super) kills: TaskTracker,
}

pub(super) fn router(demo: Demo) -> Router {
    Router::new()
        .route("/demo.json", get(all_facts))
        .route("/demo/now", get(|| async { now().to_string() }))
        .route("/demo/strip", get(strip_of_all))
        .route("/demo/{file}", get(facts))
        .route("/demo/{example}/strip", get(strip))
        .route("/demo/{example}/deed/{kind}", post(deed))
        .route("/demo/marketplace/graphql", post(report::answer))
        .route("/demo/kill/{victim}", post(kill))
        .fallback(get(files::serve))
        .layer(DefaultBodyLimit::max(BODY))
        .layer(from_fn(only_here))
        .with_state(demo)
}

/// Refuses other names than this machine's, and orders from other sites.
async fn only_here(request: Request, next: Next) -> Response {
    let headers = request.headers();
    let host = headers.get(header::HOST).and_then(|host| host.to_str().ok());
    if !host.is_some_and(is_this_machine) {
        let say = "the demo answers to localhost and 127.0.0.1 only\n";
        return (StatusCode::MISDIRECTED_REQUEST, say).into_response();
    }
    if request.method() == axum::http::Method::POST && !is_own(headers) {
        let say = "only the demo's own page may do that\n";
        return (StatusCode::FORBIDDEN, say).into_response();
    }
    next.run(request).await
}

fn is_this_machine(authority: &str) -> bool {
    let name = authority
        .rsplit_once(':')
        .filter(|(_, port)| port.bytes().all(|byte| byte.is_ascii_digit()))
        .map_or(authority, |(name, _)| name);
    ["localhost", "127.0.0.1", "[::1]"]
        .iter()
        .any(|own| name.eq_ignore_ascii_case(own))
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

async fn all_facts(State(demo): State<Demo>) -> Response {
    Json(&*demo.facts).into_response()
}

async fn facts(State(demo): State<Demo>, Path(file): Path<String>) -> Response {
    let name = file.strip_suffix(".json");
    match demo.facts.iter().find(|facts| Some(facts.name) == name) {
        Some(facts) => Json(facts).into_response(),
        None => (StatusCode::NOT_FOUND, format!("no example {file}\n")).into_response(),
    }
}

async fn deed(
    State(demo): State<Demo>,
    Path((example, kind)): Path<(String, String)>,
    body: Bytes,
) -> Response {
    let body = match body.as_ref() {
        [] => Ok(Value::Object(serde_json::Map::new())),
        text => serde_json::from_slice(text),
    };
    let done = match &body {
        Ok(body) => demo.traffic.happen(&example, Some(&kind), body).await,
        Err(error) => Err(Refused::Asked(anyhow::anyhow!("the body is not JSON: {error}"))),
    };
    let Err(refused) = done else {
        return StatusCode::NO_CONTENT.into_response();
    };
    let status = match refused {
        Refused::Example(_) | Refused::Deed(_) => StatusCode::NOT_FOUND,
        Refused::Asked(_) => StatusCode::BAD_REQUEST,
        Refused::Done(_) => StatusCode::SERVICE_UNAVAILABLE,
    };
    (status, format!("{refused}\n")).into_response()
}

#[derive(Debug, Deserialize)]
struct Which {
    #[serde(default)]
    example: String,
}

/// Answers when the part is back.
async fn kill(State(demo): State<Demo>, Path(victim): Path<Victim>, Query(which): Query<Which>) -> Response {
    let victims = Arc::clone(&demo.victims);
    let killed = demo
        .kills
        .spawn(async move { victims.kill(victim, &which.example).await });
    let status = match killed.await {
        Ok(Ok(())) => return StatusCode::NO_CONTENT.into_response(),
        Ok(Err(NotKilled::Unknown)) => (StatusCode::NOT_FOUND, NotKilled::Unknown.to_string()),
        Ok(Err(NotKilled::Down)) => (StatusCode::CONFLICT, NotKilled::Down.to_string()),
        Ok(Err(NotKilled::Failed(error))) => (StatusCode::INTERNAL_SERVER_ERROR, format!("{error:#}")),
        Err(error) => (StatusCode::INTERNAL_SERVER_ERROR, error.to_string()),
    };
    status.into_response()
}

#[derive(Debug, Deserialize)]
struct Since {
    since: Option<u64>,
}

type Stripped = Sse<axum::response::sse::KeepAliveStream<Events>>;
type Events = std::pin::Pin<Box<dyn Stream<Item = Result<Event, Infallible>> + Send>>;

async fn strip_of_all(State(demo): State<Demo>, query: Query<Since>, headers: HeaderMap) -> Stripped {
    follow(&demo, None, query.since, &headers)
}

async fn strip(
    State(demo): State<Demo>,
    Path(example): Path<String>,
    query: Query<Since>,
    headers: HeaderMap,
) -> Stripped {
    follow(&demo, Some(example), query.since, &headers)
}

/// A browser that reconnects by itself says in a header what it has; what it says there is newer than its address.
fn follow(demo: &Demo, example: Option<String>, since: Option<u64>, headers: &HeaderMap) -> Stripped {
    let header = headers.get("last-event-id").and_then(|id| id.to_str().ok());
    let since = header.and_then(|id| id.parse().ok()).max(since);
    let following = demo.statements.follow(since);
    let begin = Event::default().event("begin").data(following.begin.to_string());
    let mut away = demo.victims.away();
    away.mark_changed();
    let strip = Strip {
        begin: Some(begin),
        following,
        away,
        example,
    };
    let events: Events = Box::pin(futures_util::stream::unfold(strip, |mut strip| async move {
        Some((Ok(strip.next().await?), strip))
    }));
    Sse::new(events).keep_alive(KeepAlive::new().interval(KEEP_ALIVE))
}

/// One page's strip.
struct Strip {
    begin: Option<Event>,
    following: Following,
    away: watch::Receiver<Away>,
    /// The only example that it is about.
    example: Option<String>,
}

impl Strip {
    async fn next(&mut self) -> Option<Event> {
        if let Some(begin) = self.begin.take() {
            return Some(begin);
        }
        loop {
            while let Some(statement) = self.following.earlier.pop_front() {
                if self.concerns(statement.example) {
                    return Some(stated(&statement));
                }
            }
            tokio::select! {
                news = self.following.news.recv() => match news {
                    Ok(statement) => self.following.earlier.push_back(statement),
                    Err(broadcast::error::RecvError::Lagged(_)) => {}
                    Err(broadcast::error::RecvError::Closed) => return None,
                },
                changed = self.away.changed() => {
                    changed.ok()?;
                    return Some(self.what_is_away());
                }
            }
        }
    }

    fn what_is_away(&mut self) -> Event {
        let away = self.away.borrow_and_update();
        let concerning = away.iter().filter(|(_, example)| {
            example.is_none_or(|example| self.example.as_deref().is_none_or(|own| own == example))
        });
        let names: Vec<&str> = concerning.map(|(victim, _)| victim.name()).collect();
        Event::default()
            .event("away")
            .json_data(names)
            .unwrap_or_default()
    }

    fn concerns(&self, example: &str) -> bool {
        self.example.as_deref().is_none_or(|own| own == example)
    }
}

fn stated(statement: &Statement) -> Event {
    let event = Event::default().id(statement.n.to_string());
    event.json_data(statement).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn other_names_are_not_this_machine() {
        for own in ["localhost:8800", "127.0.0.1:8800", "[::1]:8800", "LOCALHOST"] {
            assert!(is_this_machine(own), "{own}");
        }
        for other in [
            "evil.example:8800",
            "localhost.evil.example",
            "127.0.0.1.nip.io",
            "",
        ] {
            assert!(!is_this_machine(other), "{other}");
        }
    }
}
