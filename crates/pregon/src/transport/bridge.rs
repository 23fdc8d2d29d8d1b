//! Requests on a connection that the HTTP library reads: the API, and streams that come late on a kept-alive connection.
//!
//! A WebSocket gets its socket back from the library. A server-sent event stream cannot leave the library, so its shard
//! writes into one end of a socket pair and the response's body copies from the other.

use std::convert::Infallible;
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use axum::body::Body;
use http::{Request, Response, StatusCode};
use hyper::body::Incoming;
use hyper_util::rt::TokioIo;
use tokio::io::AsyncReadExt;
use tokio::net::UnixStream;
use tower::{Service, ServiceExt};

use super::accept::{Front, Seed, refusal_body};
use super::admit::{Refused, Stream};
use super::head::Head;
use super::rewind::Rewind;
use crate::admin::ClientAddress;
use crate::hub::socket::ShardSocket;
use crate::limits::Permit;

/// Bytes copied at once from a shard to the library.
const COPY: usize = 16 * 1024;

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
        let head = Head::of(&request);
        if let Some(kind) = self.front.door.stream(&head) {
            return self.stream(kind, &head, request).await;
        }
        match self.front.door.engine(&head.path) {
            Some(app) => self.polling(app, &head, request).await,
            None => {
                let api = self.front.api.clone();
                let mut request = request.map(Body::new);
                if let Some(address) = self.permit.address() {
                    request.extensions_mut().insert(ClientAddress(address));
                }
                api.oneshot(request)
                    .await
                    .unwrap_or_else(|never: Infallible| match never {})
            }
        }
    }

    async fn stream(self, kind: Stream, head: &Head, request: Request<Incoming>) -> Response<Body> {
        let admitted = match self.front.door.admit(kind, head).await {
            Ok(admitted) => admitted,
            Err(refused) => return self.refuse(&refused, head),
        };
        let Ok((seed, response)) = Seed::of(admitted) else {
            return internal();
        };
        let body = if kind == Stream::Sse {
            match self.events(seed) {
                Ok(body) => body,
                Err(error) => {
                    tracing::warn!(%error, "a stream could not be bridged");
                    return internal();
                }
            }
        } else {
            tokio::spawn(self.upgrade(seed, request));
            Body::empty()
        };
        response.map(|()| body)
    }

    fn events(&self, seed: Seed) -> std::io::Result<Body> {
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
        let pieces = futures_util::stream::unfold(library, |mut library| async move {
            let mut piece = Vec::with_capacity(COPY);
            match library.read_buf(&mut piece).await {
                Ok(0) => None,
                Ok(_) => Some((Ok::<_, std::io::Error>(bytes::Bytes::from(piece)), library)),
                Err(error) => Some((Err(error), library)),
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
        let cors = self.front.door.origins.cors(head.header("origin"));
        for (name, value) in refused.headers.iter().chain(&cors) {
            response = response.header(*name, value);
        }
        response
            .body(Body::from(refusal_body(refused)))
            .unwrap_or_else(|_| internal())
    }
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
