//! Why a connection to Redis ended, and how long to wait before the next one.

use std::io;
use std::time::Duration;

use pregon_capture::Backoff;
use pregon_wire::resp::Malformed;
use redis::{ErrorKind, ParsingError, RedisError, ServerErrorKind};
use tokio_util::sync::CancellationToken;

use crate::log::LogError;

/// Why there is no connection, or none any more.
#[derive(Debug, thiserror::Error)]
pub(super) enum Lost {
    #[error("{0}")]
    Redis(#[from] RedisError),
    #[error("unexpected answer: {0}")]
    Answer(#[from] ParsingError),
    #[error("{0}")]
    Io(#[from] io::Error),
    #[error("what the server sends is not understood: {0}")]
    Malformed(#[from] Malformed),
    /// The server's own words, which begin with a code.
    #[error("the server refuses: {0}")]
    Refused(String),
    #[error("the server does not know HELLO: Redis 6 or later is needed")]
    Old,
    #[error("the server closed the connection")]
    Closed,
    #[error("no answer for {0:?}")]
    Silent(Duration),
    #[error("the sentinels name another master")]
    Moved,
    #[error("the sentinels know no master called `{0}`: check the name in the url")]
    UnknownMaster(String),
    #[error("{0}")]
    Log(#[from] LogError),
}

/// Codes of what does not pass by itself.
const PERMANENT_CODES: [&str; 5] = ["NOAUTH", "WRONGPASS", "NOPERM", "NOPROTO", "WRONGTYPE"];

impl Lost {
    /// A refusal in the server's words. An old server repeats what it does not know, and there may be a password in it.
    pub(super) fn refused(words: &[u8]) -> Self {
        match String::from_utf8_lossy(words) {
            words if words.starts_with("ERR unknown command") => Self::Old,
            words => Self::Refused(words.into_owned()),
        }
    }

    /// Whether somebody has to change something first.
    fn is_permanent(&self) -> bool {
        match self {
            Self::Redis(error) => {
                let rights = matches!(
                    error.kind(),
                    ErrorKind::AuthenticationFailed
                        | ErrorKind::InvalidClientConfig
                        | ErrorKind::RESP3NotSupported
                        | ErrorKind::Server(ServerErrorKind::NoPerm)
                );
                rights || error.code().is_some_and(|code| PERMANENT_CODES.contains(&code))
            }
            Self::Refused(words) => PERMANENT_CODES
                .iter()
                .any(|code| words.split(' ').next() == Some(code)),
            Self::UnknownMaster(_) | Self::Old => true,
            _ => false,
        }
    }
}

/// Waits between attempts to connect.
#[derive(Debug, Default)]
pub(super) struct Retry {
    backoff: Backoff,
    /// What was last said: a server that stays away is told once.
    said: Option<String>,
}

impl Retry {
    /// The connection worked.
    pub(super) fn attached(&mut self) {
        *self = Self::default();
    }

    /// Says why and waits; `false` if `stop` came first.
    pub(super) async fn pause(&mut self, at: &str, lost: &Lost, stop: &CancellationToken) -> bool {
        let reason = lost.to_string();
        if self.said.as_ref() != Some(&reason) {
            tracing::warn!(at, reason, "no connection to redis, trying again");
            self.said = Some(reason);
        }
        let wait = self.backoff.next(lost.is_permanent(), rand::random());
        tokio::select! {
            () = tokio::time::sleep(wait) => true,
            () = stop.cancelled() => false,
        }
    }
}
