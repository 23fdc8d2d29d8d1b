//! A login on the replication protocol, made by the driver, and the bare stream behind it.
//!
//! The driver knows hosts, TLS, passwords and channel binding, but neither the parameter that asks for replication nor the
//! mode in which changes are streamed. So its stream passes through [`Tapped`], which adds the parameter to the first message,
//! and from which the stream is taken away once everything that the driver can do has been done.

use std::io;
use std::path::Path;
use std::pin::Pin;
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll, ready};

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::UnixStream;
use tokio::task::JoinHandle;
use tokio_postgres::config::{Host, SslMode, SslNegotiation};
use tokio_postgres::tls::{ChannelBinding, MakeTlsConnect, TlsConnect, TlsStream};
use tokio_postgres::{Client, Config, NoTls, SimpleQueryMessage, Socket};

use super::needs;
use super::wire::{Connecting, Connector};
use super::{CONNECT_TIMEOUT, ConnectError, ConnectErrorKind, SESSION_SQL, Settings, Wire, chain};

/// Beside what every session of ours needs, so that changes come as `row_to_json` shows them: names with their schema.
const STREAM: &str = "SET search_path = pg_catalog, pg_temp; SET wal_sender_timeout = '10s'";

/// A database without an encoding has texts that cannot be sent as UTF-8: they come as they are, and each row is judged by itself.
const ENCODING: &str = "SELECT pg_catalog.set_config('client_encoding', 'SQL_ASCII', false) \
     WHERE pg_catalog.current_setting('server_encoding') = 'SQL_ASCII'";

/// Bytes in both directions.
pub(crate) trait Duplex: AsyncRead + AsyncWrite + Unpin + Send {
    fn binding(&self) -> ChannelBinding {
        ChannelBinding::none()
    }
}

impl Duplex for UnixStream {}

impl Duplex for Wire {
    fn binding(&self) -> ChannelBinding {
        TlsStream::channel_binding(self)
    }
}

type Shared = Arc<Mutex<Option<Box<dyn Duplex>>>>;

/// A session on the replication protocol that has not begun to stream.
pub(crate) struct Replication {
    client: Client,
    driver: JoinHandle<()>,
    shared: Shared,
}

impl Replication {
    /// Runs one command and gives its rows.
    pub(crate) async fn query(&self, sql: &str) -> Result<Vec<Vec<Option<String>>>, tokio_postgres::Error> {
        let messages = self.client.simple_query(sql).await?;
        let rows = messages.iter().filter_map(|message| match message {
            SimpleQueryMessage::Row(row) => Some(
                (0..row.len())
                    .map(|index| row.get(index).map(str::to_owned))
                    .collect(),
            ),
            _ => None,
        });
        Ok(rows.collect())
    }

    /// The stream, with nothing on its way; `None` if the connection has ended.
    pub(crate) fn into_stream(self) -> Option<Box<dyn Duplex>> {
        self.shared.lock().unwrap_or_else(PoisonError::into_inner).take()
    }
}

impl Drop for Replication {
    fn drop(&mut self) {
        self.driver.abort();
    }
}

impl Settings {
    /// Logs in for replication of the database that the connection string names.
    pub(crate) async fn replicate(&self) -> Result<Replication, ConnectError> {
        let limit = self
            .config
            .get_connect_timeout()
            .copied()
            .unwrap_or(CONNECT_TIMEOUT);
        match tokio::time::timeout(limit, self.log_in()).await {
            Ok(done) => done,
            Err(_) => Err(ConnectError::new(
                ConnectErrorKind::Timeout,
                format!("no login within {} ms at {}", limit.as_millis(), self.redacted()),
            )),
        }
    }

    async fn log_in(&self) -> Result<Replication, ConnectError> {
        let unix: Vec<&Path> = self
            .config
            .get_hosts()
            .iter()
            .filter_map(|host| match host {
                Host::Unix(path) => Some(path.as_path()),
                Host::Tcp(_) => None,
            })
            .collect();
        let session = if unix.is_empty() {
            self.log_in_by_tcp().await?
        } else {
            self.log_in_by_socket(&unix).await?
        };
        if self.is_tcp() {
            session.query(SESSION_SQL).await?;
        }
        session.query(STREAM).await?;
        session.query(&needs::query()).await?;
        session.query(ENCODING).await?;
        Ok(session)
    }

    async fn log_in_by_socket(&self, folders: &[&Path]) -> Result<Replication, ConnectError> {
        let ports = self.config.get_ports();
        let mut config = self.config.clone();
        config.ssl_mode(SslMode::Disable);
        let mut failure = None;
        for (index, folder) in folders.iter().enumerate() {
            let port = ports.get(index).or(ports.first()).copied().unwrap_or(5432);
            let stream = match UnixStream::connect(folder.join(format!(".s.PGSQL.{port}"))).await {
                Ok(stream) => stream,
                Err(error) => {
                    failure = Some(ConnectError::new(ConnectErrorKind::Refused, error.to_string()));
                    continue;
                }
            };
            let (tapped, shared) = Tapped::new(Box::new(stream));
            let (client, connection) = config.connect_raw(tapped, NoTls).await?;
            return Ok(Replication::new(client, connection, shared));
        }
        Err(failure.unwrap_or_else(|| ConnectError::config("the connection string names no host")))
    }

    async fn log_in_by_tcp(&self) -> Result<Replication, ConnectError> {
        let mut config = self.config.clone();
        if config.get_hosts().is_empty() {
            // The stream passes through a connector only where the host has a name.
            for address in self.config.get_hostaddrs() {
                config.host(address.to_string());
            }
        }
        match config.get_ssl_mode() {
            SslMode::Prefer => match self.encrypted(&config).await {
                Err(error) if error.kind() == ConnectErrorKind::Tls => self.plain(config).await,
                done => done,
            },
            SslMode::Disable => self.plain(config).await,
            _ => self.tapped(&config, self.connector.clone()).await,
        }
    }

    async fn encrypted(&self, config: &Config) -> Result<Replication, ConnectError> {
        let mut config = config.clone();
        config.ssl_mode(SslMode::Require);
        self.tapped(&config, self.connector.clone()).await
    }

    /// The driver hands the bare socket to the connector when it believes in TLS without negotiation.
    async fn plain(&self, mut config: Config) -> Result<Replication, ConnectError> {
        config
            .ssl_mode(SslMode::Require)
            .ssl_negotiation(SslNegotiation::Direct);
        self.tapped(&config, self.connector.without_tls()).await
    }

    async fn tapped(&self, config: &Config, connector: Connector) -> Result<Replication, ConnectError> {
        let inner = connector.fresh();
        let shared = Shared::default();
        let tap = Tap {
            inner: inner.clone(),
            shared: Arc::clone(&shared),
        };
        let (client, connection) = config.connect(tap).await?;
        if inner.was_asked_md5() {
            self.warn_of_md5();
        }
        Ok(Replication::new(client, connection, shared))
    }
}

impl Replication {
    fn new<C>(client: Client, connection: C, shared: Shared) -> Self
    where
        C: Future<Output = Result<(), tokio_postgres::Error>> + Send + 'static,
    {
        let driver = tokio::spawn(async move {
            if let Err(error) = connection.await {
                tracing::debug!(error = %chain(&error), "a replication connection ended");
            }
        });
        Self {
            client,
            driver,
            shared,
        }
    }
}

/// Makes [`Tapped`] streams of what another connector makes.
struct Tap {
    inner: Connector,
    shared: Shared,
}

impl MakeTlsConnect<Socket> for Tap {
    type Stream = Tapped;
    type TlsConnect = Tapping;
    type Error = io::Error;

    fn make_tls_connect(&mut self, domain: &str) -> Result<Tapping, io::Error> {
        Ok(Tapping {
            inner: self.inner.make_tls_connect(domain)?,
            shared: Arc::clone(&self.shared),
        })
    }
}

struct Tapping {
    inner: Connecting,
    shared: Shared,
}

impl TlsConnect<Socket> for Tapping {
    type Stream = Tapped;
    type Error = io::Error;
    type Future = Pin<Box<dyn Future<Output = io::Result<Tapped>> + Send>>;

    fn connect(self, socket: Socket) -> Self::Future {
        let Self { inner, shared } = self;
        Box::pin(async move {
            let wire = inner.connect(socket).await?;
            *shared.lock().unwrap_or_else(PoisonError::into_inner) = Some(Box::new(wire));
            Ok(Tapped {
                shared,
                startup: Startup::Awaited,
            })
        })
    }
}

/// A stream that can be taken away, and that makes the first message ask for replication.
struct Tapped {
    shared: Shared,
    startup: Startup,
}

enum Startup {
    Awaited,
    /// Our message, of which so many bytes are written.
    Sending(Vec<u8>, usize),
    Sent,
}

impl Tapped {
    fn new(stream: Box<dyn Duplex>) -> (Self, Shared) {
        let shared: Shared = Arc::new(Mutex::new(Some(stream)));
        let tapped = Self {
            shared: Arc::clone(&shared),
            startup: Startup::Awaited,
        };
        (tapped, shared)
    }

    fn with<T>(&self, poll: impl FnOnce(Pin<&mut dyn Duplex>) -> Poll<io::Result<T>>) -> Poll<io::Result<T>> {
        match self
            .shared
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .as_mut()
        {
            Some(stream) => poll(Pin::new(&mut **stream)),
            None => Poll::Ready(Err(io::ErrorKind::BrokenPipe.into())),
        }
    }

    fn poll_startup(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        while let Startup::Sending(message, written) = &self.startup {
            let Some(rest) = message.get(*written..).filter(|rest| !rest.is_empty()) else {
                self.startup = Startup::Sent;
                break;
            };
            let more = ready!(self.with(|stream| stream.poll_write(cx, rest)))?;
            if let Startup::Sending(_, written) = &mut self.startup {
                *written += more;
            }
        }
        Poll::Ready(Ok(()))
    }
}

impl TlsStream for Tapped {
    fn channel_binding(&self) -> ChannelBinding {
        let shared = self.shared.lock().unwrap_or_else(PoisonError::into_inner);
        shared
            .as_ref()
            .map_or_else(ChannelBinding::none, |stream| stream.binding())
    }
}

impl AsyncRead for Tapped {
    fn poll_read(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        self.with(|stream| stream.poll_read(cx, buf))
    }
}

impl AsyncWrite for Tapped {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        if matches!(self.startup, Startup::Awaited) {
            self.startup = Startup::Sending(ask_for_replication(bytes)?, 0);
            // What is not written yet goes with the flush.
            return match self.poll_startup(cx) {
                Poll::Ready(Err(error)) => Poll::Ready(Err(error)),
                _ => Poll::Ready(Ok(bytes.len())),
            };
        }
        ready!(self.poll_startup(cx))?;
        self.with(|stream| stream.poll_write(cx, bytes))
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        ready!(self.poll_startup(cx))?;
        self.with(|stream| stream.poll_flush(cx))
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.with(|stream| stream.poll_shutdown(cx))
    }
}

/// A startup message (length, version, name and value pairs, a zero) with one more parameter.
fn ask_for_replication(message: &[u8]) -> io::Result<Vec<u8>> {
    const PARAMETER: &[u8] = b"replication\0database\0";
    let broken = || {
        io::Error::new(
            io::ErrorKind::InvalidData,
            "the first message is not a startup message",
        )
    };
    let (length, rest) = message.split_first_chunk::<4>().ok_or_else(broken)?;
    let whole = usize::try_from(u32::from_be_bytes(*length)).ok() == Some(message.len());
    // Version 3 of the protocol.
    if !whole || !rest.starts_with(&[0, 3]) {
        return Err(broken());
    }
    let (_, pairs) = rest.split_last().ok_or_else(broken)?;
    let length = u32::try_from(message.len() + PARAMETER.len()).map_err(|_| broken())?;
    let mut asked = length.to_be_bytes().to_vec();
    asked.extend_from_slice(pairs);
    asked.extend_from_slice(PARAMETER);
    asked.push(0);
    Ok(asked)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn the_first_message_gets_one_more_parameter() {
        let message = b"\0\0\0\x11\0\x03\0\0user\0me\0\0";
        assert_eq!(message.len(), 0x11);
        let asked = ask_for_replication(message).unwrap();
        assert_eq!(asked, b"\0\0\0\x26\0\x03\0\0user\0me\0replication\0database\0\0");
        assert_eq!(asked.len(), 0x26);
        for broken in [&b""[..], b"\0\0\0\x08\x04\xd2\x16\x2f", b"\0\0\0\x11\0\x03"] {
            assert!(ask_for_replication(broken).is_err());
        }
    }
}
