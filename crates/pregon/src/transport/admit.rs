//! Who may open a stream: finds and verifies the token, checks the origin, the rights and the endpoint, and says how the
//! request is answered. Everything slow about a connection happens here, on the runtime, before a shard sees it.

use std::sync::Arc;

use http::{Method, StatusCode};
use pregon_wire::engineio::{self, Query, Refusal};
use pregon_wire::ws::handshake;

use super::head::Head;
use super::origin::Origins;
use super::refused::Refused;
use super::session::session;
use crate::auth::token::{self, Via};
use crate::auth::{Claims, Verifier};
use crate::config::{self, Config};
use crate::desk::Desk;
use crate::hub::codec::bare::Rooms;
use crate::hub::codec::socketio::sid::Sid;
use crate::hub::{App, Codec, Opening, Variant};
use crate::log::Since;
use crate::log::position::BadPosition;
use crate::metrics::{Metrics, Reason};
use crate::route::grant::{ByClaims, Rights};
use crate::route::naming::Ambiguous;
use crate::route::template::Template;
use crate::session::decide::check_name;
use crate::session::replay::StartAt;
use crate::standby::Standby;

/// A path that is bound to channels.
pub(crate) struct Endpoint {
    needs_token: bool,
    /// Whether clients may come back without a position.
    resume: bool,
    /// What it grants, as its connections keep it.
    rooms: Arc<Rooms>,
}

/// What admission looks at; built once.
pub(crate) struct Admission {
    pub auth: config::Auth,
    pub verifier: Arc<Verifier>,
    pub rights: Arc<arc_swap::ArcSwap<Rights>>,
    pub origins: Origins,
    pub endpoints: hashbrown::HashMap<String, Endpoint>,
    /// Path of the full protocol.
    pub path: String,
    pub sse: bool,
    /// Path of the clients of Centrifugo.
    pub centrifuge: Option<String>,
    /// Path of Socket.IO, without a slash at its end.
    pub socketio: Option<String>,
    /// Whether `/echo` is served: for conformance suites only.
    pub echo: bool,
    pub desk: Arc<Desk>,
    pub metrics: Arc<Metrics>,
    pub limits: config::Limits,
    pub standby: Standby,
}

/// Which stream a path opens.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Stream {
    Bare,
    Plain,
    Sse,
    /// Engine.IO over a WebSocket.
    Engine(App),
    Centrifuge,
    /// Echoes what comes: for conformance suites.
    Echo,
}

/// A stream that may open.
pub(crate) struct Admitted {
    /// Head of the response.
    pub response: http::response::Builder,
    pub opening: Opening,
    /// The rights that its channels were granted by, where they were.
    pub by: Option<Arc<Rights>>,
    /// The session that a WebSocket wants to take over.
    pub probe: Option<Sid>,
}

impl Admitted {
    fn new(response: http::response::Builder, variant: Variant) -> Self {
        Self {
            response,
            opening: Opening::new(variant),
            by: None,
            probe: None,
        }
    }
}

impl Admission {
    /// The paths of the configuration. Fails only on templates that `check` would have named.
    pub(crate) fn endpoints(config: &Config) -> anyhow::Result<hashbrown::HashMap<String, Endpoint>> {
        let mut endpoints = hashbrown::HashMap::new();
        for endpoint in &config.endpoint {
            let own = endpoint
                .channels
                .iter()
                .map(|text| Template::parse(text))
                .collect::<Result<_, _>>()?;
            let needs_token = match endpoint.token {
                Some(rule) => rule == config::TokenRule::Required,
                None => config.auth.required(),
            };
            let channel = endpoint.rooms.as_deref().map(Template::parse).transpose()?;
            let rooms = Arc::new(Rooms { channel, own });
            let resume = endpoint.resume;
            let built = Endpoint {
                needs_token,
                resume,
                rooms,
            };
            endpoints.insert(endpoint.path.clone(), built);
        }
        Ok(endpoints)
    }

    /// Which stream the path opens, if any.
    pub(crate) fn stream(&self, head: &Head) -> Option<Stream> {
        if head.method != Method::GET {
            return None;
        }
        match head.path.as_str() {
            path if self.endpoints.contains_key(path) => Some(Stream::Bare),
            path if path == self.path => Some(Stream::Plain),
            "/sse" if self.sse => Some(Stream::Sse),
            path if self.centrifuge.as_deref() == Some(path) => Some(Stream::Centrifuge),
            "/echo" if self.echo => Some(Stream::Echo),
            path => {
                let app = self.engine(path)?;
                // Polls are for the HTTP library.
                head.header("upgrade").map(|_| Stream::Engine(app))
            }
        }
    }

    /// What stands above Engine.IO on a path, if that is spoken there.
    pub(crate) fn engine(&self, path: &str) -> Option<App> {
        let path = path.strip_suffix('/').unwrap_or(path);
        if self.socketio.as_deref() == Some(path) {
            return Some(App::SocketIo);
        }
        (self.echo && path == "/engine.io").then_some(App::Echo)
    }

    /// Decides on a request for a stream.
    pub(crate) async fn admit(&self, stream: Stream, head: &Head) -> Result<Admitted, Refused> {
        self.away()?;
        let admitted = match stream {
            Stream::Bare => self.bare(head).await,
            Stream::Plain => self.plain(head).await,
            Stream::Sse => self.sse(head).await,
            Stream::Engine(app) => self.engine_socket(app, head).await,
            Stream::Centrifuge => self.centrifuge(head).await,
            Stream::Echo => Self::websocket(head, Codec::Echo),
        }?;
        let window = self.desk.past().window();
        if let Some(position) = admitted.opening.from.ahead(window) {
            window.reach(position).await;
        }
        Ok(admitted)
    }

    /// A WebSocket of Engine.IO: a session of its own, or one that takes over from polling.
    async fn engine_socket(&self, app: App, head: &Head) -> Result<Admitted, Refused> {
        let query = Query::parse(head.query.as_deref().unwrap_or_default()).map_err(Refused::engine)?;
        let Some(sid) = &query.sid else {
            query
                .begins(head.method.as_str(), true)
                .map_err(Refused::engine)?;
            let mut admitted = Self::websocket(head, Codec::Engine)?;
            admitted.opening.engine = Some((app, self.handshake(head).await?));
            return Ok(admitted);
        };
        let sid = sid.parse().map_err(|_| Refused::engine(Refusal::UnknownSid))?;
        query
            .continues(engineio::Transport::Polling, true)
            .map_err(Refused::engine)?;
        let mut admitted = Self::websocket(head, Codec::Probe)?;
        admitted.probe = Some(sid);
        Ok(admitted)
    }

    /// What the token of an Engine.IO request says: a bad one is told when the client connects, where it can hear it.
    pub(crate) async fn handshake(&self, head: &Head) -> Result<Result<Claims, String>, Refused> {
        match self.claims(head, false).await {
            Ok(claims) => Ok(Ok(claims.unwrap_or_default())),
            Err(refused) if refused.status == StatusCode::UNAUTHORIZED => Ok(Err(refused.message)),
            Err(_) => Err(Refused::engine(Refusal::Forbidden)),
        }
    }

    async fn bare(&self, head: &Head) -> Result<Admitted, Refused> {
        let Some(endpoint) = self.endpoints.get(&head.path) else {
            return Err(Refused::new(StatusCode::NOT_FOUND, "no such endpoint"));
        };
        let mut admitted = Self::websocket(head, Codec::Bare)?;
        if endpoint.resume {
            admitted.opening.returning = session(head)?;
        }
        admitted.opening.claims = self.claims(head, endpoint.needs_token).await?.unwrap_or_default();
        let (rooms, rights) = (&endpoint.rooms, self.rights.load_full());
        admitted.opening.channels = self.whole(rights.name(&rooms.own, &admitted.opening.claims))?;
        admitted.by = Some(rights);
        admitted.opening.rooms = Some(Arc::clone(rooms));
        if rooms.channel.is_some() {
            admitted.opening.joins = asked_rooms(head);
        } else if admitted.opening.channels.is_empty() && !rooms.own.is_empty() {
            self.metrics.dropped(Reason::Forbidden);
            return Err(Refused::new(
                StatusCode::FORBIDDEN,
                "the token's claims give no channel of this endpoint",
            ));
        }
        Ok(admitted)
    }

    async fn plain(&self, head: &Head) -> Result<Admitted, Refused> {
        let mut admitted = Self::websocket(head, Codec::Plain)?;
        let claims = self.claims(head, false).await?;
        // Without a token the first message may bring one; until then nothing else is heard.
        admitted.opening.must_authenticate = claims.is_none() && self.auth.required();
        admitted.opening.claims = claims.unwrap_or_default();
        admitted.opening.joined = !admitted.opening.must_authenticate;
        admitted.opening.from = from(head)?;
        admitted.opening.returning = session(head)?;
        Ok(admitted)
    }

    /// A client of Centrifugo. Its first command says who it is; until then nothing else is heard.
    async fn centrifuge(&self, head: &Head) -> Result<Admitted, Refused> {
        let offered = head.list("sec-websocket-protocol").unwrap_or_default();
        let asks = |key: &str| head.query_first(key).as_deref() == Some("protobuf");
        if offered.contains("centrifuge-protobuf") || asks("format") || asks("cf_protocol") {
            let message = "only JSON is spoken here: connect without the protobuf protocol";
            return Err(Refused::new(StatusCode::BAD_REQUEST, message));
        }
        let mut admitted = Self::websocket(head, Codec::Centrifuge)?;
        admitted.opening.claims = self.claims(head, false).await?.unwrap_or_default();
        admitted.opening.must_authenticate = true;
        Ok(admitted)
    }

    async fn sse(&self, head: &Head) -> Result<Admitted, Refused> {
        if head.header("last-event-id") == Some("stop") {
            // The stream ended for good; 204 is how an `EventSource` is told (WHATWG HTML §9.2).
            return Err(Refused::new(StatusCode::NO_CONTENT, ""));
        }
        let variant = match head.query_first("format").as_deref() {
            None => Variant::new(Codec::Sse, false),
            Some("protocol") => Variant::events(),
            Some("ndjson") => Variant::lines(),
            Some(_) => {
                return Err(Refused::new(
                    StatusCode::BAD_REQUEST,
                    "format: only protocol and ndjson are known",
                ));
            }
        };
        let claims = self.claims(head, self.auth.required()).await?.unwrap_or_default();
        let asked = names(head.query_all("channel").into_iter().map(Arc::from).collect());
        let rights = self.rights.load_full();
        let channels = if asked.is_empty() {
            self.whole(rights.join(&claims))?
        } else {
            let mut channels = Vec::new();
            for name in &asked {
                channels.extend(self.whole(rights.resolve(&claims, name))?);
            }
            names(channels)
        };
        let checked = if asked.is_empty() { &channels } else { &asked };
        self.check_channels(&rights, &claims, checked).await?;
        let mut response = http::Response::builder()
            .status(StatusCode::OK)
            .header("Content-Type", variant.content_type())
            .header("Cache-Control", "no-store")
            .header("X-Accel-Buffering", "no");
        for (name, value) in self.origins.cors(head.header("origin")) {
            response = response.header(name, value);
        }
        Ok(Admitted {
            opening: Opening {
                claims,
                channels,
                from: from(head)?,
                ..Opening::new(variant)
            },
            by: Some(rights),
            ..Admitted::new(response, variant)
        })
    }

    async fn check_channels(
        &self,
        rights: &Rights,
        claims: &Claims,
        channels: &[Arc<str>],
    ) -> Result<(), Refused> {
        if channels.is_empty() {
            return Err(Refused::new(
                StatusCode::BAD_REQUEST,
                "name the channels: /sse?channel=a&channel=b",
            ));
        }
        if channels.len() > self.limits.subscriptions {
            self.metrics.dropped(Reason::Subscriptions);
            return Err(Refused::new(
                StatusCode::BAD_REQUEST,
                "too many channels in one stream",
            ));
        }
        for channel in channels {
            check_name(channel).map_err(|message| Refused::new(StatusCode::BAD_REQUEST, message))?;
            self.may_follow(rights, claims, channel).await?;
        }
        Ok(())
    }

    /// Whether claims may follow a channel, asking the database where the rights say so.
    pub(crate) async fn may_follow(
        &self,
        rights: &Rights,
        claims: &Claims,
        channel: &str,
    ) -> Result<(), Refused> {
        let decision = rights.subscribe(claims, channel);
        let allowed = self.desk.decide(decision).await;
        let allowed = allowed.map_err(|message| Refused::new(StatusCode::SERVICE_UNAVAILABLE, message))?;
        if allowed {
            return Ok(());
        }
        self.metrics.dropped(Reason::Forbidden);
        let message = format!("forbidden: the rights of channel {channel} do not include you");
        let body = serde_json::json!({ "error": "forbidden", "message": message, "channel": channel });
        Err(Refused {
            body: Some(body.to_string().into()),
            ..Refused::new(StatusCode::FORBIDDEN, message)
        })
    }

    /// The channels that claims name, if they may use every one of these names: what is asked for here has no words for one of several.
    pub(crate) fn whole(&self, named: ByClaims) -> Result<Vec<Arc<str>>, Refused> {
        let Some(message) = named.ambiguous.first().map(Ambiguous::refusal) else {
            return Ok(named.channels);
        };
        self.desk.ambiguous(&named.ambiguous);
        let body = serde_json::json!({ "error": "forbidden", "message": message });
        Err(Refused {
            body: Some(body.to_string().into()),
            ..Refused::new(StatusCode::FORBIDDEN, message)
        })
    }

    /// The claims of the request's token, `None` without one.
    pub(crate) async fn claims(&self, head: &Head, required: bool) -> Result<Option<Claims>, Refused> {
        let Some((token, via)) = token::find(head.query.as_deref(), &head.headers, &self.auth) else {
            if required {
                self.metrics.dropped(Reason::Token);
                return Err(unauthorized(
                    "a token is needed: ?token=…, Authorization: Bearer … or a subprotocol token.…",
                ));
            }
            return Ok(None);
        };
        if via == Via::Cookie && !self.origins.allows(head.header("origin")) {
            self.metrics.dropped(Reason::Forbidden);
            let message = "a cookie counts only from an allowed origin: add it to [server] origins";
            return Err(Refused::new(StatusCode::FORBIDDEN, message));
        }
        if !self.auth.configured() {
            // Nothing to verify against: the token says nothing, so its bearer is anonymous.
            return Ok(None);
        }
        match self.verifier.verify(token.reveal()).await {
            Ok(claims) => Ok(Some(claims)),
            Err(error) => {
                self.metrics.dropped(Reason::Token);
                Err(unauthorized(&error.to_string()))
            }
        }
    }

    fn websocket(head: &Head, codec: Codec) -> Result<Admitted, Refused> {
        let key = head.header("sec-websocket-key");
        let (upgrade, connection) = (head.list("upgrade"), head.list("connection"));
        handshake::validate(
            upgrade.as_deref(),
            connection.as_deref(),
            head.header("sec-websocket-version"),
            key,
        )
        .map_err(not_a_websocket)?;
        let deflate = handshake::negotiate_deflate(head.list("sec-websocket-extensions").as_deref());
        let offered = head.list("sec-websocket-protocol").unwrap_or_default();
        // The entry that carries a token is never chosen: it would come back in clear in the answer.
        let spoken = |name: &&str| matches!(*name, "pregon" | "centrifuge-json");
        let subprotocol = offered.split(',').map(str::trim).find(spoken);
        let response = http::Response::builder().status(StatusCode::SWITCHING_PROTOCOLS);
        let answer = handshake::response(key.unwrap_or_default(), subprotocol, deflate);
        let response = copy_headers(&answer, response);
        Ok(Admitted::new(response, Variant::new(codec, deflate.is_some())))
    }
}

fn not_a_websocket(error: handshake::HandshakeError) -> Refused {
    let status = StatusCode::from_u16(error.status()).unwrap_or(StatusCode::BAD_REQUEST);
    let headers = error
        .headers()
        .iter()
        .map(|(name, value)| (*name, (*value).to_owned()))
        .collect();
    Refused {
        headers,
        ..Refused::new(status, error.to_string())
    }
}

fn unauthorized(message: &str) -> Refused {
    let headers = vec![("WWW-Authenticate", "Bearer".to_owned())];
    Refused {
        headers,
        ..Refused::new(StatusCode::UNAUTHORIZED, message)
    }
}

/// `?rooms=a,b`, as often as it is there.
fn asked_rooms(head: &Head) -> Vec<String> {
    let lists = head.query_all("rooms");
    let rooms = lists.iter().flat_map(|list| list.split(','));
    rooms
        .map(str::trim)
        .filter(|room| !room.is_empty())
        .map(str::to_owned)
        .collect()
}

/// Each name once.
fn names(names: Vec<Arc<str>>) -> Vec<Arc<str>> {
    let mut channels: Vec<Arc<str>> = Vec::with_capacity(names.len());
    for name in names {
        if !channels.contains(&name) {
            channels.push(name);
        }
    }
    channels
}

/// Where the stream begins: what an `EventSource` sends back by itself, otherwise what the page asked for.
fn from(head: &Head) -> Result<StartAt, Refused> {
    let bad = |message: String| Refused::new(StatusCode::BAD_REQUEST, message);
    if let Some(id) = head.header("last-event-id").filter(|id| !id.is_empty()) {
        // The browser repeats the last id that it saw, of whatever served this path before: a refusal would end the stream for
        // good, so that an id which is not ours is a place of which we know nothing.
        return Ok(StartAt::Since(id.parse().map_or(Since::Foreign, Since::Position)));
    }
    let since = head
        .query_first("since")
        .or_else(|| head.query_first("lastEventId"));
    if let Some(since) = since {
        return since
            .parse()
            .map(StartAt::Since)
            .map_err(|error: BadPosition| bad(error.to_string()));
    }
    match head.query_first("last").map(|n| n.parse()) {
        Some(Ok(n)) => Ok(StartAt::Last(n)),
        Some(Err(_)) => Err(bad("last must be a number".into())),
        None => Ok(StartAt::Now),
    }
}

/// The header lines of a rendered head, for whoever writes the response.
fn copy_headers(head: &[u8], mut response: http::response::Builder) -> http::response::Builder {
    let mut lines = [httparse::EMPTY_HEADER; 16];
    let mut parsed = httparse::Response::new(&mut lines);
    if parsed.parse(head).is_ok_and(|status| status.is_complete()) {
        for line in parsed.headers.iter() {
            response = response.header(line.name, line.value);
        }
    }
    response
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use crate::log::{Epoch, Position};

    fn asked(query: &str, last_event_id: Option<&str>) -> Result<StartAt, StatusCode> {
        let mut request = http::Request::get(format!("/sse?{query}"));
        if let Some(id) = last_event_id {
            request = request.header("Last-Event-ID", id);
        }
        from(&Head::of(&request.body(()).unwrap())).map_err(|refused| refused.status)
    }

    /// A refusal would end an `EventSource` for good, for an id that it sends by itself.
    #[test]
    fn an_id_that_is_not_ours_is_a_foreign_place_and_a_wrong_question_is_refused() {
        let position = Position {
            epoch: Epoch(1),
            offset: 7,
        };
        let resumed = Ok(StartAt::Since(Since::Position(position)));
        let foreign = Ok(StartAt::Since(Since::Foreign));
        assert_eq!(asked("since=00000002-1", Some("00000001-7")), resumed);
        assert_eq!(asked("since=00000001-7", Some("1722")), foreign);
        assert_eq!(asked("", Some("5m")), foreign, "a period is no id");
        assert_eq!(asked("since=00000001-7", Some("")), resumed);
        assert_eq!(asked("since=1722", None), Err(StatusCode::BAD_REQUEST));
        assert_eq!(asked("last=x", None), Err(StatusCode::BAD_REQUEST));
        assert_eq!(asked("last=2", None), Ok(StartAt::Last(2)));
        assert_eq!(asked("", None), Ok(StartAt::Now));
    }
}
