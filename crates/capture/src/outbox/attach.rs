//! From a connection to a reader: alone (one lock for all gateways of a database), with a fencing number, and with the place from which
//! to go on.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use futures_util::StreamExt;
use futures_util::stream::FuturesUnordered;
use tokio::sync::{Notify, watch};
use tokio::task::JoinHandle;
use tokio_postgres::types::Type;
use tokio_postgres::{AsyncMessage, Client, Row};

use super::bell::Bell;
use super::clerk::Clerk;
use super::piece::Pieces;
use super::reader::{Reader, Shared};
use super::sound;
use super::{LOCK, OutboxError, OutboxOptions, Place, Report, WAKE};
use crate::catalog::names::fingerprint;
use crate::connect::{Connection, chain};

/// Between two attempts to be the reader, with a random part, so that waiting gateways do not ask in step. Clients wait as long.
const RETRY: Duration = Duration::from_millis(300);

/// Longest wait for an answer. Rows come in pieces of a few MiB, so that a server that takes longer is not well.
pub(super) const PATIENCE: Duration = Duration::from_secs(10);

/// The server ends a statement of ours after so many milliseconds. Sooner than whoever waits for it gives up, so that the session stays.
pub(super) const LIMIT: &str = "9500";

/// How often the server has to hear from us so that it does not take the session for abandoned.
pub(super) const KEEPALIVE: Duration = Duration::from_secs(2);

/// For every session of ours. What it loses in a crash of the server is set anew, or only older than it was; the outbox has many dead
/// rows and stale statistics, so that anything but its index is the wrong plan, and no value of a parameter makes another the right one.
const SETTINGS: &[(&str, &str)] = &[
    ("synchronous_commit", "off"),
    ("search_path", "pg_catalog, pg_temp"),
    ("statement_timeout", LIMIT),
    ("lock_timeout", "2000"),
    ("jit", "off"),
    ("plan_cache_mode", "force_generic_plan"),
    ("enable_seqscan", "off"),
    ("enable_bitmapscan", "off"),
    ("tcp_keepalives_idle", "3"),
    ("tcp_keepalives_interval", "2"),
    ("tcp_keepalives_count", "2"),
    ("tcp_user_timeout", "6000"),
];

/// The server frees the lock of a gateway that has not been heard of for so long (14 and later): the reader asks every second.
const IDLE: &[(&str, &str)] = &[("idle_session_timeout", "8000")];

/// A session whose notifications wake somebody.
#[derive(Debug)]
pub(super) struct Link {
    client: Client,
    pub(super) woken: Arc<Notify>,
    pub(super) pid: i32,
    /// Bytes that came from the server.
    received: Arc<AtomicU64>,
    /// Takes back what was set and locked, where somebody else may get the session.
    leave: String,
    driver: JoinHandle<()>,
}

impl std::ops::Deref for Link {
    type Target = Client;

    fn deref(&self) -> &Client {
        &self.client
    }
}

impl Drop for Link {
    fn drop(&mut self) {
        // The lock goes with the connection.
        self.driver.abort();
    }
}

/// What a server is.
struct Server {
    standby: bool,
    prepares: bool,
}

/// An answer, if it comes in time.
pub(super) async fn in_time<T>(
    answer: impl Future<Output = Result<T, tokio_postgres::Error>>,
) -> Result<T, OutboxError> {
    match tokio::time::timeout(PATIENCE, answer).await {
        Ok(answer) => Ok(answer?),
        Err(_) => Err(OutboxError::Silent(PATIENCE)),
    }
}

impl Link {
    /// An answer, as long as something comes within `patience`. The server, which has sent its last byte long before the last byte comes, must
    /// not take the session for abandoned: it gets small questions meanwhile.
    pub(super) async fn while_it_moves<T>(
        &self,
        patience: Duration,
        answer: impl Future<Output = Result<T, tokio_postgres::Error>>,
    ) -> Result<T, OutboxError> {
        let mut answer = std::pin::pin!(answer);
        let mut questions = FuturesUnordered::new();
        let (mut received, mut since) = (self.received.load(Ordering::Relaxed), Instant::now());
        loop {
            tokio::select! {
                biased;
                answer = &mut answer => return Ok(answer?),
                Some(_) = questions.next() => {}
                () = tokio::time::sleep(KEEPALIVE) => {
                    let now = self.received.load(Ordering::Relaxed);
                    if std::mem::replace(&mut received, now) != now {
                        since = Instant::now();
                    } else if since.elapsed() >= patience {
                        return Err(OutboxError::Silent(patience));
                    }
                    questions.push(self.batch_execute("SELECT 1"));
                }
            }
        }
    }

    async fn open(
        options: &OutboxOptions,
        name: &str,
        more: &[(&'static str, &str)],
    ) -> Result<(Self, Server), OutboxError> {
        let settings = options.settings.with_name(&format!("{}/{name}", options.node));
        let settings = settings.with_settings(SETTINGS).with_settings(more);
        let (client, connection, received) = settings.connect_counted().await?;
        let woken = Arc::new(Notify::new());
        let driver = tokio::spawn(drive(connection, Arc::clone(&woken)));
        let mut link = Self {
            client,
            woken,
            pid: 0,
            received,
            leave: String::new(),
            driver,
        };
        const SERVER: &str = "SELECT current_setting('server_version_num')::int, pg_is_in_recovery(), pg_backend_pid(), \
             current_setting('max_prepared_transactions') <> '0'";
        let row = in_time(link.query_typed_one(SERVER, &[])).await?;
        let version: i32 = row.try_get(0)?;
        let server = Server {
            standby: row.try_get(1)?,
            prepares: row.try_get(3)?,
        };
        link.pid = row.try_get(2)?;
        link.leave = settings.leave_sql(version.unsigned_abs() / 10_000);
        Ok((link, server))
    }

    /// Leaves nothing to whoever gets the session next, should it be a pooler's.
    pub(super) async fn leave(&self) {
        if let Err(error) = in_time(self.batch_execute(&self.leave)).await {
            tracing::debug!(%error, "a session of the outbox was not put back");
        }
    }
}

async fn drive(mut connection: Connection, woken: Arc<Notify>) {
    loop {
        match std::future::poll_fn(|cx| connection.poll_message(cx)).await {
            Some(Ok(AsyncMessage::Notification(_))) => woken.notify_one(),
            Some(Ok(_)) => {}
            Some(Err(error)) => {
                tracing::debug!(error = %chain(&error), "a connection to the outbox ended");
                break;
            }
            None => break,
        }
    }
    // Whoever waits finds out.
    woken.notify_one();
}

/// Connects, waits until nobody else reads, and becomes the reader; `stands_by` is called while another gateway is it. Cancel-safe:
/// dropped, it leaves nothing behind.
pub async fn attach(
    options: Arc<OutboxOptions>,
    stands_by: &(dyn Fn() + Send + Sync),
) -> Result<(Reader, Clerk), OutboxError> {
    let (link, server) = Link::open(&options, "outbox", IDLE).await?;
    if server.standby {
        return Err(OutboxError::Standby);
    }
    const TABLE: &str = "SELECT c.oid FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace \
         WHERE n.nspname = 'pregon' AND c.relname = 'outbox' AND c.relkind = 'r'";
    let table = in_time(link.query_typed_opt(TABLE, &[])).await?;
    let table: u32 = table.ok_or(OutboxError::Missing)?.try_get(0)?;
    wait_for_the_lock(&link, &options.node, stands_by).await?;
    // What is mended here may concern the place from which to go on.
    let condition = sound::look(&link, table, "0").await?;
    let claim = Claim::make(&link, table, condition.file).await?;
    in_time(link.batch_execute(&format!("LISTEN {WAKE}"))).await?;
    let pieces = Pieces::prepare(&link).await?;
    let (clerk_link, _) = Link::open(&options, "clerk", &[]).await?;
    let report = watch::Sender::new(Report::default());
    let shared = Arc::new(Shared::new(clerk_link.pid, condition.missed, report));
    let clerk = Clerk::new(
        clerk_link,
        Arc::clone(&options),
        Arc::clone(&shared),
        claim.fence,
        (claim.position, claim.pruned),
        (table, condition),
    );
    let bell = Bell::new(options.doorbell && !server.prepares, Instant::now());
    let reader = Reader::new((link, pieces), options, shared, table, claim, bell);
    Ok((reader, clerk))
}

async fn wait_for_the_lock(
    link: &Link,
    node: &str,
    stands_by: &(dyn Fn() + Send + Sync),
) -> Result<(), OutboxError> {
    const TRY: &str = "SELECT pg_try_advisory_lock($1), pg_backend_pid()";
    let mut told = String::new();
    loop {
        let row = in_time(link.query_typed_one(TRY, &[(&LOCK, Type::INT8)])).await?;
        if row.try_get::<_, i32>(1)? != link.pid {
            return Err(OutboxError::Pooled);
        }
        if row.try_get(0)? {
            return Ok(());
        }
        let reader = present_reader(link).await?;
        // The server keeps a connection that broke on the way for some seconds, and the lock with it.
        let ours = reader.contains(node);
        if !ours && !reader.is_empty() {
            stands_by();
        }
        if reader != told {
            if ours {
                tracing::info!(
                    reader,
                    "the last connection of this gateway still has its turn at the outbox: waiting"
                );
            } else {
                tracing::info!(reader, "another gateway reads the outbox: waiting to take over");
            }
            told = reader;
        }
        tokio::time::sleep(RETRY.mul_f64(rand::random_range(0.8..1.2))).await;
    }
}

/// Who has the lock, for the log.
async fn present_reader(link: &Link) -> Result<String, OutboxError> {
    const WHO: &str = "SELECT format('%s (pid %s)', coalesce(a.application_name, '?'), l.pid) FROM pg_locks l \
         LEFT JOIN pg_stat_activity a ON a.pid = l.pid \
         WHERE l.locktype = 'advisory' AND l.granted AND (l.classid::bigint << 32) + l.objid::bigint = $1 AND l.objsubid = 1 \
           AND l.database = (SELECT d.oid FROM pg_database d WHERE d.datname = current_database())";
    let row = in_time(link.query_typed_opt(WHO, &[(&LOCK, Type::INT8)])).await?;
    Ok(row.map(|row| row.try_get(0)).transpose()?.unwrap_or_default())
}

/// What the database remembers of the reading, and who may change that.
#[derive(Debug)]
pub(super) struct Claim {
    /// Only who carries the newest number may write.
    pub(super) fence: i64,
    /// Where the last gateway was.
    pub(super) position: u64,
    /// Everything up to here was deleted.
    pub(super) pruned: u64,
    /// Which server and which history of it.
    server: String,
    pub(super) epoch: u64,
}

const RENEW: &str =
    "UPDATE pregon.cursor SET epoch = gen_random_uuid() WHERE reader = $1 RETURNING epoch::text";

impl Claim {
    async fn make(link: &Link, table: u32, file: u32) -> Result<Self, OutboxError> {
        const TAKE: &str =
            "UPDATE pregon.cursor SET reader = reader + 1 RETURNING reader, position, pruned, epoch::text";
        let row = in_time(link.query_typed_one(TAKE, &[])).await?;
        // A dump that was restored brings its epoch with it, but has another database or table.
        let server = format!("{}/{table}/{file}", server_identity(link).await?);
        let epoch = epoch_of(&server, row.try_get(3)?);
        Ok(Self {
            fence: row.try_get(0)?,
            position: number(&row, 1)?,
            pruned: number(&row, 2)?,
            server,
            epoch,
        })
    }

    /// From now on places of before mean nothing.
    pub(super) async fn renew(&mut self, link: &Link) -> Result<(), OutboxError> {
        let row = in_time(link.query_typed_opt(RENEW, &[(&self.fence, Type::INT8)])).await?;
        let row = row.ok_or(OutboxError::Fenced)?;
        self.epoch = epoch_of(&self.server, row.try_get(0)?);
        Ok(())
    }
}

/// System identifier and timeline (after a promotion ids may mean other rows) and the database. A role that may not ask about the server
/// knows the database alone.
async fn server_identity(link: &Link) -> Result<String, OutboxError> {
    const IDENTITY: &str = "SELECT format('%s/%s', (SELECT system_identifier FROM pg_control_system()), \
         substr(pg_walfile_name(pg_current_wal_lsn()), 1, 8))";
    const DATABASE: &str = "SELECT oid::text FROM pg_database WHERE datname = current_database()";
    let database: String = in_time(link.query_typed_one(DATABASE, &[])).await?.try_get(0)?;
    match in_time(link.query_typed_one(IDENTITY, &[])).await {
        Ok(row) => Ok(format!("{}/{database}", row.try_get::<_, String>(0)?)),
        Err(OutboxError::Sql { code, .. }) if code == "42501" => Ok(format!("/{database}")),
        Err(error) => Err(error),
    }
}

fn epoch_of(server: &str, table: &str) -> u64 {
    u64::from_str_radix(&fingerprint(&format!("{server}/{table}")), 16).unwrap_or_default()
}

/// Ids are never negative.
pub(super) fn number(row: &Row, index: usize) -> Result<u64, tokio_postgres::Error> {
    Ok(row
        .try_get::<_, Option<i64>>(index)?
        .unwrap_or(0)
        .try_into()
        .unwrap_or(0))
}

/// Where a session begins.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Begun {
    pub place: Place,
    /// Between what the caller knew and this place, something may be missing.
    pub lost: bool,
}
