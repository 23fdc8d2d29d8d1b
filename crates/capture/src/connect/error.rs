//! Why a connection could not be made, and what to do about it.

use std::error::Error as StdError;
use std::io;

use tokio_postgres::error::SqlState;

/// The kind of failure; decides how eagerly a caller tries again.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum ConnectErrorKind {
    /// The connection string itself is wrong.
    Config,
    /// User, password or pg_hba.conf say no.
    Auth,
    /// The database does not exist.
    NoDatabase,
    /// Nobody listens there, or the name does not resolve.
    Refused,
    /// The TLS handshake failed or the certificate is not trusted.
    Tls,
    /// No answer in time.
    Timeout,
    /// The server is starting, stopping or recovering.
    Starting,
    /// No free connection slot.
    TooMany,
    /// The server is a standby, where LISTEN is impossible.
    Standby,
    /// A pooler gives every transaction another session, where one of our own is needed.
    Pooled,
    /// Anything else; the message has it.
    Other,
}

impl ConnectErrorKind {
    fn help(self) -> &'static str {
        match self {
            Self::Config => "correct the connection string",
            Self::Auth => "check user, password and pg_hba.conf",
            Self::NoDatabase => "create the database or correct its name in the connection string",
            Self::Refused => "check that PostgreSQL runs there and that host and port are right",
            Self::Tls => "check sslmode and sslrootcert, and that the certificate names this host",
            Self::Timeout => "check the network, the firewall and the server's load",
            Self::Starting => "wait: the server starts or stops",
            Self::TooMany => "raise max_connections or the role's connection limit",
            Self::Pooled => "connect directly or through a pooler in session mode",
            Self::Standby => "connect to the primary: a standby cannot LISTEN",
            Self::Other => "see the server's log",
        }
    }
}

/// A connection that could not be made. Its text names the cause and the remedy, never the password.
#[derive(Debug, thiserror::Error)]
#[error("{what}; {}", .kind.help())]
pub struct ConnectError {
    kind: ConnectErrorKind,
    what: String,
    #[source]
    source: Option<Box<dyn StdError + Send + Sync>>,
}

impl ConnectError {
    pub(crate) fn new(kind: ConnectErrorKind, what: impl Into<String>) -> Self {
        Self {
            kind,
            what: what.into(),
            source: None,
        }
    }

    pub(crate) fn config(what: impl Into<String>) -> Self {
        Self::new(ConnectErrorKind::Config, what)
    }

    /// What went wrong.
    pub fn kind(&self) -> ConnectErrorKind {
        self.kind
    }

    /// Trying again soon will not help: somebody has to change something.
    pub fn is_permanent(&self) -> bool {
        matches!(
            self.kind,
            ConnectErrorKind::Config
                | ConnectErrorKind::Auth
                | ConnectErrorKind::NoDatabase
                | ConnectErrorKind::Pooled
        )
    }
}

impl From<tokio_postgres::Error> for ConnectError {
    fn from(error: tokio_postgres::Error) -> Self {
        let (kind, what) = classify(&error);
        Self {
            kind,
            what,
            source: Some(Box::new(error)),
        }
    }
}

fn classify(error: &tokio_postgres::Error) -> (ConnectErrorKind, String) {
    if let Some(db) = error.as_db_error() {
        return (
            kind_of_state(db.code()),
            format!("the server refused: {} ({})", db.message(), db.code().code()),
        );
    }
    let root = root_cause(error);
    if let Some(io) = root.downcast_ref::<io::Error>() {
        if let Some(tls) = io
            .get_ref()
            .and_then(|inner| inner.downcast_ref::<rustls::Error>())
        {
            return (ConnectErrorKind::Tls, tls.to_string());
        }
        return (kind_of_io(io), io.to_string());
    }
    if root.is::<rustls::Error>() {
        return (ConnectErrorKind::Tls, root.to_string());
    }
    // The driver keeps its own kinds private, so the fixed beginnings of its messages have to do.
    let text = chain(error);
    let kind = match text.as_str() {
        t if t.starts_with("error performing TLS handshake") => ConnectErrorKind::Tls,
        t if t.starts_with("authentication error") => ConnectErrorKind::Auth,
        t if t.contains("password missing") => ConnectErrorKind::Auth,
        t if t.starts_with("invalid configuration") => ConnectErrorKind::Config,
        t if t.starts_with("connection closed") => ConnectErrorKind::Refused,
        _ => ConnectErrorKind::Other,
    };
    (kind, text)
}

fn root_cause<'a>(error: &'a (dyn StdError + 'static)) -> &'a (dyn StdError + 'static) {
    let mut root = error;
    while let Some(next) = root.source() {
        root = next;
    }
    root
}

/// An error with its causes on one line.
pub(crate) fn chain(error: &(dyn StdError + 'static)) -> String {
    let mut text = error.to_string();
    let mut next = error.source();
    while let Some(cause) = next {
        let more = cause.to_string();
        if !text.ends_with(&more) {
            text.push_str(": ");
            text.push_str(&more);
        }
        next = cause.source();
    }
    text
}

fn kind_of_state(state: &SqlState) -> ConnectErrorKind {
    match state.code() {
        "3D000" => ConnectErrorKind::NoDatabase,
        "25006" => ConnectErrorKind::Standby,
        "53300" => ConnectErrorKind::TooMany,
        "57P01" | "57P02" | "57P03" => ConnectErrorKind::Starting,
        // 42501 at login means that CONNECT on the database is missing.
        "42501" => ConnectErrorKind::Auth,
        code if code.starts_with("28") => ConnectErrorKind::Auth,
        _ => ConnectErrorKind::Other,
    }
}

fn kind_of_io(error: &io::Error) -> ConnectErrorKind {
    match error.kind() {
        io::ErrorKind::TimedOut => ConnectErrorKind::Timeout,
        // The driver's own verdict on target_session_attrs; a socket file may be forbidden too.
        io::ErrorKind::PermissionDenied if error.to_string().contains("allow writes") => {
            ConnectErrorKind::Standby
        }
        io::ErrorKind::InvalidData => ConnectErrorKind::Tls,
        _ => ConnectErrorKind::Refused,
    }
}
