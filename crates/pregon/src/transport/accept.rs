//! Accepts connections, reads the first request of each, and gives it to a shard or to the HTTP library.
//!
//! One task per connection until it is handed over; the accept loop owns them all. When the node drains, the loop ends
//! first, so that nobody new comes while sessions leave.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use bytes::Bytes;
use http::StatusCode;
use hyper_util::rt::TokioIo;
use hyper_util::service::TowerToHyperService;
use tokio::io::AsyncWriteExt;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Semaphore;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use tower::ServiceExt as _;

use super::admit::{Admission, Admitted, Stream};
use super::bridge::Bridge;
use super::forwarded::Proxies;
use super::head::{Head, HeadError};
use super::listener;
use super::patience::Patient;
use super::refused::Refused;
use super::rewind::Rewind;
use crate::hub::link::Link;
use crate::hub::socket::ShardSocket;
use crate::hub::{Hub, Newcomer};
use crate::limits::{Connections, Permit, Refusal};
use crate::metrics::{Metrics, Reason};

/// How long a connection may wait for its next request; the first one has the time of a handshake.
const KEEP_ALIVE: Duration = Duration::from_secs(75);

/// What the HTTP library may hold of one connection; a head of 16 KiB fits.
const HTTP_BUFFER: usize = 64 * 1024;

/// What is answered when there is no place left, how many at a time, how long they may take and say.
const PROBES: [&str; 3] = ["/healthz", "/readyz", "/metrics"];
const PROBES_AT_ONCE: usize = 16;
const PROBE_TIME: Duration = Duration::from_secs(2);
const PROBE_BYTES: usize = 1 << 20;

/// What an address is told that the operator denies.
pub(super) const DENIED: &str = "this address may not connect";

/// What a connection needs.
pub(crate) struct Front {
    pub admission: Arc<Admission>,
    pub hub: Arc<Hub>,
    pub api: Router,
    pub connections: Arc<Connections>,
    pub proxies: Proxies,
    pub handshake: Duration,
    pub metrics: Arc<Metrics>,
    /// WebSockets that begin on a connection of the HTTP library, on their way to a shard.
    pub upgrades: TaskTracker,
    pub probes: Semaphore,
    /// Places for those who came too fast.
    pub waiting: Semaphore,
}

/// How long an address that connects too fast waits for being told so, and how many connections wait at a time.
const TOO_FAST: Duration = Duration::from_secs(1);
const WAITING: usize = 256;

/// Places for those who came too fast.
pub(crate) fn waiting() -> Semaphore {
    Semaphore::new(WAITING)
}

/// What keeps rights in force; nothing where none let the stream in.
type Held<'h> = Option<parking_lot::RwLockReadGuard<'h, ()>>;

/// Places for probes of a full node.
pub(crate) fn probes() -> Semaphore {
    Semaphore::new(PROBES_AT_ONCE)
}

/// Serves a port until `stop`; connections that are still answered then have time until `cut`.
pub(crate) async fn serve(
    listener: TcpListener,
    front: Arc<Front>,
    stop: CancellationToken,
    cut: CancellationToken,
) {
    let (upgrades, over) = (front.upgrades.clone(), cut.clone());
    let until = stop.clone();
    let connection = move |stream, peer| {
        let (front, stop) = (Arc::clone(&front), until.clone());
        async move { front.connection(stream, peer, stop).await }
    };
    listener::serve(listener, None, connection, stop, cut).await;
    upgrades.close();
    tokio::select! {
        () = upgrades.wait() => {}
        () = over.cancelled() => {}
    }
}

impl Front {
    async fn connection(self: &Arc<Self>, mut stream: TcpStream, peer: SocketAddr, stop: CancellationToken) {
        // Small frames must leave at once; the shard joins what can be joined.
        let _ = stream.set_nodelay(true);
        let peer = peer.ip().to_canonical();
        let Some(permit) = self.connections.admit() else {
            return self.full(&mut stream, None).await;
        };
        // Behind a proxy the address is known only with the head; the total counts from the first byte all the same.
        let proxied = self.proxies.trusts(peer);
        if !proxied && let Err(refusal) = permit.is_of(peer) {
            return self.refuse(&mut stream, refusal, None).await;
        }
        let head = match Head::read(&mut stream, self.handshake).await {
            Ok(head) => head,
            Err(error) => {
                if error != HeadError::Closed {
                    permit.refused(Reason::Handshake);
                }
                return self.no_head(&mut stream, error).await;
            }
        };
        let (for_list, forwarded) = (head.list("x-forwarded-for"), head.list("forwarded"));
        let client = || {
            self.proxies
                .client(peer, for_list.as_deref(), forwarded.as_deref())
        };
        if proxied && let Err(refusal) = permit.is_of(client()) {
            return self.refuse(&mut stream, refusal, Some(head)).await;
        }
        match self.admission.stream(&head) {
            Some(kind) => self.stream(kind, head, stream, permit).await,
            None => self.http(head, stream, permit, stop).await,
        }
    }

    async fn stream(&self, kind: Stream, head: Head, mut stream: TcpStream, permit: Permit) {
        let refused = loop {
            let admitted = match self.admission.admit(kind, &head).await {
                Ok(admitted) => admitted,
                Err(refused) => break refused,
            };
            // Rights that have changed since it was let in are asked again.
            let Some(_held) = self.hold(&admitted) else {
                continue;
            };
            let leftover = head.bytes.get(head.end..).unwrap_or_default().to_vec();
            if let Err(error) = self.hand_over(admitted, stream, leftover, permit) {
                tracing::debug!(%error, "a client left during its handshake");
            }
            return;
        };
        let cors = self.admission.origins.cors(head.header("origin"));
        note(&permit, &refused);
        self.say(&mut stream, &refusal(&refused, &cors)).await;
    }

    /// Keeps the rights by which a stream was let in until it is with its shard; `None` if they are not in force any more.
    pub(super) fn hold(&self, admitted: &Admitted) -> Option<Held<'_>> {
        match &admitted.by {
            Some(rights) => self.hub.holds(rights).map(Some),
            None => Some(None),
        }
    }

    /// Gives the socket of a stream to a shard, which answers the request.
    fn hand_over(
        &self,
        admitted: Admitted,
        stream: TcpStream,
        leftover: Vec<u8>,
        permit: Permit,
    ) -> anyhow::Result<()> {
        let (seed, response) = Seed::of(admitted)?;
        let socket = ShardSocket::new(stream.into_std()?.into())?;
        seed.settle(&self.hub, socket, raw_head(&response), leftover, permit);
        Ok(())
    }

    /// Every other request, and those that follow on the same connection.
    async fn http(self: &Arc<Self>, head: Head, stream: TcpStream, permit: Permit, stop: CancellationToken) {
        let bridge = Bridge::new(Arc::clone(self), permit);
        let io = TokioIo::new(Rewind::new(head.bytes, Patient::new(stream, self.handshake)));
        let service = TowerToHyperService::new(bridge);
        let connection = hyper::server::conn::http1::Builder::new()
            .timer(hyper_util::rt::TokioTimer::new())
            .header_read_timeout(KEEP_ALIVE)
            .max_buf_size(HTTP_BUFFER)
            .serve_connection(io, service)
            .with_upgrades();
        listener::finish(connection, |connection| connection.graceful_shutdown(), &stop).await;
    }

    /// The address may not connect, or not now.
    async fn refuse(&self, stream: &mut TcpStream, refusal: Refusal, head: Option<Head>) {
        match refusal {
            Refusal::TooMany => self.full(stream, head).await,
            Refusal::TooFast => {
                self.metrics.dropped(Reason::Rate);
                // Who comes again at once shall not keep us busy with it.
                if let Ok(_place) = self.waiting.try_acquire() {
                    tokio::time::sleep(TOO_FAST).await;
                }
                let mut refused = Refused::new(
                    StatusCode::TOO_MANY_REQUESTS,
                    "too many connections in a short time from this address, try again later",
                );
                refused.headers.push(("Retry-After", "1".into()));
                self.say(stream, &self::refusal(&refused, &[])).await;
            }
            Refusal::Denied => {
                self.metrics.dropped(Reason::Denied);
                let refused = Refused::new(StatusCode::FORBIDDEN, DENIED);
                self.say(stream, &self::refusal(&refused, &[])).await;
            }
        }
    }

    /// Says the last words on a socket, as far as somebody reads them.
    async fn say(&self, stream: &mut TcpStream, answer: &[u8]) {
        let last = async {
            stream.write_all(answer).await?;
            stream.shutdown().await
        };
        // The client may be gone; there is nobody else to tell.
        let _ = tokio::time::timeout(self.handshake, last).await;
    }

    /// There is no place left. A full node still says how it is: an orchestrator that hears nothing would kill it.
    async fn full(&self, stream: &mut TcpStream, head: Option<Head>) {
        self.metrics.dropped(Reason::Connections);
        let answer = self.probe(stream, head).await.unwrap_or_else(|| {
            let mut refused = Refused::new(
                StatusCode::SERVICE_UNAVAILABLE,
                "too many connections, try again later",
            );
            refused.headers.push(("Retry-After", "5".into()));
            refusal(&refused, &[])
        });
        self.say(stream, &answer).await;
    }

    /// The answer to a question about the node itself; `None` for every other request.
    async fn probe(&self, stream: &mut TcpStream, head: Option<Head>) -> Option<Vec<u8>> {
        let _place = self.probes.try_acquire().ok()?;
        let head = match head {
            Some(head) => head,
            None => Head::read(stream, PROBE_TIME).await.ok()?,
        };
        if !PROBES.contains(&head.path.as_str()) {
            return None;
        }
        let request = http::Request::get(head.path)
            .body(axum::body::Body::empty())
            .ok()?;
        let response = self.api.clone().oneshot(request).await.ok()?;
        let (parts, body) = response.into_parts();
        let body = axum::body::to_bytes(body, PROBE_BYTES).await.ok()?;
        let mut answer = http::Response::from_parts(parts, ());
        answer
            .headers_mut()
            .insert(http::header::CONTENT_LENGTH, body.len().into());
        let mut out = raw_head(&answer);
        out.extend_from_slice(&body);
        Some(out)
    }

    async fn no_head(&self, stream: &mut TcpStream, error: HeadError) {
        if error == HeadError::Closed {
            return;
        }
        self.metrics.dropped(Reason::Handshake);
        let status = StatusCode::from_u16(error.status()).unwrap_or(StatusCode::BAD_REQUEST);
        let answer = refusal(&Refused::new(status, error.to_string()), &[]);
        self.say(stream, &answer).await;
    }
}

/// Notes for the address why a request was refused.
pub(super) fn note(permit: &Permit, refused: &Refused) {
    let reason = match refused.status {
        StatusCode::UNAUTHORIZED => Reason::Token,
        StatusCode::FORBIDDEN => Reason::Forbidden,
        StatusCode::BAD_REQUEST => Reason::Protocol,
        _ => return,
    };
    permit.refused(reason);
}

/// A newcomer that still lacks its socket.
pub(super) struct Seed(Admitted);

impl Seed {
    /// Splits what was admitted into the session's beginning and the response.
    pub(super) fn of(mut admitted: Admitted) -> anyhow::Result<(Self, http::Response<()>)> {
        let response = std::mem::take(&mut admitted.response).body(())?;
        Ok((Self(admitted), response))
    }

    /// Gives the connection to a shard, which answers the request.
    pub(super) fn settle(
        self,
        hub: &Hub,
        socket: ShardSocket,
        greeting: Vec<u8>,
        leftover: Vec<u8>,
        permit: Permit,
    ) {
        let Admitted { opening, probe, .. } = self.0;
        let newcomer = Newcomer {
            link: Link::Socket(socket),
            opening,
            greeting,
            leftover,
            permit,
        };
        match probe {
            Some(sid) => hub.probe(sid, newcomer),
            None => hub.adopt(newcomer),
        }
    }
}

/// A response's head as bytes. A body that follows ends with the connection, unless a length is among the headers.
fn raw_head(response: &http::Response<()>) -> Vec<u8> {
    let status = response.status();
    let mut out = format!(
        "HTTP/1.1 {} {}\r\n",
        status.as_u16(),
        status.canonical_reason().unwrap_or_default()
    );
    for (name, value) in response.headers() {
        // Our own headers are ASCII.
        out.push_str(name.as_str());
        out.push_str(": ");
        out.push_str(value.to_str().unwrap_or_default());
        out.push_str("\r\n");
    }
    if status != StatusCode::SWITCHING_PROTOCOLS {
        out.push_str("Connection: close\r\n");
    }
    out.push_str("\r\n");
    out.into_bytes()
}

/// The body of a refusal.
pub(super) fn refusal_body(refused: &Refused) -> Bytes {
    if let Some(body) = &refused.body {
        return body.clone();
    }
    if refused.message.is_empty() {
        return Bytes::new();
    }
    let reason = refused
        .status
        .canonical_reason()
        .unwrap_or("error")
        .to_ascii_lowercase()
        .replace(' ', "_");
    serde_json::json!({ "error": reason, "message": refused.message })
        .to_string()
        .into()
}

fn refusal(refused: &Refused, cors: &[(&'static str, String)]) -> Vec<u8> {
    let body = refusal_body(refused);
    let mut response = http::Response::builder()
        .status(refused.status)
        .header("Content-Type", "application/json")
        .header("Content-Length", body.len());
    for (name, value) in refused.headers.iter().chain(cors) {
        response = response.header(*name, value);
    }
    let mut out = response
        .body(())
        .map(|response| raw_head(&response))
        .unwrap_or_default();
    out.extend_from_slice(&body);
    out
}
