//! A TCP proxy that misbehaves on demand: cuts, refuses, swallows, stalls, slows, delays.
//!
//! One task accepts; one task per connection owns both of its sockets. A connection belongs to a generation, and
//! cutting ends the generation: `cut` returns when every socket of it is closed. Dropping the proxy cuts everything.

use std::{
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicBool, AtomicUsize, Ordering},
    },
    time::Duration,
};

use anyhow::Context;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{
        TcpListener, TcpStream,
        tcp::{ReadHalf, WriteHalf},
    },
    sync::{mpsc, watch},
    time::{Instant, sleep, sleep_until},
};

use crate::process;

/// Chunks in flight per direction; with `delay` a full queue stops reading, as a full pipe would.
const IN_FLIGHT: usize = 256;
/// How often a slowed connection gets its share: fine enough to look steady, coarse enough to be cheap.
const SHARE: Duration = Duration::from_millis(20);

#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
struct Faults {
    refuse: bool,
    black_hole: bool,
    stall: bool,
    bytes_per_second: Option<usize>,
    delay: Duration,
}

/// A proxy on a free port of 127.0.0.1.
#[derive(Debug)]
pub struct Proxy {
    port: u16,
    faults: watch::Sender<Faults>,
    listening: watch::Receiver<bool>,
    shared: Arc<Shared>,
    acceptor: tokio::task::JoinHandle<()>,
}

#[derive(Debug)]
struct Shared {
    upstream: Mutex<String>,
    generation: Mutex<watch::Sender<bool>>,
    open: AtomicUsize,
    accepted: AtomicUsize,
}

impl Proxy {
    /// Forwards to `upstream` (`host:port`).
    pub async fn start(upstream: impl Into<String>) -> anyhow::Result<Self> {
        let port = process::free_port()?;
        let listener = TcpListener::bind(("127.0.0.1", port))
            .await
            .context("binding the proxy's port")?;
        let shared = Arc::new(Shared {
            upstream: Mutex::new(upstream.into()),
            generation: Mutex::new(watch::Sender::new(false)),
            open: AtomicUsize::new(0),
            accepted: AtomicUsize::new(0),
        });
        let faults = watch::Sender::new(Faults::default());
        let (report, listening) = watch::channel(true);
        let acceptor = tokio::spawn(accept(
            listener,
            port,
            faults.subscribe(),
            report,
            Arc::clone(&shared),
        ));
        Ok(Self {
            port,
            faults,
            listening,
            shared,
            acceptor,
        })
    }

    /// The port to connect to.
    pub fn port(&self) -> u16 {
        self.port
    }

    /// `127.0.0.1:port`.
    pub fn address(&self) -> String {
        format!("127.0.0.1:{}", self.port)
    }

    /// Connections that are open now.
    pub fn connections(&self) -> usize {
        self.shared.open.load(Ordering::SeqCst)
    }

    /// Connections accepted since the start.
    pub fn accepted(&self) -> usize {
        self.shared.accepted.load(Ordering::SeqCst)
    }

    /// New connections go to another server.
    pub fn redirect(&self, upstream: impl Into<String>) {
        *self
            .shared
            .upstream
            .lock()
            .unwrap_or_else(PoisonError::into_inner) = upstream.into();
    }

    /// Resets all open connections (RST on both sides); returns when they are closed.
    pub async fn cut(&self) {
        let ended = {
            let mut generation = self
                .shared
                .generation
                .lock()
                .unwrap_or_else(PoisonError::into_inner);
            std::mem::replace(&mut *generation, watch::Sender::new(false))
        };
        ended.send_replace(true);
        ended.closed().await;
    }

    /// New connections are refused (nothing listens); open ones go on.
    pub async fn refuse(&self, on: bool) {
        self.faults.send_modify(|faults| faults.refuse = on);
        let mut listening = self.listening.clone();
        let _ = listening.wait_for(|state| *state != on).await;
    }

    /// Bytes of both directions vanish and nothing is closed. Connections that lost bytes are cut when this ends.
    pub fn black_hole(&self, on: bool) {
        self.faults.send_modify(|faults| faults.black_hole = on);
    }

    /// Nothing moves and nothing is lost, as in a network that is away for a while.
    pub fn stall(&self, on: bool) {
        self.faults.send_modify(|faults| faults.stall = on);
    }

    /// Each connection and direction passes at most this many bytes per second.
    pub fn slow(&self, bytes_per_second: usize) {
        self.faults
            .send_modify(|faults| faults.bytes_per_second = Some(bytes_per_second));
    }

    /// Every byte arrives this much later.
    pub fn delay(&self, delay: Duration) {
        self.faults.send_modify(|faults| faults.delay = delay);
    }

    /// Ends all faults.
    pub async fn restore(&self) {
        self.faults.send_replace(Faults::default());
        self.refuse(false).await;
    }
}

impl Drop for Proxy {
    fn drop(&mut self) {
        self.acceptor.abort();
        self.shared
            .generation
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .send_replace(true);
    }
}

async fn accept(
    listener: TcpListener,
    port: u16,
    mut faults: watch::Receiver<Faults>,
    report: watch::Sender<bool>,
    shared: Arc<Shared>,
) {
    let mut listener = Some(listener);
    loop {
        let refuse = faults.borrow_and_update().refuse;
        if refuse {
            listener = None;
        } else if listener.is_none() {
            listener = TcpListener::bind(("127.0.0.1", port)).await.ok();
        }
        report.send_replace(listener.is_some());
        tokio::select! {
            changed = faults.changed() => if changed.is_err() { return },
            client = next_client(listener.as_ref()) => {
                shared.accepted.fetch_add(1, Ordering::SeqCst);
                shared.open.fetch_add(1, Ordering::SeqCst);
                let ended = shared.generation.lock().unwrap_or_else(PoisonError::into_inner).subscribe();
                tokio::spawn(serve(client, Arc::clone(&shared), faults.clone(), ended));
            }
        }
    }
}

async fn next_client(listener: Option<&TcpListener>) -> TcpStream {
    let Some(listener) = listener else {
        return std::future::pending().await;
    };
    loop {
        match listener.accept().await {
            Ok((client, _)) => return client,
            // Out of files or a connection that died in the queue: both pass.
            Err(_) => sleep(SHARE).await,
        }
    }
}

async fn serve(
    mut client: TcpStream,
    shared: Arc<Shared>,
    faults: watch::Receiver<Faults>,
    mut ended: watch::Receiver<bool>,
) {
    let target = shared
        .upstream
        .lock()
        .unwrap_or_else(PoisonError::into_inner)
        .clone();
    let reset = tokio::select! {
        // An error means that the proxy is gone.
        _ = ended.wait_for(|cut| *cut) => true,
        result = forward(&mut client, &target, faults) => result.is_err(),
    };
    if reset {
        let _ = client.set_zero_linger();
    }
    drop(client);
    shared.open.fetch_sub(1, Ordering::SeqCst);
    drop(ended); // last: `cut` waits for this
}

/// Resets the upstream socket when it is dropped before its end, and so when the connection is cut.
struct Upstream {
    stream: TcpStream,
    finished: bool,
}

impl Drop for Upstream {
    fn drop(&mut self) {
        if !self.finished {
            let _ = self.stream.set_zero_linger();
        }
    }
}

async fn forward(
    client: &mut TcpStream,
    target: &str,
    faults: watch::Receiver<Faults>,
) -> std::io::Result<()> {
    let stream = TcpStream::connect(target).await?;
    stream.set_nodelay(true)?;
    client.set_nodelay(true)?;
    let mut upstream = Upstream {
        stream,
        finished: false,
    };
    let swallowed = AtomicBool::new(false);
    let (client_in, client_out) = client.split();
    let (server_in, server_out) = upstream.stream.split();
    let up = pass(client_in, server_out, faults.clone(), &swallowed);
    let down = pass(server_in, client_out, faults.clone(), &swallowed);
    tokio::select! {
        both = async { tokio::try_join!(up, down) } => both?,
        () = broken(faults, &swallowed) => return Err(std::io::ErrorKind::ConnectionReset.into()),
    };
    upstream.finished = true;
    Ok(())
}

/// Resolves when a black hole that took bytes of this connection has ended.
async fn broken(mut faults: watch::Receiver<Faults>, swallowed: &AtomicBool) {
    loop {
        if !faults.borrow_and_update().black_hole && swallowed.load(Ordering::SeqCst) {
            return;
        }
        if faults.changed().await.is_err() {
            return;
        }
    }
}

/// One direction: reads, stamps with the time of arrival due, writes.
async fn pass(
    from: ReadHalf<'_>,
    to: WriteHalf<'_>,
    faults: watch::Receiver<Faults>,
    swallowed: &AtomicBool,
) -> std::io::Result<()> {
    let (queue, due) = mpsc::channel(IN_FLIGHT);
    let taken = take(from, queue, faults.clone(), swallowed);
    tokio::try_join!(taken, give(to, due, faults)).map(|_| ())
}

async fn take(
    mut from: ReadHalf<'_>,
    queue: mpsc::Sender<(Instant, Vec<u8>)>,
    mut faults: watch::Receiver<Faults>,
    swallowed: &AtomicBool,
) -> std::io::Result<()> {
    let mut buffer = vec![0; 16 * 1024];
    loop {
        let _ = faults.wait_for(|faults| !faults.stall).await;
        let length = tokio::select! {
            length = from.read(&mut buffer) => length?,
            _ = faults.wait_for(|faults| faults.stall) => continue,
        };
        let now = *faults.borrow();
        if now.black_hole {
            swallowed.store(true, Ordering::SeqCst);
            if length == 0 {
                // Not even the end gets through; `broken` ends this connection.
                return std::future::pending().await;
            }
            continue;
        }
        let chunk = buffer.get(..length).unwrap_or_default().to_vec();
        if length == 0 || queue.send((Instant::now() + now.delay, chunk)).await.is_err() {
            return Ok(());
        }
    }
}

async fn give(
    mut to: WriteHalf<'_>,
    mut due: mpsc::Receiver<(Instant, Vec<u8>)>,
    mut faults: watch::Receiver<Faults>,
) -> std::io::Result<()> {
    while let Some((when, chunk)) = due.recv().await {
        sleep_until(when).await;
        let mut rest = chunk.as_slice();
        while !rest.is_empty() {
            let _ = faults.wait_for(|faults| !faults.stall).await;
            let limit = faults.borrow().bytes_per_second;
            let share = limit
                .map_or(rest.len(), |rate| (rate / 50).max(1))
                .min(rest.len());
            let (now, later) = rest.split_at(share);
            to.write_all(now).await?;
            rest = later;
            if limit.is_some() {
                sleep(SHARE).await;
            }
        }
    }
    to.shutdown().await
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::indexing_slicing, clippy::panic)]
    use super::*;
    use crate::wait::eventually;

    const SOON: Duration = Duration::from_secs(10);

    /// An echo server, a proxy before it and one connection through both.
    async fn echo() -> (Proxy, TcpStream) {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap().to_string();
        tokio::spawn(async move {
            while let Ok((mut stream, _)) = listener.accept().await {
                tokio::spawn(async move {
                    let (mut from, mut to) = stream.split();
                    let _ = tokio::io::copy(&mut from, &mut to).await;
                });
            }
        });
        let proxy = Proxy::start(address).await.unwrap();
        let stream = TcpStream::connect(proxy.address()).await.unwrap();
        (proxy, stream)
    }

    async fn round(stream: &mut TcpStream, text: &[u8]) -> std::io::Result<Vec<u8>> {
        stream.write_all(text).await?;
        let mut answer = vec![0; text.len()];
        stream.read_exact(&mut answer).await?;
        Ok(answer)
    }

    #[tokio::test]
    async fn passes_bytes_and_ends() {
        let (proxy, mut stream) = echo().await;
        assert_eq!(round(&mut stream, b"hola").await.unwrap(), b"hola");
        assert_eq!((proxy.connections(), proxy.accepted()), (1, 1));
        stream.shutdown().await.unwrap();
        assert_eq!(stream.read(&mut [0; 8]).await.unwrap(), 0);
        eventually(SOON, || async { proxy.connections() == 0 })
            .await
            .unwrap();
    }

    #[tokio::test]
    async fn cut_resets_open_connections_and_new_ones_work() {
        let (proxy, mut stream) = echo().await;
        round(&mut stream, b"hola").await.unwrap();
        proxy.cut().await;
        assert_eq!(proxy.connections(), 0);
        assert_eq!(
            stream.read(&mut [0; 8]).await.unwrap_err().kind(),
            std::io::ErrorKind::ConnectionReset
        );
        let mut again = TcpStream::connect(proxy.address()).await.unwrap();
        assert_eq!(round(&mut again, b"otra").await.unwrap(), b"otra");
    }

    #[tokio::test]
    async fn refuse_spares_open_connections_and_restore_listens_again() {
        let (proxy, mut stream) = echo().await;
        round(&mut stream, b"hola").await.unwrap();
        proxy.refuse(true).await;
        let refused = TcpStream::connect(proxy.address()).await.unwrap_err();
        assert_eq!(refused.kind(), std::io::ErrorKind::ConnectionRefused);
        round(&mut stream, b"sigue").await.unwrap();
        proxy.restore().await;
        TcpStream::connect(proxy.address()).await.unwrap();
    }

    #[tokio::test]
    async fn a_black_hole_swallows_and_the_robbed_connection_is_cut_afterwards() {
        let (proxy, mut stream) = echo().await;
        round(&mut stream, b"hola").await.unwrap();
        proxy.black_hole(true);
        let lost = tokio::time::timeout(Duration::from_millis(60), round(&mut stream, b"lost")).await;
        assert!(lost.is_err());
        proxy.restore().await;
        assert!(stream.read(&mut [0; 8]).await.is_err());
    }

    #[tokio::test]
    async fn a_stall_loses_nothing() {
        let (proxy, mut stream) = echo().await;
        round(&mut stream, b"hola").await.unwrap();
        proxy.stall(true);
        let held = tokio::time::timeout(Duration::from_millis(60), round(&mut stream, b"held")).await;
        assert!(held.is_err());
        proxy.restore().await;
        let mut answer = [0; 4];
        stream.read_exact(&mut answer).await.unwrap();
        assert_eq!(&answer, b"held");
    }

    #[tokio::test]
    async fn delay_and_rate_take_their_time() {
        let (proxy, mut stream) = echo().await;
        proxy.delay(Duration::from_millis(40));
        let start = Instant::now();
        round(&mut stream, b"hola").await.unwrap();
        assert!(
            start.elapsed() >= Duration::from_millis(80),
            "{:?}",
            start.elapsed()
        );
        proxy.restore().await;
        proxy.slow(50_000);
        let start = Instant::now();
        round(&mut stream, &[7; 10_000]).await.unwrap();
        assert!(
            start.elapsed() >= Duration::from_millis(180),
            "{:?}",
            start.elapsed()
        );
    }

    #[tokio::test]
    async fn a_dead_upstream_resets_the_client() {
        let (proxy, mut spared) = echo().await;
        round(&mut spared, b"hola").await.unwrap();
        proxy.redirect(format!("127.0.0.1:{}", process::free_port().unwrap()));
        let mut stream = TcpStream::connect(proxy.address()).await.unwrap();
        assert!(!matches!(stream.read(&mut [0; 8]).await, Ok(length) if length > 0));
        eventually(SOON, || async { proxy.connections() == 1 })
            .await
            .unwrap();
    }
}
