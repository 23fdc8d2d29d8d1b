//! The accept loop: one task per connection, which it owns. After `stop` nobody new comes; after `cut` nothing is waited for.

use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

/// After an error of `accept` (usually: no file descriptors left) others get time to close theirs.
const BREATHER: Duration = Duration::from_millis(50);

/// Accepts until `stop`, then waits for connections that are still answered, at most until `cut`. With `places`, as many connections
/// are served at a time as it has permits, and the others wait in the kernel's queue.
pub(crate) async fn serve<F>(
    listener: TcpListener,
    places: Option<Arc<Semaphore>>,
    connection: impl Fn(TcpStream, SocketAddr) -> F,
    stop: CancellationToken,
    cut: CancellationToken,
) where
    F: Future<Output = ()> + Send + 'static,
{
    let tasks = TaskTracker::new();
    loop {
        let accepted = tokio::select! {
            accepted = accept(&listener, places.as_ref()) => accepted,
            () = stop.cancelled() => break,
        };
        match accepted {
            Ok((stream, peer, place)) => {
                let (work, cut) = (connection(stream, peer), cut.clone());
                tasks.spawn(async move {
                    tokio::select! {
                        () = work => {}
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

/// Serves a connection of the HTTP library to its end. After `stop` the request under way is answered, and no further one is taken.
pub(crate) async fn finish<C: Future<Output = hyper::Result<()>>>(
    connection: C,
    shut_down: fn(Pin<&mut C>),
    stop: &CancellationToken,
) {
    let mut connection = std::pin::pin!(connection);
    let outcome = tokio::select! {
        outcome = connection.as_mut() => outcome,
        () = stop.cancelled() => {
            shut_down(connection.as_mut());
            connection.await
        }
    };
    if let Err(error) = outcome {
        tracing::debug!(%error, "an http connection ended badly");
    }
}

async fn accept(
    listener: &TcpListener,
    places: Option<&Arc<Semaphore>>,
) -> std::io::Result<(TcpStream, SocketAddr, Option<OwnedSemaphorePermit>)> {
    let place = match places {
        Some(places) => {
            let place = Arc::clone(places).acquire_owned().await;
            Some(place.map_err(std::io::Error::other)?)
        }
        None => None,
    };
    let (stream, peer) = listener.accept().await?;
    Ok((stream, peer, place))
}
