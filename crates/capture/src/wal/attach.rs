//! From a login to a stream: looks at publication and slot, decides where to begin, and begins.

use std::time::Duration;

use bytes::BytesMut;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};

use super::continuity::{self, Found, Known, Start};
use super::denied;
use super::frame::{self, Frame};
use super::lsn::Lsn;
use crate::catalog::names::{ident, literal};
use crate::connect::{ConnectError, Duplex, Replication, Settings};
use crate::fault::code_told;

/// The server may have to wait for others before it streams.
const START_TIMEOUT: Duration = Duration::from_secs(10);
/// Read at once; frames are cut from it without copying.
const READ: usize = 64 * 1024;

/// Why there is no stream, or why it ended.
#[derive(Debug, thiserror::Error)]
pub(super) enum Trouble {
    #[error("{0}")]
    Connect(#[from] ConnectError),
    #[error("the server refuses the slot to this role ({0}); {remedy}", remedy = denied::remedy(.0))]
    Denied(String),
    /// The same change would end the stream again and again.
    #[error("the server cannot send a change: {0}")]
    Unsendable(String),
    #[error("there is no publication {0}; run `pregon db apply`")]
    NoPublication(String),
    #[error("there is no slot {0}; run `pregon db apply`")]
    NoSlot(String),
    #[error("the slot {0} is lost ({1}); run `pregon db apply`, which makes it anew")]
    LostSlot(String, String),
    #[error("the slot {0} is not ours: {1}")]
    ForeignSlot(String, String),
    #[error("another gateway reads the slot ({0}); waiting to take over")]
    Busy(String),
    /// By whom is not known, or it is our own last connection, which the server keeps for some seconds when it broke on the way.
    #[error("the slot is in use, maybe by the last connection of this gateway ({0}); waiting")]
    InUse(String),
    #[error("the slot holds changes from before the publication was made ({0}); it has to be made anew")]
    Stale(String),
    #[error("the server ended the stream: {0}")]
    Lost(String),
}

impl Trouble {
    /// The installation can mend it.
    pub(super) fn is_mendable(&self) -> bool {
        matches!(
            self,
            Self::NoPublication(_) | Self::NoSlot(_) | Self::LostSlot(..) | Self::Stale(_)
        )
    }

    /// What anybody may hear of it: names of servers, roles and their sessions are for the log.
    pub(super) fn in_short(&self) -> Option<&'static str> {
        match self {
            Self::Denied(_) => Some("the server refuses the slot to this role"),
            Self::NoPublication(_) => Some("there is no publication"),
            Self::NoSlot(_) => Some("there is no slot"),
            Self::LostSlot(..) => Some("the slot is lost"),
            Self::ForeignSlot(..) => Some("the slot is not ours"),
            Self::Busy(_) => Some("another gateway reads the slot, this one stands by"),
            Self::Stale(_) => Some("the slot has to be made anew"),
            Self::Connect(_) | Self::Unsendable(_) | Self::InUse(_) | Self::Lost(_) => None,
        }
    }

    /// Somebody has to do something.
    pub(super) fn is_permanent(&self) -> bool {
        match self {
            Self::Connect(error) => error.is_permanent(),
            Self::Busy(_) | Self::InUse(_) | Self::Lost(_) | Self::Unsendable(_) => false,
            _ => true,
        }
    }

    /// The server's own refusal of a command or of the stream.
    pub(super) fn refused(slot: &str, code: &str, message: String) -> Self {
        match code {
            "55006" => Self::InUse(message),
            "55000" if message.contains("slot") => Self::LostSlot(slot.to_owned(), message),
            "42501" => Self::Denied(message),
            "42704" if message.contains("publication") => Self::Stale(message),
            "42704" => Self::NoSlot(slot.to_owned()),
            code => {
                let unsendable = denied::is_unsendable(code, &message);
                let told = if code.starts_with("22") {
                    // It quotes a value of the change.
                    tracing::debug!(code, message, "what the server said at the end of the stream");
                    code_told(code)
                } else {
                    format!("{message} ({code})")
                };
                match unsendable {
                    true => Self::Unsendable(told),
                    false => Self::Lost(told),
                }
            }
        }
    }

    fn query(slot: &str, error: tokio_postgres::Error) -> Self {
        match error.as_db_error() {
            Some(db) => {
                let more = db.detail().into_iter().chain(db.hint());
                let words: Vec<&str> = std::iter::once(db.message()).chain(more).collect();
                Self::refused(slot, db.code().code(), words.join("; "))
            }
            None => Self::Connect(error.into()),
        }
    }
}

/// A stream that has begun.
pub(super) struct Attached {
    pub(super) stream: Copying,
    pub(super) start: Start,
    /// As [`super::Health`] names it.
    pub(super) publication: String,
}

/// Logs in, looks around, and starts the stream, behind the transaction that was committed at `past` if it comes later.
pub(super) async fn attach(
    settings: &Settings,
    slot: &str,
    known: Option<Known>,
    past: Option<Lsn>,
) -> Result<Attached, Trouble> {
    let session = settings.replicate().await.map_err(|error| {
        // 42501 at the login of a role without the attribute.
        match error.to_string() {
            text if text.contains("(42501)") => Trouble::Denied(text),
            _ => Trouble::Connect(error),
        }
    })?;
    let (found, publication) = look(&session, slot).await?;
    let start = continuity::start(known, found, rand::random()).behind(past);
    let sql = format!(
        "START_REPLICATION SLOT {} LOGICAL {} (proto_version '1', publication_names {}, messages 'true')",
        ident(slot),
        start.known.place.lsn,
        literal(&ident(slot)).trim_start(),
    );
    let lost = || Trouble::Lost("the connection ended".to_owned());
    let mut stream = Copying::new(session.into_stream().ok_or_else(lost)?);
    let begun = async {
        stream.send(&frame::query(&sql)).await?;
        loop {
            match stream.next().map_err(|error| Trouble::Lost(error.to_string()))? {
                Some(Frame::Started) => return Ok(()),
                Some(Frame::Refused { code, message }) => return Err(Trouble::refused(slot, &code, message)),
                Some(_) => return Err(Trouble::Lost("the stream did not begin".to_owned())),
                None => stream.fill().await?,
            }
        }
    };
    match tokio::time::timeout(START_TIMEOUT, begun).await {
        Ok(done) => done?,
        Err(_) => return Err(Trouble::Lost("the stream did not begin in time".to_owned())),
    }
    Ok(Attached {
        stream,
        start,
        publication,
    })
}

const SLOT: &str = "
    SELECT s.plugin, s.database, s.confirmed_flush_lsn, coalesce(s.wal_status, 'lost'), coalesce(s.active_pid::text, ''),
           pg_current_wal_flush_lsn(), current_database(), a.application_name, a.application_name = current_setting('application_name')
      FROM pg_replication_slots s LEFT JOIN pg_stat_activity a ON a.pid = s.active_pid WHERE s.slot_name = ";

async fn look(session: &Replication, slot: &str) -> Result<(Found, String), Trouble> {
    let ask = async |sql: String| {
        session
            .query(&sql)
            .await
            .map_err(|error| Trouble::query(slot, error))
    };
    let system = ask("IDENTIFY_SYSTEM".to_owned()).await?;
    let publication = ask(format!(
        "SELECT oid || '/' || xmin FROM pg_publication WHERE pubname = {}",
        literal(slot)
    ))
    .await?;
    let Some(publication) = publication.first() else {
        return Err(Trouble::NoPublication(slot.to_owned()));
    };
    let slots = ask(format!("{SLOT}{}", literal(slot))).await?;
    let Some(found) = slots.first() else {
        return Err(Trouble::NoSlot(slot.to_owned()));
    };
    let text = |row: &[Option<String>], at: usize| row.get(at).cloned().flatten().unwrap_or_default();
    let status = text(found, 3);
    if status == "lost" {
        return Err(Trouble::LostSlot(
            slot.to_owned(),
            "the server has removed WAL that it needs".to_owned(),
        ));
    }
    if text(found, 0) != "pgoutput" || text(found, 1) != text(found, 6) {
        let what = format!("plugin {}, database {}", text(found, 0), text(found, 1));
        return Err(Trouble::ForeignSlot(slot.to_owned(), what));
    }
    let pid = text(found, 4);
    if !pid.is_empty() {
        let who = format!("{}, pid {pid}", text(found, 7));
        return Err(match text(found, 8).as_str() {
            "f" => Trouble::Busy(who),
            _ => Trouble::InUse(who),
        });
    }
    let system = system.first().cloned().unwrap_or_default();
    let (id, timeline, database) = (text(&system, 0), text(&system, 1), text(found, 6));
    let lsn = |at: usize| text(found, at).parse::<Lsn>().unwrap_or_default();
    // Also what it publishes: one that was altered and altered back is another one.
    let publication = text(publication, 0);
    let found = Found {
        identity: continuity::identity(&[&id, &timeline, &database, slot, &publication]),
        confirmed: lsn(2),
        written: lsn(5),
    };
    Ok((found, publication))
}

/// A connection in the mode in which both sides stream.
pub(super) struct Copying {
    stream: Box<dyn Duplex>,
    read: BytesMut,
}

impl Copying {
    fn new(stream: Box<dyn Duplex>) -> Self {
        Self {
            stream,
            read: BytesMut::new(),
        }
    }

    /// The next frame of what was read; `None` if there is no whole one.
    pub(super) fn next(&mut self) -> Result<Option<Frame>, frame::Broken> {
        frame::take(&mut self.read)
    }

    /// Reads more. Nothing is lost if it is given up.
    pub(super) async fn fill(&mut self) -> Result<(), Trouble> {
        self.read.reserve(READ);
        match self.stream.read_buf(&mut self.read).await {
            Ok(0) => Err(Trouble::Lost("the server closed the connection".to_owned())),
            Ok(_) => Ok(()),
            Err(error) => Err(Trouble::Lost(error.to_string())),
        }
    }

    /// Ends the stream in order: a connection that is merely cut may take the last message with it.
    pub(super) async fn finish(mut self) -> Result<(), Trouble> {
        self.send(&frame::END).await?;
        loop {
            match self.next() {
                Ok(Some(Frame::Ended)) | Err(_) => return Ok(()),
                Ok(Some(_)) => {}
                Ok(None) => self.fill().await?,
            }
        }
    }

    /// Writes a whole message.
    pub(super) async fn send(&mut self, message: &[u8]) -> Result<(), Trouble> {
        let sent = async {
            self.stream.write_all(message).await?;
            self.stream.flush().await
        };
        sent.await.map_err(|error| Trouble::Lost(error.to_string()))
    }
}
