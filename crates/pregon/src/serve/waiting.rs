//! The open port of a gateway that waits for PostgreSQL: `/healthz` is 200, everything else 503 and worth another try.
//!
//! One task serves it; [`WaitingRoom::close`] frees the address for the node. No answer keeps its connection: a health check
//! must not stay in here.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use anyhow::Context as _;
use axum::Router;
use axum::http::{StatusCode, header};
use axum::routing::get;
use parking_lot::Mutex;
use tokio::net::TcpListener;
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

/// For answers that are being written; a client that dawdles is cut.
const PATIENCE: Duration = Duration::from_millis(500);

pub(super) struct WaitingRoom {
    address: SocketAddr,
    why: Arc<Mutex<&'static str>>,
    stop: CancellationToken,
    task: JoinHandle<()>,
}

impl WaitingRoom {
    /// Opens the port, which says what is not ready.
    pub(super) async fn open(address: &str, why: &'static str) -> anyhow::Result<Self> {
        let listener = TcpListener::bind(address)
            .await
            .with_context(|| format!("cannot listen on {address}: is another process using the port?"))?;
        let address = listener.local_addr()?;
        super::say_address(address);
        let why = Arc::new(Mutex::new(why));
        let stop = CancellationToken::new();
        let stopped = stop.clone().cancelled_owned();
        let router = router(Arc::clone(&why));
        let task = tokio::spawn(async move {
            let serving = axum::serve(listener, router).with_graceful_shutdown(stopped);
            if let Err(error) = serving.await {
                tracing::warn!(%error, "the port does not answer while postgres is away");
            }
        });
        Ok(Self {
            address,
            why,
            stop,
            task,
        })
    }

    /// Says another reason from now on.
    pub(super) fn explain(&self, why: &'static str) {
        *self.why.lock() = why;
    }

    /// Gives the address back.
    pub(super) async fn close(mut self) -> SocketAddr {
        self.stop.cancel();
        if tokio::time::timeout(PATIENCE, &mut self.task).await.is_err() {
            self.task.abort();
            let _ = (&mut self.task).await; // It was aborted, that is all it can say.
        }
        self.address
    }
}

fn router(why: Arc<Mutex<&'static str>>) -> Router {
    let close = [(header::CONNECTION, "close")];
    let away = [(header::CONNECTION, "close"), (header::RETRY_AFTER, "1")];
    Router::new()
        .route("/healthz", get(move || async move { (close, "ok\n") }))
        .fallback(move || async move {
            (
                StatusCode::SERVICE_UNAVAILABLE,
                away,
                format!("not ready: {}\n", *why.lock()),
            )
        })
}
