//! Whose session it is. Behind a pooler that changes the server process between two transactions, whatever a session sets stays with
//! that process and meets the application's next statement; so nothing is set before this is known.
//!
//! A direct connection is certain: the process that the login named is the one that answers. A pooler names another one. It is then
//! tried whether a second client gets our process while we rest, which a pooler that leaves us our process never allows. Comparing
//! the processes of two statements would show nothing where we are the only client.

use std::io;
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt, DuplexStream, ReadBuf};
use tokio_postgres::tls::{ChannelBinding, TlsConnect, TlsStream};
use tokio_postgres::{Client, SimpleQueryMessage};

use super::{ConnectError, ConnectErrorKind, Login, Settings, drive};

/// Second clients that are tried, each on a connection of its own: one address may hide several poolers.
const TRIES: usize = 4;
/// For all of them. A pooler without a free connection lets clients wait for minutes.
const PATIENCE: Duration = Duration::from_secs(3);

/// How long the other client holds its process at the most.
const HELD: Duration = Duration::from_millis(300);

/// Whose the server process is that answers.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Seat {
    /// Ours: nothing stands between, or nothing that matters.
    Direct,
    /// Ours while we are connected: a pooler gives it to somebody else afterwards.
    Lent,
    /// Anybody's between two transactions: nothing may be set or left behind.
    Shared,
}

/// The process that the login named.
pub(super) async fn named_process(client: &Client) -> Option<i32> {
    // The driver shows the number to nobody, except inside of a request to cancel: it is written to us instead of to a server.
    let (ours, mut theirs) = tokio::io::duplex(64);
    theirs.write_all(b"S").await.ok()?;
    client.cancel_token().cancel_query_raw(ours, Open).await.ok()?;
    let mut request = Vec::new();
    theirs.read_to_end(&mut request).await.ok()?;
    // At the end: length, code, process, secret.
    let process = request.len().checked_sub(8)?;
    let bytes: [u8; 4] = request.get(process..process + 4)?.try_into().ok()?;
    Some(i32::from_be_bytes(bytes))
}

/// Tells a pooler that leaves us our process from one that does not.
pub(super) async fn behind_a_pooler(settings: &Settings, login: &mut Login) -> Result<Seat, ConnectError> {
    match tokio::time::timeout(PATIENCE, compare(settings, login)).await {
        Ok(seat) => seat,
        Err(_) => Err(ConnectError::new(
            ConnectErrorKind::TooMany,
            "the pooler gave no second connection in time, so that it is not known whether it shares the first",
        )),
    }
}

async fn compare(settings: &Settings, login: &mut Login) -> Result<Seat, ConnectError> {
    let first = process(login, ASK).await?;
    for _ in 0..TRIES {
        let mut other = settings.enter().await?;
        // Pooling by statement refuses a transaction.
        let Ok(theirs) = process(&mut other, HOLD).await else {
            return Ok(Seat::Shared);
        };
        if theirs == first {
            return Ok(Seat::Shared);
        }
        let again = ask_again(login, &mut other).await?;
        if again != first {
            return Ok(Seat::Shared);
        }
    }
    Ok(Seat::Lent)
}

/// Our process once more while the other client holds its own. Without a free one the pooler waits for the other client to leave, which a
/// pooler that had left us ours would not.
async fn ask_again(login: &mut Login, other: &mut Login) -> Result<String, ConnectError> {
    let mut asking = std::pin::pin!(process(login, ASK));
    let held = tokio::time::timeout(HELD, asking.as_mut()).await;
    drive(&mut other.connection, other.client.simple_query("ROLLBACK")).await?;
    match held {
        Ok(answer) => answer,
        Err(_) => asking.await,
    }
}

const ASK: &str = "SELECT pg_catalog.pg_backend_pid()";
const HOLD: &str = "BEGIN; SELECT pg_catalog.pg_backend_pid()";

async fn process(login: &mut Login, sql: &str) -> Result<String, ConnectError> {
    let answer = drive(&mut login.connection, login.client.simple_query(sql)).await?;
    let text = answer.iter().find_map(|message| match message {
        SimpleQueryMessage::Row(row) => row.try_get(0).ok().flatten(),
        _ => None,
    });
    text.map(str::to_owned).ok_or_else(|| {
        ConnectError::new(
            ConnectErrorKind::Other,
            "the server did not say which process it is",
        )
    })
}

/// Lets everything through.
struct Open;

struct Through(DuplexStream);

impl TlsConnect<DuplexStream> for Open {
    type Stream = Through;
    type Error = io::Error;
    type Future = std::future::Ready<io::Result<Through>>;

    fn connect(self, stream: DuplexStream) -> Self::Future {
        std::future::ready(Ok(Through(stream)))
    }
}

impl TlsStream for Through {
    fn channel_binding(&self) -> ChannelBinding {
        ChannelBinding::none()
    }
}

impl AsyncRead for Through {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        Pin::new(&mut self.0).poll_read(cx, buf)
    }
}

impl AsyncWrite for Through {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.0).poll_write(cx, bytes)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.0).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.0).poll_shutdown(cx)
    }
}
