//! Why something cannot be installed. [`Problem`]s are the configuration's, all reported at once; the rest is the database's.

use std::fmt;

use crate::fault::code_told;

/// One thing that is wrong with the target, and what to do about it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Problem {
    /// The watch that it belongs to.
    pub watch: Option<String>,
    pub message: String,
    pub remedy: String,
}

impl Problem {
    pub(crate) fn new(watch: &str, message: impl Into<String>, remedy: impl Into<String>) -> Self {
        Self {
            watch: Some(watch.to_owned()),
            message: message.into(),
            remedy: remedy.into(),
        }
    }

    pub(crate) fn general(message: impl Into<String>, remedy: impl Into<String>) -> Self {
        Self {
            watch: None,
            message: message.into(),
            remedy: remedy.into(),
        }
    }
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let Some(watch) = &self.watch {
            write!(f, "watch \"{watch}\": ")?;
        }
        write!(f, "{}: {}", self.message, self.remedy)
    }
}

/// How the error begins of a slot that cannot be made yet.
pub(crate) const SLOT_WAITS: &str = "the slot waits for running writes";

/// Why a plan, its application or a removal did not work.
#[derive(Debug, thiserror::Error)]
pub enum InstallError {
    #[error("{}", list(.0))]
    Invalid(Vec<Problem>),
    #[error("PostgreSQL {0} is too old: version 13 or newer is needed")]
    TooOld(String),
    #[error("the server is a standby: connect to the primary, triggers cannot be made here")]
    Standby,
    #[error(
        "this role may not change {object} ({message}): set PREGON_ADMIN_URL to a role that may, or have `pregon db plan` applied by one"
    )]
    Denied { object: String, message: String },
    #[error(
        "{object} stayed locked by other sessions during {attempts} attempts: find the long transaction on it, then try again"
    )]
    Locked { object: String, attempts: u32 },
    #[error("{SLOT_WAITS} ({running}): end them or wait, then try again")]
    SlotWaits { running: String },
    #[error("installing {object} failed ({message})")]
    Step {
        object: String,
        message: String,
        /// Not a source: what prints the whole chain would quote rows that a constraint refuses.
        error: tokio_postgres::Error,
    },
    #[error("the catalogue could not be read")]
    Database(#[from] tokio_postgres::Error),
}

fn list(problems: &[Problem]) -> String {
    problems
        .iter()
        .map(Problem::to_string)
        .collect::<Vec<_>>()
        .join("\n")
}

/// The server's own words for an error, or the driver's when there are none.
pub(crate) fn server_words(error: &tokio_postgres::Error) -> String {
    let Some(db) = error.as_db_error() else {
        return error.to_string();
    };
    let code = db.code().code();
    if code.starts_with("22") {
        // The message quotes a value.
        return code_told(code);
    }
    let mut words = format!("{code} {}", db.message());
    if code.starts_with("23") {
        // The details quote the row that a constraint refuses.
        return words;
    }
    for more in [db.detail(), db.hint()].into_iter().flatten() {
        words.push_str("; ");
        words.push_str(more);
    }
    words
}
