//! Requests on a connection that the HTTP library reads: the API, and streams that come late on a kept-alive connection.
//!
//! A WebSocket gets its socket back from the library. A server-sent event stream cannot leave the library, so its shard
//! writes into one end of a socket pair and the response's body copies from the other.

use std::convert::Infallible;
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use axum::body::Body;
use http::{Method, Request, Response, StatusCode};
use hyper::body::Incoming;
use hyper_util::rt::TokioIo;
use tokio::io::AsyncReadExt;
use tokio::net::UnixStream;
use tower::{Service, ServiceExt};

use super::ClientAddress;
use super::accept::{DENIED, Front, Seed, note, refusal_body};
use super::admit::{Admission, Admitted, Stream};
use super::head::Head;
use super::refused::Refused;
use super::rewind::Rewind;
use crate::hub::socket::ShardSocket;
use crate::limits::{Beside, Permit};
use crate::metrics::Reason;

/// Bytes copied at once from a shard to the library.
const COPY: usize = 16 * 1024;

/// A request that is over the rate of its address waits at most so long.
const LONGEST: Duration = Duration::from_secs(5);

/// What requests count, in commands: one that reads the log, and one that was refused.
const READING: u64 = 64;
const REFUSED: u64 = 16;

/// The service of one connection.
#[derive(Clone)]
pub(super) struct Bridge {
    pub(super) front: Arc<Front>,
    /// The connection's place; its streams share it, one after the other.
    pub(super) permit: Permit,
}

impl Bridge {
    pub(super) fn new(front: Arc<Front>, permit: Permit) -> Self {
        Self { front, permit }
    }

    async fn answer(self, request: Request<Incoming>) -> Response<Body> {
        if self.permit.is_denied() {
            self.front.metrics.dropped(Reason::Denied);
            self.permit.refused(Reason::Denied);
            return self.last(StatusCode::FORBIDDEN, DENIED);
        }
        let head = Head::of(&request);
        if let Some(refused) = self.paced(cost(&head.path)).await {
            return refused;
        }
        if let Some(kind) = self.front.admission.stream(&head) {
            return self.stream(kind, &head, request).await;
        }
        if serves(&head)
            && let Err(refused) = self.front.admission.away()
        {
            return self.refuse(&refused, &head);
        }
        match self.front.admission.engine(&head.path) {
            Some(app) => self.polling(app, &head, request).await,
            None => {
                let api = self.front.api.clone();
                let mut request = request.map(Body::new);
                if let Some(account) = self.permit.account() {
                    let extensions = request.extensions_mut();
                    extensions.insert(ClientAddress(account.address()));
                    extensions.insert(self.permit.clone());
                }
                let response = api
                    .oneshot(request)
                    .await
                    .unwrap_or_else(|never: Infallible| match never {});
                self.judged(response).await
            }
        }
    }

    /// Counts a request: what is more than the address may ask for waits, and is refused where that would take long.
    async fn paced(&self, cost: u64) -> Option<Response<Body>> {
        if cost == 0 {
            // Its sender has a key, or watches over us: what others of its address owe is not its debt.
            return None;
        }
        let pause = self.permit.requests(cost).pause();
        if pause > LONGEST {
            self.front.metrics.dropped(Reason::Rate);
            self.permit.refused(Reason::Rate);
            let message = "too many requests in a short time from this address, try again later";
            return Some(self.last(StatusCode::TOO_MANY_REQUESTS, message));
        }
        if !pause.is_zero() {
            tokio::time::sleep(pause).await;
        }
        None
    }

    /// Notes an answer that refuses; somebody who is refused again and again has to wait for it.
    async fn judged(&self, response: Response<Body>) -> Response<Body> {
        let reason = match response.status() {
            StatusCode::UNAUTHORIZED => Reason::Token,
            StatusCode::FORBIDDEN => Reason::Forbidden,
            StatusCode::BAD_REQUEST => Reason::Protocol,
            StatusCode::PAYLOAD_TOO_LARGE => Reason::TooLarge,
            _ => return response,
        };
        self.permit.refused(reason);
        self.paced(REFUSED).await.unwrap_or(response)
    }

    /// An answer after which the connection closes.
    fn last(&self, status: StatusCode, message: &str) -> Response<Body> {
        let refused = Refused::new(status, message);
        let response = Response::builder()
            .status(status)
            .header("Content-Type", "application/json")
            .header("Connection", "close")
            .header("Retry-After", "1");
        response
            .body(Body::from(refusal_body(&refused)))
            .unwrap_or_else(|_| internal())
    }

    async fn stream(self, kind: Stream, head: &Head, request: Request<Incoming>) -> Response<Body> {
        loop {
            let admitted = match self.front.admission.admit(kind, head).await {
                Ok(admitted) => admitted,
                Err(refused) => {
                    note(&self.permit, &refused);
                    return self.refuse(&refused, head);
                }
            };
            // Rights that have changed since it was let in are asked again.
            let Some(_held) = self.front.hold(&admitted) else {
                continue;
            };
            return self.begin_stream(kind, admitted, request);
        }
    }

    fn begin_stream(&self, kind: Stream, admitted: Admitted, request: Request<Incoming>) -> Response<Body> {
        let Ok((seed, response)) = Seed::of(admitted) else {
            return internal();
        };
        let body = if kind == Stream::Sse {
            // Their way from the shard to the HTTP library are two sockets more than the client's.
            let Some(beside) = self.permit.beside(2) else {
                self.front.metrics.dropped(Reason::Connections);
                return self.last(
                    StatusCode::SERVICE_UNAVAILABLE,
                    "too many connections, try again later",
                );
            };
            match self.events(seed, beside) {
                Ok(body) => body,
                Err(error) => {
                    tracing::warn!(%error, "a stream could not be bridged");
                    return internal();
                }
            }
        } else {
            self.front.upgrades.spawn(self.clone().upgrade(seed, request));
            Body::empty()
        };
        response.map(|()| body)
    }

    fn events(&self, seed: Seed, beside: Beside) -> std::io::Result<Body> {
        let (shard, library) = std::os::unix::net::UnixStream::pair()?;
        library.set_nonblocking(true)?;
        let library = UnixStream::from_std(library)?;
        let socket = ShardSocket::new(shard.into())?;
        seed.settle(
            &self.front.hub,
            socket,
            Vec::new(),
            Vec::new(),
            self.permit.clone(),
        );
        // Their room is given back with the body.
        let pieces = futures_util::stream::unfold((library, beside), |(mut library, beside)| async move {
            let mut piece = Vec::with_capacity(COPY);
            match library.read_buf(&mut piece).await {
                Ok(0) => None,
                Ok(_) => Some((
                    Ok::<_, std::io::Error>(bytes::Bytes::from(piece)),
                    (library, beside),
                )),
                Err(error) => Some((Err(error), (library, beside))),
            }
        });
        Ok(Body::from_stream(pieces))
    }

    async fn upgrade(self, seed: Seed, request: Request<Incoming>) {
        let upgraded = match hyper::upgrade::on(request).await {
            Ok(upgraded) => upgraded,
            Err(error) => return tracing::debug!(%error, "an upgrade was given up"),
        };
        let Ok(parts) = upgraded.downcast::<TokioIo<Rewind>>() else {
            return tracing::error!("an upgraded connection is of an unknown kind");
        };
        let (stream, mut leftover) = parts.io.into_inner().into_parts();
        leftover.splice(0..0, parts.read_buf);
        let socket = stream
            .into_std()
            .and_then(|stream| ShardSocket::new(stream.into()));
        match socket {
            Ok(socket) => seed.settle(&self.front.hub, socket, Vec::new(), leftover, self.permit),
            Err(error) => tracing::warn!(%error, "an upgraded socket was lost"),
        }
    }

    fn refuse(&self, refused: &Refused, head: &Head) -> Response<Body> {
        let mut response = Response::builder()
            .status(refused.status)
            .header("Content-Type", "application/json");
        let cors = self.front.admission.origins.cors(head.header("origin"));
        for (name, value) in refused.headers.iter().chain(&cors) {
            response = response.header(*name, value);
        }
        response
            .body(Body::from(refusal_body(refused)))
            .unwrap_or_else(|_| internal())
    }
}

/// What a request counts before it is answered. Who publishes has a key; probes are asked by whoever watches over us.
fn cost(path: &str) -> u64 {
    match path {
        "/healthz" | "/readyz" | "/metrics" | "/api/publish" => 0,
        "/api/history" => READING,
        _ => 1,
    }
}

impl Admission {
    /// While another gateway serves in this one's stead: clients are to come again, which leads there.
    pub(super) fn away(&self) -> Result<(), Refused> {
        if !self.standby.get() {
            return Ok(());
        }
        let message = "this gateway stands by, another one serves: connect again";
        Err(Refused {
            headers: vec![("Retry-After", "1".to_owned())],
            ..Refused::new(StatusCode::SERVICE_UNAVAILABLE, message)
        })
    }
}

/// Whether a request is for what a gateway that stands by has not: all but questions about itself, and whether a page may ask.
fn serves(head: &Head) -> bool {
    let own = ["/healthz", "/readyz", "/metrics", "/admin"];
    let path = head.path.as_str();
    head.method != Method::OPTIONS && !own.contains(&path) && !path.starts_with("/admin/")
}

fn internal() -> Response<Body> {
    let mut response = Response::new(Body::empty());
    *response.status_mut() = StatusCode::INTERNAL_SERVER_ERROR;
    response
}

impl Service<Request<Incoming>> for Bridge {
    type Response = Response<Body>;
    type Error = Infallible;
    type Future = Pin<Box<dyn Future<Output = Result<Self::Response, Infallible>> + Send>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: Request<Incoming>) -> Self::Future {
        let bridge = self.clone();
        Box::pin(async move { Ok(bridge.answer(request).await) })
    }
}
