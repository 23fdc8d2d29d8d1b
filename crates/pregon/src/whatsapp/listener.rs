//! The port: accepts connections up to a limit and serves HTTP on each until the door closes.
//!
//! After `stop` nobody new comes, idle connections end and requests under way are answered; after `cut` nothing is waited for. A full
//! router lets new connections wait in the kernel's queue.

use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use hyper::body::Incoming;
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::service::TowerToHyperService;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Semaphore;
use tokio_util::sync::CancellationToken;
use tower::ServiceExt as _;

use crate::config::Config;
use crate::limits::{Bounds, Clock, Connections};
use crate::transport::forwarded::Proxies;
use crate::transport::head::Head;
use crate::transport::listener;
use crate::transport::patience::Patient;

/// How long the head of a request may take, and how long a connection may wait for its next one.
const HEAD: Duration = Duration::from_secs(30);

/// Who sends: what is held for a stranger counts for its address.
pub(super) struct Senders {
    connections: Arc<Connections>,
    proxies: Proxies,
}

impl Senders {
    pub(super) fn of(config: &Config) -> Arc<Self> {
        let connections = Connections::new(Bounds::default(), Clock::default());
        connections.deny(&config.server.deny);
        Arc::new(Self {
            connections,
            proxies: Proxies::new(&config.server.trusted_proxies),
        })
    }

    fn denies(&self, peer: IpAddr) -> bool {
        let permit = self.connections.admit();
        permit.is_some_and(|permit| permit.is_of(peer).is_err())
    }

    /// Lays beside a request whose it is. Requests of many clients come through one connection of a proxy.
    fn note<B>(&self, peer: IpAddr, request: &mut http::Request<B>) {
        let Some(permit) = self.connections.admit() else {
            return;
        };
        let head = Head::of(request);
        let (for_list, forwarded) = (head.list("x-forwarded-for"), head.list("forwarded"));
        let client = self
            .proxies
            .client(peer, for_list.as_deref(), forwarded.as_deref());
        if permit.is_of(client).is_err() {
            return;
        }
        request.extensions_mut().insert(permit);
    }
}

/// Serves until `stop`, then waits for requests under way, at most until `cut`.
pub(super) async fn serve(
    listener: TcpListener,
    routes: Router,
    senders: Arc<Senders>,
    most: usize,
    stop: CancellationToken,
    cut: CancellationToken,
) {
    let until = stop.clone();
    let connection = move |stream, peer: SocketAddr| {
        let peer = peer.ip().to_canonical();
        connection(stream, peer, routes.clone(), Arc::clone(&senders), until.clone())
    };
    let places = Some(Arc::new(Semaphore::new(most)));
    listener::serve(listener, places, connection, stop, cut).await;
}

async fn connection(
    stream: TcpStream,
    peer: IpAddr,
    routes: Router,
    senders: Arc<Senders>,
    stop: CancellationToken,
) {
    if senders.denies(peer) {
        return;
    }
    let service = routes.map_request(move |mut request: http::Request<Incoming>| {
        senders.note(peer, &mut request);
        request
    });
    let _ = stream.set_nodelay(true); // Answers are small and must leave at once.
    let connection = hyper::server::conn::http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(HEAD)
        .serve_connection(
            TokioIo::new(Patient::new(stream, HEAD)),
            TowerToHyperService::new(service),
        );
    listener::finish(connection, |connection| connection.graceful_shutdown(), &stop).await;
}
