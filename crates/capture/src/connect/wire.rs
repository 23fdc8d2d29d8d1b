//! The stream below every connection by TCP: TLS, or the plain socket in the same type.
//!
//! Both pass through here because the driver does not say how the server asked for the password, and md5 deserves a warning: the
//! first bytes of the server tell.

use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::task::{Context, Poll, ready};

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio_postgres::Socket;
use tokio_postgres::tls::{ChannelBinding, MakeTlsConnect, TlsConnect, TlsStream};
use tokio_postgres_rustls::MakeRustlsConnect;

type Rustls = <MakeRustlsConnect as MakeTlsConnect<Socket>>::Stream;
type RustlsConnect = <MakeRustlsConnect as MakeTlsConnect<Socket>>::TlsConnect;

/// AuthenticationMD5Password: type, length 12, code 5.
const ASKS_MD5: [u8; 9] = [b'R', 0, 0, 0, 12, 0, 0, 0, 5];

/// Whether the server asked for an md5 hash, and how many bytes came from it.
type Notes = (Arc<AtomicBool>, Arc<AtomicU64>);

/// Makes [`Wire`]s. For a plain one the driver must be told to negotiate TLS directly: then it asks the server nothing.
#[derive(Clone)]
pub(super) struct Connector {
    rustls: MakeRustlsConnect,
    plain: bool,
    /// The server asked for an md5 hash.
    md5: Arc<AtomicBool>,
    /// Bytes that came from it.
    received: Arc<AtomicU64>,
}

impl Connector {
    pub(super) fn new(rustls: MakeRustlsConnect, plain: bool) -> Self {
        Self {
            rustls,
            plain,
            md5: Arc::default(),
            received: Arc::default(),
        }
    }

    /// The same for a socket that stays bare.
    pub(super) fn without_tls(&self) -> Self {
        Self {
            plain: true,
            ..self.clone()
        }
    }

    /// A copy for one attempt.
    pub(super) fn fresh(&self) -> Self {
        Self {
            md5: Arc::default(),
            received: Arc::default(),
            ..self.clone()
        }
    }

    /// Whether the server asked for an md5 hash.
    pub(super) fn was_asked_md5(&self) -> bool {
        self.md5.load(Ordering::Relaxed)
    }

    /// Counts the bytes that come from the server. Stays 0 on a unix socket, which the driver keeps to itself.
    pub(super) fn received(&self) -> Arc<AtomicU64> {
        Arc::clone(&self.received)
    }
}

impl MakeTlsConnect<Socket> for Connector {
    type Stream = Wire;
    type TlsConnect = Connecting;
    type Error = io::Error;

    fn make_tls_connect(&mut self, domain: &str) -> Result<Connecting, io::Error> {
        let rustls = if self.plain {
            None
        } else {
            let made = MakeTlsConnect::<Socket>::make_tls_connect(&mut self.rustls, domain);
            Some(made.map_err(io::Error::other)?)
        };
        Ok(Connecting {
            rustls,
            notes: (Arc::clone(&self.md5), Arc::clone(&self.received)),
        })
    }
}

/// One handshake to be.
pub(super) struct Connecting {
    /// Absent for a plain connection.
    rustls: Option<RustlsConnect>,
    notes: Notes,
}

impl TlsConnect<Socket> for Connecting {
    type Stream = Wire;
    type Error = io::Error;
    type Future = Pin<Box<dyn Future<Output = io::Result<Wire>> + Send>>;

    fn connect(self, socket: Socket) -> Self::Future {
        let Self { rustls, notes } = self;
        match rustls {
            None => Box::pin(std::future::ready(Ok(Wire::new(Inner::Plain(socket), notes)))),
            Some(rustls) => {
                let handshake = rustls.connect(socket);
                Box::pin(async move { Ok(Wire::new(Inner::Tls(Box::new(handshake.await?)), notes)) })
            }
        }
    }
}

enum Inner {
    Plain(Socket),
    Tls(Box<Rustls>),
}

/// A stream to the server; looks at the first message that comes back, and at nothing after it.
pub struct Wire {
    inner: Inner,
    /// Bytes of [`ASKS_MD5`] seen so far; absent once the first message is judged.
    matched: Option<usize>,
    notes: Notes,
}

impl Wire {
    fn new(inner: Inner, notes: Notes) -> Self {
        Self {
            inner,
            matched: Some(0),
            notes,
        }
    }

    fn judge(&mut self, read: &[u8]) {
        let Some(matched) = self.matched else { return };
        let rest = ASKS_MD5.get(matched..).unwrap_or_default();
        let common = rest.len().min(read.len());
        self.matched = if read.get(..common) != rest.get(..common) {
            None
        } else if common == rest.len() {
            self.notes.0.store(true, Ordering::Relaxed);
            None
        } else {
            Some(matched + common)
        };
    }
}

impl TlsStream for Wire {
    fn channel_binding(&self) -> ChannelBinding {
        match &self.inner {
            Inner::Plain(_) => ChannelBinding::none(),
            Inner::Tls(tls) => tls.channel_binding(),
        }
    }
}

impl AsyncRead for Wire {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let before = buf.filled().len();
        ready!(match &mut self.inner {
            Inner::Plain(socket) => Pin::new(socket).poll_read(cx, buf),
            Inner::Tls(tls) => Pin::new(tls).poll_read(cx, buf),
        })?;
        let read = buf.filled().get(before..).unwrap_or_default();
        self.notes.1.fetch_add(read.len() as u64, Ordering::Relaxed);
        if self.matched.is_some() {
            self.judge(read);
        }
        Poll::Ready(Ok(()))
    }
}

impl AsyncWrite for Wire {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        match &mut self.inner {
            Inner::Plain(socket) => Pin::new(socket).poll_write(cx, bytes),
            Inner::Tls(tls) => Pin::new(tls).poll_write(cx, bytes),
        }
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match &mut self.inner {
            Inner::Plain(socket) => Pin::new(socket).poll_flush(cx),
            Inner::Tls(tls) => Pin::new(tls).poll_flush(cx),
        }
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match &mut self.inner {
            Inner::Plain(socket) => Pin::new(socket).poll_shutdown(cx),
            Inner::Tls(tls) => Pin::new(tls).poll_shutdown(cx),
        }
    }
}
