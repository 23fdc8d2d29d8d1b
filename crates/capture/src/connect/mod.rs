//! Every connection to PostgreSQL is made here: [`Settings`] from a connection string, one [`Connection`] type for plain
//! sockets and TLS.
//!
//! Plain on loopback addresses and unix sockets, verified TLS elsewhere, unless the string says otherwise. What a session needs
//! (`needs`) is set after the login, not by startup options, which poolers refuse; and only once it is certain whose session it
//! is (`seat`).

mod dsn;
mod error;
mod needs;
mod seat;
mod wire;
mod replication;

use std::fmt;
use std::net::IpAddr;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use tokio::task::JoinHandle;
use tokio_postgres::config::{Host, SslMode, SslNegotiation};
use tokio_postgres::{Client, Config, SimpleQueryMessage, Socket};

use crate::tls::{self, Verify};
use dsn::Dsn;
pub(crate) use error::chain;
pub use error::{ConnectError, ConnectErrorKind};
pub(crate) use replication::{Duplex, Replication};
pub use seat::Seat;
use wire::Connector;
pub use wire::Wire;

/// A connection, plain or TLS; its owner polls it.
pub type Connection = tokio_postgres::Connection<Socket, Wire>;

/// Login included. Short enough that an attempt which hangs in a dead network does not eat the 5 s in which a gateway has
/// to deliver again; `connect_timeout` in the connection string changes it.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(4);

/// A dead peer is noticed after idle + interval × retries = 25 s even where nothing is sent.
const KEEPALIVE_IDLE: Duration = Duration::from_secs(10);
const KEEPALIVE_INTERVAL: Duration = Duration::from_secs(5);
const KEEPALIVE_RETRIES: u32 = 3;
/// Unacknowledged bytes for this long end the connection. On the server's side this frees the NOTIFY queue and vacuum
/// from a listener that vanished.
const USER_TIMEOUT: Duration = Duration::from_secs(15);

/// The same on the server's side of a connection for replication.
const SESSION_SQL: &str = "SET tcp_keepalives_idle = 10; SET tcp_keepalives_interval = 5; \
     SET tcp_keepalives_count = 3; SET tcp_user_timeout = 15000";

/// How to reach a database; cheap to clone. `Debug` and [`Settings::redacted`] never show the password.
#[derive(Clone)]
pub struct Settings {
    config: Config,
    connector: Connector,
    mode: &'static str,
    /// Warned about md5; shared by all copies, so that it is said once.
    warned: Arc<AtomicBool>,
    base_name: Arc<str>,
    /// Whether a pooler that shares sessions was seen; shared by all copies, so that their pools ask once.
    is_shared: Arc<AtomicBool>,
    /// What its sessions set beyond what all of ours do.
    own: Vec<needs::Set>,
}

/// A fresh login: nothing has been set.
struct Login {
    client: Client,
    connection: Connection,
    received: Arc<AtomicU64>,
}

impl Settings {
    /// Reads a `postgres://` URL or `key=value` pairs. Reads the CA file, makes no connection.
    pub fn parse(url: &str) -> Result<Self, ConnectError> {
        let dsn = Dsn::parse(url)?;
        let mut config: Config = dsn.rest.parse().map_err(|error: tokio_postgres::Error| {
            ConnectError::config(format!("connection string: {}", chain(&error)))
        })?;
        default_host(&mut config);
        let local = is_local(&config);
        let choice = Choice::of(dsn.sslmode.as_deref(), dsn.sslrootcert.is_some(), local)?;
        let unix_only = config
            .get_hosts()
            .iter()
            .all(|host| matches!(host, Host::Unix(_)))
            && !config.get_hosts().is_empty();
        // libpq ignores sslmode on unix sockets too.
        let ssl_mode = if unix_only {
            SslMode::Disable
        } else {
            choice.driver
        };
        let encrypted = ssl_mode != SslMode::Disable;
        let rustls = tls::connector(choice.verify, dsn.sslrootcert.as_deref(), encrypted)?;
        config.ssl_mode(ssl_mode);
        if !encrypted && all_named(&config) {
            // Makes the driver hand the bare socket to the connector, which leaves it bare.
            config
                .ssl_mode(SslMode::Require)
                .ssl_negotiation(SslNegotiation::Direct);
        }
        let connector = Connector::new(rustls, !encrypted);
        if choice.verify == Verify::Nothing && ssl_mode != SslMode::Disable && !local {
            tracing::warn!(
                sslmode = choice.name,
                "the server's certificate is not verified: use sslmode=verify-full"
            );
        }
        tune_socket(&mut config);
        let base_name: Arc<str> = config.get_application_name().unwrap_or("pregon").into();
        config.application_name(&*base_name);
        Ok(Self {
            config,
            connector,
            mode: choice.name,
            base_name,
            warned: Arc::default(),
            is_shared: Arc::default(),
            own: Vec::new(),
        })
    }

    /// The same with `application_name` set to `<base>/<name>`, so that `pg_stat_activity` says who is who.
    #[must_use]
    pub fn with_name(&self, name: &str) -> Self {
        let mut named = self.clone();
        named
            .config
            .application_name(format!("{}/{name}", self.base_name));
        named
    }

    /// The same whose sessions have these settings beside those that all of ours have.
    #[must_use]
    pub(crate) fn with_settings(&self, own: &[(&'static str, &str)]) -> Self {
        let mut with = self.clone();
        for (name, value) in own {
            with.own.retain(|(known, _)| known != name);
            with.own.push((*name, (*value).to_owned()));
        }
        with
    }

    /// The same whose commits are on the server's disk when they are answered, also where the role's default is otherwise.
    #[must_use]
    pub(crate) fn durable(&self) -> Self {
        self.with_settings(&[("synchronous_commit", needs::DURABLE)])
    }

    /// The role that logs in, where the connection string names one.
    pub fn user(&self) -> Option<&str> {
        self.config.get_user()
    }

    /// The database, where the connection string names one.
    pub fn database(&self) -> Option<&str> {
        self.config.get_dbname().or(self.config.get_user())
    }

    /// How TLS is used: `disable`, `prefer`, `require`, `verify-ca` or `verify-full`.
    pub fn sslmode(&self) -> &'static str {
        self.mode
    }

    /// Where it leads, for logs: never the password.
    pub fn redacted(&self) -> String {
        let user = self.user().map(|user| format!("{user}@")).unwrap_or_default();
        let ports = self.config.get_ports();
        let mut hosts = Vec::new();
        for (index, host) in self.config.get_hosts().iter().enumerate() {
            let port = ports.get(index).or(ports.first()).copied().unwrap_or(5432);
            hosts.push(match host {
                Host::Tcp(name) => format!("{name}:{port}"),
                Host::Unix(path) => format!("{}:{port}", path.display()),
            });
        }
        format!(
            "postgres://{user}{}/{}",
            hosts.join(","),
            self.database().unwrap_or_default()
        )
    }

    /// Connects, logs in, and sets what a session of ours needs. The caller polls the connection; nothing happens on the client
    /// before that. An error behind a pooler that shares sessions, where nothing has been set.
    pub async fn connect(&self) -> Result<(Client, Connection), ConnectError> {
        let (client, connection, _) = self.connect_counted().await?;
        Ok((client, connection))
    }

    /// The same with a counter of the bytes that come from the server, which tells a slow answer from none. On a unix socket it stays 0.
    pub(crate) async fn connect_counted(&self) -> Result<(Client, Connection, Arc<AtomicU64>), ConnectError> {
        let (login, seat) = self.take_seat().await?;
        if seat == Seat::Shared {
            return Err(ConnectError::new(
                ConnectErrorKind::Pooled,
                format!(
                    "a pooler stands at {} that shares server processes between transactions",
                    self.redacted()
                ),
            ));
        }
        Ok((login.client, login.connection, login.received))
    }

    /// As [`Settings::connect`]; a task polls the connection until the [`Session`] is dropped.
    pub async fn open(&self) -> Result<Session, ConnectError> {
        let (client, connection) = self.connect().await?;
        Ok(Session::new(client, connection, Seat::Direct))
    }

    /// The same for who can do without a session: where it is [`Seat::Shared`], or may be, nothing has been set.
    pub(crate) async fn open_any(&self) -> Result<Session, ConnectError> {
        if self.is_shared.load(Ordering::Relaxed) {
            let login = self.enter().await?;
            return Ok(Session::new(login.client, login.connection, Seat::Shared));
        }
        let mut login = self.enter().await?;
        let seat = match self.seat_of(&mut login).await {
            Ok(seat) => seat,
            // A pooler that is too busy to tell.
            Err(error) if error.kind() == ConnectErrorKind::TooMany => {
                login = self.enter().await?;
                Seat::Shared
            }
            Err(error) => return Err(error),
        };
        self.is_shared.store(seat == Seat::Shared, Ordering::Relaxed);
        Ok(Session::new(login.client, login.connection, seat))
    }

    /// Begins a transaction with all that a session of ours needs, for [`Seat::Shared`].
    pub(crate) fn begin_sql(&self) -> String {
        // No version is asked for: what is missing in one of them is not set for a transaction.
        let settings = needs::settings(&self.own, 0, false);
        format!(
            "BEGIN ISOLATION LEVEL READ COMMITTED READ WRITE; SELECT {}",
            needs::calls(&settings, true)
        )
    }

    /// Takes back what was set for a session that somebody else gets, locks and LISTEN included.
    pub(crate) fn leave_sql(&self, version: u32) -> String {
        let settings = needs::settings(&self.own, version, self.is_tcp());
        format!(
            "{}SELECT pg_catalog.pg_advisory_unlock_all(); UNLISTEN *",
            needs::resets(&settings)
        )
    }

    async fn take_seat(&self) -> Result<(Login, Seat), ConnectError> {
        let mut login = self.enter().await?;
        let seat = self.seat_of(&mut login).await?;
        Ok((login, seat))
    }

    /// Finds out whose the session is, and sets what ours need where it is ours.
    async fn seat_of(&self, login: &mut Login) -> Result<Seat, ConnectError> {
        if self.settle(login).await? {
            return Ok(Seat::Direct);
        }
        let seat = seat::behind_a_pooler(self, login).await?;
        if seat == Seat::Lent {
            self.set(login, "").await?;
        }
        Ok(seat)
    }

    /// Sets what a session of ours needs, in one statement that does nothing unless the process that the login named answers it; whether
    /// it was.
    async fn settle(&self, login: &mut Login) -> Result<bool, ConnectError> {
        let Some(process) = seat::named_process(&login.client).await else {
            return Ok(false);
        };
        let only_there = format!(" WHERE pg_catalog.pg_backend_pid() OPERATOR(pg_catalog.=) {process}");
        self.set(login, &only_there).await
    }

    /// Whether it was done: a condition may say no.
    async fn set(&self, login: &mut Login, condition: &str) -> Result<bool, ConnectError> {
        let version = needs::major(login.connection.parameter("server_version"));
        for keepalives in [self.is_tcp(), false] {
            let settings = needs::settings(&self.own, version, keepalives);
            let sql = format!("SELECT {}{condition}", needs::calls(&settings, false));
            match drive(&mut login.connection, login.client.simple_query(&sql)).await {
                Ok(answer) => {
                    return Ok(answer
                        .iter()
                        .any(|message| matches!(message, SimpleQueryMessage::Row(_))));
                }
                // An odd platform may refuse keepalives; that is no reason not to work.
                Err(Driven::Failed(error)) if keepalives && error.as_db_error().is_some() => {
                    tracing::debug!(error = %chain(&error), "the server does not take keepalive settings");
                }
                Err(error) => return Err(error.into()),
            }
        }
        Ok(false)
    }

    /// Connects and logs in, in time.
    async fn enter(&self) -> Result<Login, ConnectError> {
        let limit = self
            .config
            .get_connect_timeout()
            .copied()
            .unwrap_or(CONNECT_TIMEOUT);
        let attempt = async {
            let connector = self.connector.fresh();
            let (client, connection) = self.config.connect(connector.clone()).await?;
            if connector.was_asked_md5() {
                self.warn_of_md5();
            }
            Ok(Login {
                client,
                connection,
                received: connector.received(),
            })
        };
        match tokio::time::timeout(limit, attempt).await {
            Ok(done) => done,
            Err(_) => Err(ConnectError::new(
                ConnectErrorKind::Timeout,
                format!("no login within {} ms at {}", limit.as_millis(), self.redacted()),
            )),
        }
    }

    fn warn_of_md5(&self) {
        if !self.warned.swap(true, Ordering::Relaxed) {
            tracing::warn!(
                database = self.redacted(),
                "the password is checked with md5, which is weak and will be removed: set password_encryption = \
                 'scram-sha-256' and set the password again"
            );
        }
    }

    fn is_tcp(&self) -> bool {
        self.config
            .get_hosts()
            .iter()
            .any(|host| matches!(host, Host::Tcp(_)))
    }
}

impl fmt::Debug for Settings {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Settings").field(&self.redacted()).finish()
    }
}

/// A client whose connection is polled by its own task; dropping it cuts the connection at once.
#[derive(Debug)]
pub struct Session {
    client: Client,
    driver: JoinHandle<()>,
    seat: Seat,
}

impl Session {
    fn new(client: Client, connection: Connection, seat: Seat) -> Self {
        let driver = tokio::spawn(async move {
            if let Err(error) = connection.await {
                tracing::debug!(error = %chain(&error), "a database connection ended");
            }
        });
        Self { client, driver, seat }
    }

    /// Whose the server process is.
    pub(crate) fn seat(&self) -> Seat {
        self.seat
    }
}

impl std::ops::Deref for Session {
    type Target = Client;

    fn deref(&self) -> &Client {
        &self.client
    }
}

impl Drop for Session {
    fn drop(&mut self) {
        // Without this a connection with an answer outstanding would outlive its owner.
        self.driver.abort();
    }
}

/// What `sslmode` means for the driver and for the certificate.
struct Choice {
    name: &'static str,
    driver: SslMode,
    verify: Verify,
}

impl Choice {
    fn of(sslmode: Option<&str>, has_root: bool, local: bool) -> Result<Self, ConnectError> {
        // As libpq: with a CA file at hand, `require` verifies the chain.
        let chain_or_nothing = if has_root { Verify::Chain } else { Verify::Nothing };
        let (name, driver, verify) = match sslmode {
            None if local => ("disable", SslMode::Disable, Verify::Nothing),
            None | Some("verify-full") => ("verify-full", SslMode::Require, Verify::Full),
            Some("disable") => ("disable", SslMode::Disable, Verify::Nothing),
            Some("allow" | "prefer") => ("prefer", SslMode::Prefer, chain_or_nothing),
            Some("require") => ("require", SslMode::Require, chain_or_nothing),
            Some("verify-ca") => ("verify-ca", SslMode::Require, Verify::Chain),
            Some(other) => return Err(ConnectError::config(format!("sslmode={other} is unknown"))),
        };
        Ok(Self { name, driver, verify })
    }
}

/// libpq's default: the local socket if there is one.
fn default_host(config: &mut Config) {
    if config.get_hosts().is_empty() && config.get_hostaddrs().is_empty() {
        let sockets = Path::new("/var/run/postgresql");
        if sockets.is_dir() {
            config.host_path(sockets)
        } else {
            config.host("localhost")
        };
    }
}

/// True if every host is this machine: a unix socket or a loopback address.
fn is_local(config: &Config) -> bool {
    let by_address = config.get_hostaddrs();
    if !by_address.is_empty() {
        return by_address.iter().all(IpAddr::is_loopback);
    }
    config.get_hosts().iter().all(|host| match host {
        Host::Unix(_) => true,
        Host::Tcp(name) => {
            name == "localhost" || name.parse::<IpAddr>().is_ok_and(|address| address.is_loopback())
        }
    })
}

/// Every host has a name, which the driver wants for anything like TLS.
fn all_named(config: &Config) -> bool {
    let hosts = config.get_hosts();
    !hosts.is_empty() && hosts.iter().all(|host| matches!(host, Host::Tcp(_)))
}

fn tune_socket(config: &mut Config) {
    // Two hours is the driver's default, so it was not chosen.
    if config.get_keepalives_idle() == Duration::from_secs(2 * 60 * 60) {
        config.keepalives_idle(KEEPALIVE_IDLE);
    }
    if config.get_keepalives_interval().is_none() {
        config.keepalives_interval(KEEPALIVE_INTERVAL);
    }
    if config.get_keepalives_retries().is_none() {
        config.keepalives_retries(KEEPALIVE_RETRIES);
    }
    if config.get_tcp_user_timeout().is_none() {
        config.tcp_user_timeout(USER_TIMEOUT);
    }
}

/// Why there is no answer.
enum Driven {
    Failed(tokio_postgres::Error),
    Closed,
}

impl From<Driven> for ConnectError {
    fn from(driven: Driven) -> Self {
        match driven {
            Driven::Failed(error) => error.into(),
            Driven::Closed => Self::new(ConnectErrorKind::Refused, "the server closed the connection"),
        }
    }
}

/// Waits for an answer on a connection that nobody polls yet. Nothing can be notified there, so messages are not looked at.
async fn drive<T>(
    connection: &mut Connection,
    work: impl Future<Output = Result<T, tokio_postgres::Error>>,
) -> Result<T, Driven> {
    tokio::select! {
        biased;
        done = work => done.map_err(Driven::Failed),
        ended = connection => match ended {
            Err(error) => Err(Driven::Failed(error)),
            Ok(()) => Err(Driven::Closed),
        },
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::indexing_slicing, clippy::panic)]
    use super::*;

    #[test]
    fn loopback_and_sockets_are_plain_and_the_rest_is_verified() {
        for (url, mode) in [
            ("postgres://u@localhost/db", "disable"),
            ("postgres://u@127.0.0.1:1/db", "disable"),
            ("postgres://u@[::1]:1/db", "disable"),
            ("host=/tmp user=u", "disable"),
            ("postgres://u@db.example/db", "verify-full"),
            ("postgres://u@localhost,db.example/db", "verify-full"),
            ("postgres://u@db.example/db?sslmode=disable", "disable"),
            ("postgres://u@localhost/db?sslmode=require", "require"),
            ("host=localhost hostaddr=10.0.0.1 user=u", "verify-full"),
        ] {
            assert_eq!(Settings::parse(url).unwrap().sslmode(), mode, "{url}");
        }
    }

    #[test]
    fn the_password_is_never_shown() {
        let settings = Settings::parse("postgres://u:secret@127.0.0.1:7/db").unwrap();
        assert_eq!(settings.redacted(), "postgres://u@127.0.0.1:7/db");
        assert!(!format!("{settings:?}").contains("secret"));
        let error = Settings::parse("postgres://u:secret@127.0.0.1:port/db").unwrap_err();
        assert!(!error.to_string().contains("secret"), "{error}");
    }

    #[test]
    fn a_wrong_string_is_a_permanent_error() {
        for url in [
            "",
            "postgres://h/db?sslmode=maybe",
            "postgres://h/db?sslrootcert=/does/not/exist",
            "x=1",
        ] {
            if url.is_empty() {
                continue;
            }
            assert!(Settings::parse(url).unwrap_err().is_permanent(), "{url}");
        }
    }
}
