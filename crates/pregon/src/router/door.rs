//! The port: accepts connections up to a limit and serves HTTP on each until the door closes.
//!
//! The accept loop owns one task per connection. After `stop` nobody new comes, idle connections end and requests under way are
//! answered; after `cut` nothing is waited for.

use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::service::TowerToHyperService;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Semaphore;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

/// After an error of `accept` (usually: no file descriptors left) others get time to close theirs.
const BREATHER: Duration = Duration::from_millis(50);
/// How long the head of a request may take, and how long a connection may wait for its next one.
const HEAD: Duration = Duration::from_secs(30);

/// Serves until `stop`, then waits for requests under way, at most until `cut`.
pub(super) async fn serve(
    listener: TcpListener,
    routes: Router,
    most: usize,
    stop: CancellationToken,
    cut: CancellationToken,
) {
    let places = Arc::new(Semaphore::new(most));
    let tasks = TaskTracker::new();
    loop {
        let accepted = tokio::select! {
            accepted = accept(&listener, &places) => accepted,
            () = stop.cancelled() => break,
        };
        match accepted {
            Ok((stream, place)) => {
                let (routes, stop, cut) = (routes.clone(), stop.clone(), cut.clone());
                tasks.spawn(async move {
                    tokio::select! {
                        () = connection(stream, routes, stop) => {}
                        () = cut.cancelled() => {}
                    }
                    drop(place);
                });
            }
            Err(error) => {
                tracing::warn!(%error, "a connection could not be accepted");
                tokio::time::sleep(BREATHER).await;
            }
        }
    }
    drop(listener);
    tasks.close();
    tasks.wait().await;
}

/// A full router lets new connections wait in the kernel's queue.
async fn accept(
    listener: &TcpListener,
    places: &Arc<Semaphore>,
) -> std::io::Result<(TcpStream, tokio::sync::OwnedSemaphorePermit)> {
    let place = Arc::clone(places)
        .acquire_owned()
        .await
        .map_err(std::io::Error::other)?;
    let (stream, _) = listener.accept().await?;
    Ok((stream, place))
}

async fn connection(stream: TcpStream, routes: Router, stop: CancellationToken) {
    let _ = stream.set_nodelay(true); // Answers are small and must leave at once.
    let connection = hyper::server::conn::http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(HEAD)
        .serve_connection(TokioIo::new(stream), TowerToHyperService::new(routes));
    let mut connection = std::pin::pin!(connection);
    let outcome = tokio::select! {
        outcome = connection.as_mut() => outcome,
        () = stop.cancelled() => {
            connection.as_mut().graceful_shutdown();
            connection.await
        }
    };
    if let Err(error) = outcome {
        tracing::debug!(%error, "an http connection ended badly");
    }
}
