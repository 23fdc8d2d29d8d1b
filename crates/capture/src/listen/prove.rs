//! The self-test alone, for `doctor` and for whoever wants to know before starting: does LISTEN work through this connection?

use std::future::poll_fn;
use std::time::Duration;

use tokio_postgres::{AsyncMessage, Client};

use super::heartbeat::channel_name;
use crate::connect::{ConnectError, ConnectErrorKind, Connection, Settings};
use crate::query::ident;

/// A notification takes well under a millisecond.
const ANSWER: Duration = Duration::from_secs(2);

/// Why LISTEN does not work.
#[derive(Debug, thiserror::Error)]
pub enum ProveError {
    #[error(transparent)]
    Connect(#[from] ConnectError),
    /// A transaction pooler stands between.
    #[error("LISTEN is accepted but nothing is delivered: connect directly or through a session pooler")]
    Undelivered,
}

/// Listens on a channel of its own, notifies it from a second connection, and waits for what has to arrive.
pub async fn prove(settings: &Settings) -> Result<(), ProveError> {
    let settings = settings.with_name("self-test");
    let channel = channel_name("test");
    let (listening, mut connection) = settings.connect().await?;
    let sender = settings.open().await?;
    let work = async {
        let listen = format!("LISTEN {}", ident(&channel));
        drive(&mut connection, listening.batch_execute(&listen)).await?;
        notify(&sender, &channel).await?;
        arrives(&mut connection, &channel).await
    };
    tokio::time::timeout(ANSWER, work)
        .await
        .map_err(|_| ProveError::Undelivered)?
}

async fn notify(sender: &Client, channel: &str) -> Result<(), ProveError> {
    let sent = sender
        .execute("SELECT pg_catalog.pg_notify($1, '')", &[&channel])
        .await;
    sent.map(drop).map_err(|error| ConnectError::from(error).into())
}

/// Nothing can arrive before the notification is sent, so messages are not looked at here.
async fn drive(
    connection: &mut Connection,
    work: impl Future<Output = Result<(), tokio_postgres::Error>>,
) -> Result<(), ProveError> {
    tokio::select! {
        biased;
        done = work => done.map_err(|error| ConnectError::from(error).into()),
        ended = connection => Err(ended.err().map_or_else(closed, ConnectError::from).into()),
    }
}

async fn arrives(connection: &mut Connection, channel: &str) -> Result<(), ProveError> {
    loop {
        match poll_fn(|cx| connection.poll_message(cx)).await {
            Some(Ok(AsyncMessage::Notification(heard))) if heard.channel() == channel => return Ok(()),
            Some(Ok(_)) => {}
            Some(Err(error)) => return Err(ConnectError::from(error).into()),
            None => return Err(closed().into()),
        }
    }
}

fn closed() -> ConnectError {
    ConnectError::new(ConnectErrorKind::Refused, "the server closed the connection")
}
