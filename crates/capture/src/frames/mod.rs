//! A log that several gateways share, in tables of ours: frames with numbers, each appended once, read in order.
//!
//! ```text
//!  every node: append ──log_append()──▶ pregon.log_frame (a lock is held to the commit) ──NOTIFY──▶ reader of every node
//!                                       pregon.log: which history it is
//! ```
//!
//! A lock serialises all appends, so that the order of the numbers is the order of the commits and a reader that sees a number sees all
//! before it. Appending only inserts, so that a transaction that is open for long slows nothing. What a frame holds is nothing to this module.

mod turn;

use std::sync::Arc;
use std::time::{Duration, SystemTime};

use tokio::sync::Notify;
use tokio::task::JoinHandle;
use tokio_postgres::types::ToSql;
use tokio_postgres::{AsyncMessage, Client, Statement};

use crate::connect::{Connection, Settings, chain};
use crate::fault::code_told;

pub use turn::Turn;

use crate::connect::ConnectError;

/// The NOTIFY channel on which new frames are told, with the name of their log.
const NEWS: &str = "pregon_log";

/// Longest wait for an answer.
const PATIENCE: Duration = Duration::from_secs(5);

/// For sessions of ours. The server ends a statement sooner than whoever waits for it gives up, so that the session stays.
const SETTINGS: &[(&str, &str)] = &[
    ("search_path", "pg_catalog, pg_temp"),
    ("statement_timeout", "4500"),
    ("lock_timeout", "0"),
    ("jit", "off"),
    // Frames come and go, and statistics are stale: anything but an index is the wrong plan.
    ("plan_cache_mode", "force_generic_plan"),
    ("enable_seqscan", "off"),
    ("enable_bitmapscan", "off"),
    ("tcp_keepalives_idle", "3"),
    ("tcp_keepalives_interval", "2"),
    ("tcp_keepalives_count", "2"),
    ("tcp_user_timeout", "6000"),
];

/// Frames of one answer, beside their bytes: an answer of empty ones must not be endless.
const FRAMES: i64 = 1_000;

/// Why something was not done.
#[derive(Debug, thiserror::Error)]
pub enum FramesError {
    #[error("{0}")]
    Connect(#[from] ConnectError),
    #[error("the connection to the log was lost: {0}")]
    Lost(String),
    /// The message may quote values and is not shown.
    #[error("the database refuses it ({})", code_told(.code))]
    Sql { code: String },
    #[error(
        "there is no shared log in this database: run `pregon db apply`, or set [postgres] apply = \"auto\""
    )]
    Missing,
    /// Somebody else has appended for the source since.
    #[error("another gateway has appended for this source")]
    Fenced,
    /// The log has another epoch than the one that was named.
    #[error("the history of the log was lost")]
    History,
    #[error("the server is a standby: connect to the primary")]
    Standby,
    #[error("no answer in {0:?}")]
    Silent(Duration),
}

impl FramesError {
    /// Trying again soon will not help.
    pub fn is_permanent(&self) -> bool {
        match self {
            Self::Connect(error) => error.is_permanent(),
            Self::Missing | Self::Standby => true,
            Self::Sql { code } => code == "42501",
            Self::Lost(_) | Self::Fenced | Self::History | Self::Silent(_) => false,
        }
    }
}

impl From<tokio_postgres::Error> for FramesError {
    fn from(error: tokio_postgres::Error) -> Self {
        let Some(db) = error.as_db_error() else {
            return Self::Lost(chain(&error));
        };
        match db.code().code() {
            "PR001" => Self::Fenced,
            "PR002" => Self::History,
            // No such schema, table, function.
            "3F000" | "42P01" | "42883" => Self::Missing,
            "25006" => Self::Standby,
            // The server stops, or ends this session.
            code if code.starts_with("57P") => Self::Lost(code_told(code)),
            code => {
                tracing::debug!(code, message = db.message(), "what the database said of the log");
                Self::Sql {
                    code: code.to_owned(),
                }
            }
        }
    }
}

/// An answer, if it comes in time.
async fn in_time<T>(
    answer: impl Future<Output = Result<T, tokio_postgres::Error>>,
) -> Result<T, FramesError> {
    match tokio::time::timeout(PATIENCE, answer).await {
        Ok(answer) => Ok(answer?),
        Err(_) => Err(FramesError::Silent(PATIENCE)),
    }
}

/// A frame as it is stored.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Stored {
    /// Its number.
    pub seq: u64,
    /// By which it was appended.
    pub id: String,
    /// When, by the server's clock.
    pub at: SystemTime,
    pub body: Vec<u8>,
}

/// One frame to append.
#[derive(Debug, Clone, Copy)]
pub struct Fresh<'a> {
    /// Frames with the same are appended once.
    pub id: &'a str,
    pub body: &'a [u8],
    /// For a frame of a source.
    pub lane: Option<Lane<'a>>,
}

/// What a frame of a source brings beside its body.
#[derive(Debug, Clone, Copy)]
pub struct Lane<'a> {
    pub source: &'a str,
    /// The number of the frame that the source appended last; 0 if there is none.
    pub behind: u64,
    /// Kept until the source's next frame.
    pub place: &'a [u8],
}

/// What the log is at a moment.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Bounds {
    /// Changes exactly when history was lost.
    pub epoch: u32,
    /// Frames of this epoch have greater numbers.
    pub began: u64,
    /// The oldest frame that is kept, or the next one.
    pub first: u64,
    /// The newest.
    pub last: u64,
}

/// One log of a database.
#[derive(Debug, Clone)]
pub struct Frames {
    settings: Settings,
    name: Arc<str>,
}

impl Frames {
    /// The log of this name. `node` names the connections for `pg_stat_activity`.
    pub fn new(settings: &Settings, node: &str, name: &str) -> Self {
        Self {
            settings: settings
                .with_name(&format!("{node}/log"))
                .with_settings(SETTINGS)
                .durable(),
            name: Arc::from(name),
        }
    }

    /// Connects, and makes the log where it is not there yet.
    pub async fn open(&self) -> Result<Link, FramesError> {
        let (client, connection) = self.settings.connect().await?;
        let woken = Arc::new(Notify::new());
        let driver = tokio::spawn(drive(connection, Arc::clone(&woken)));
        let mut link = Link {
            client,
            woken,
            driver,
            name: Arc::clone(&self.name),
            statements: None,
        };
        in_time(link.client.execute("SELECT pregon.log_open($1)", &[&&*self.name])).await?;
        link.statements = Some(Statements::prepare(&link.client).await?);
        Ok(link)
    }

    /// The turn of one of the gateways of this log, see [`Turn`].
    pub async fn turn(&self) -> Result<Turn, FramesError> {
        Turn::open(&self.settings, &self.name).await
    }
}

/// A connection to a log.
#[derive(Debug)]
pub struct Link {
    client: Client,
    woken: Arc<Notify>,
    driver: JoinHandle<()>,
    name: Arc<str>,
    statements: Option<Statements>,
}

#[derive(Debug)]
struct Statements {
    append: Statement,
    read: Statement,
}

impl Statements {
    async fn prepare(client: &Client) -> Result<Self, FramesError> {
        const APPEND: &str = "SELECT pregon.log_append($1, $2, $3, $4, $5, $6, $7)";
        // At least one, then as many as the bytes allow.
        const READ: &str = "SELECT f.seq, f.id, f.at, f.body FROM (\
             SELECT g.*, row_number() OVER w AS n, sum(octet_length(g.body)) OVER w AS bytes \
             FROM (SELECT * FROM pregon.log_frame WHERE log = $1 AND seq > $2 ORDER BY seq LIMIT $3) AS g WINDOW w AS (ORDER BY g.seq)\
             ) AS f WHERE f.n = 1 OR f.bytes <= $4 ORDER BY f.seq";
        Ok(Self {
            append: in_time(client.prepare(APPEND)).await?,
            read: in_time(client.prepare(READ)).await?,
        })
    }
}

impl Drop for Link {
    fn drop(&mut self) {
        // Without this a connection with an answer outstanding would outlive its owner.
        self.driver.abort();
    }
}

impl Link {
    fn statements(&self) -> Result<&Statements, FramesError> {
        self.statements.as_ref().ok_or(FramesError::Missing)
    }

    /// Appends a frame to the history of `epoch`. Whether it was appended by an earlier call, and its number.
    pub async fn append(&self, epoch: u32, fresh: Fresh<'_>) -> Result<(u64, bool), FramesError> {
        let lane = fresh.lane;
        let (source, place) = (lane.map(|lane| lane.source), lane.map(|lane| lane.place));
        let behind = lane.map_or(0, |lane| signed(lane.behind));
        let params: [&(dyn ToSql + Sync); 7] = [
            &&*self.name,
            &i64::from(epoch),
            &fresh.id,
            &source,
            &behind,
            &place,
            &fresh.body,
        ];
        let row = in_time(self.client.query_one(&self.statements()?.append, &params)).await?;
        let seq: i64 = row.try_get(0)?;
        Ok((seq.unsigned_abs(), seq < 0))
    }

    /// Frames behind a number in their order: at least one if there is one, and about so many bytes.
    pub async fn read(&self, after: u64, bytes: u64) -> Result<Vec<Stored>, FramesError> {
        let params: [&(dyn ToSql + Sync); 4] = [&&*self.name, &signed(after), &FRAMES, &signed(bytes)];
        let rows = in_time(self.client.query(&self.statements()?.read, &params)).await?;
        let stored = |row: &tokio_postgres::Row| {
            Ok(Stored {
                seq: row.try_get::<_, i64>(0)?.unsigned_abs(),
                id: row.try_get(1)?,
                at: row.try_get(2)?,
                body: row.try_get(3)?,
            })
        };
        rows.iter().map(stored).collect()
    }

    /// What the log is now.
    pub async fn bounds(&self) -> Result<Bounds, FramesError> {
        const SQL: &str = "SELECT l.epoch, l.began, l.first, greatest(l.began, (SELECT f.seq FROM pregon.log_frame AS f \
             WHERE f.log = l.name ORDER BY f.seq DESC LIMIT 1)) FROM pregon.log AS l WHERE l.name = $1";
        let row = in_time(self.client.query_opt(SQL, &[&&*self.name])).await?;
        let row = row.ok_or(FramesError::Missing)?;
        let number = |place| Ok::<_, FramesError>(row.try_get::<_, i64>(place)?.unsigned_abs());
        Ok(Bounds {
            epoch: u32::try_from(number(0)?).unwrap_or_default(),
            began: number(1)?,
            first: number(2)?,
            last: number(3)?,
        })
    }

    /// The id of the frame with this number, if it is kept.
    pub async fn id_of(&self, seq: u64) -> Result<Option<String>, FramesError> {
        const SQL: &str = "SELECT id FROM pregon.log_frame WHERE log = $1 AND seq = $2";
        let row = in_time(self.client.query_opt(SQL, &[&&*self.name, &signed(seq)])).await?;
        Ok(row.map(|row| row.try_get(0)).transpose()?)
    }

    /// The number behind which the newest frames of this epoch have about so many bytes.
    pub async fn recent(&self, bytes: u64) -> Result<u64, FramesError> {
        const SQL: &str = "SELECT greatest(l.began, l.first - 1, (SELECT f.seq FROM pregon.log_frame AS f \
             WHERE f.log = l.name AND f.upto <= (SELECT n.upto FROM pregon.log_frame AS n WHERE n.log = l.name ORDER BY n.seq DESC LIMIT 1) - $2 \
             ORDER BY f.seq DESC LIMIT 1)) FROM pregon.log AS l WHERE l.name = $1";
        let row = in_time(self.client.query_opt(SQL, &[&&*self.name, &signed(bytes)])).await?;
        let seq: i64 = row.ok_or(FramesError::Missing)?.try_get(0)?;
        Ok(seq.unsigned_abs())
    }

    /// The newest frame of a source: its number, and the place that came with it.
    pub async fn last_of(&self, source: &str) -> Result<Option<(u64, Vec<u8>)>, FramesError> {
        const SQL: &str = "SELECT seq, place FROM pregon.log_frame WHERE log = $1 AND source = $2 ORDER BY seq DESC LIMIT 1";
        let row = in_time(self.client.query_opt(SQL, &[&&*self.name, &source])).await?;
        let known = |row: tokio_postgres::Row| {
            Ok::<_, FramesError>((row.try_get::<_, i64>(0)?.unsigned_abs(), row.try_get(1)?))
        };
        row.map(known).transpose()
    }

    /// Begins another epoch behind `given`, unless somebody else has done so already.
    pub async fn renew(&self, epoch: u32, given: u64) -> Result<(), FramesError> {
        const SQL: &str = "SELECT pregon.log_renew($1, $2, $3)";
        let params: [&(dyn ToSql + Sync); 3] = [&&*self.name, &i64::from(epoch), &signed(given)];
        in_time(self.client.query_one(SQL, &params)).await?;
        Ok(())
    }

    /// Removes frames that are older, and the oldest beyond so many bytes: a piece. How many there were.
    pub async fn prune(&self, older: SystemTime, most: u64) -> Result<u64, FramesError> {
        const SQL: &str = "SELECT pregon.log_prune($1, $2, $3)";
        let params: [&(dyn ToSql + Sync); 3] = [&&*self.name, &older, &signed(most)];
        let row = in_time(self.client.query_one(SQL, &params)).await?;
        Ok(row.try_get::<_, i64>(0)?.unsigned_abs())
    }

    /// From now on [`Link::news`] is woken.
    pub async fn listen(&self) -> Result<(), FramesError> {
        in_time(self.client.batch_execute(&format!("LISTEN {NEWS}"))).await
    }

    /// Waits for news of any log, or until the connection ends.
    pub async fn news(&self) {
        self.woken.notified().await;
    }

    /// Whether the connection has ended.
    pub fn is_closed(&self) -> bool {
        self.client.is_closed()
    }
}

/// No number of a log is so great that it does not fit.
fn signed(number: u64) -> i64 {
    i64::try_from(number).unwrap_or(i64::MAX)
}

async fn drive(mut connection: Connection, woken: Arc<Notify>) {
    loop {
        match std::future::poll_fn(|cx| connection.poll_message(cx)).await {
            Some(Ok(AsyncMessage::Notification(_))) => woken.notify_one(),
            Some(Ok(_)) => {}
            Some(Err(error)) => {
                tracing::debug!(error = %chain(&error), "a connection to the log ended");
                break;
            }
            None => break,
        }
    }
    // Whoever waits finds out.
    woken.notify_one();
}
