//! The questions. Each has a default that return takes, and Escape or Ctrl-C leaves everything as it was.

use std::fmt;

use inquire::list_option::ListOption;
use inquire::validator::Validation;
use inquire::{Confirm, InquireError, MultiSelect, Select, Text};
use pregon_capture::catalog::survey::SurveyedTable;

use super::super::output::size;
use super::choice::{Mode, spelling};

/// Rows of a list on the screen at once.
const PAGE: usize = 12;

/// The database's address; the last one can be corrected.
pub(super) fn database(last: Option<&str>) -> anyhow::Result<String> {
    let question = Text::new("Database:").with_help_message(
        "postgres://user:password@host:5432/database; next time DATABASE_URL saves this question",
    );
    let question = match last {
        Some(last) => question.with_initial_value(last),
        None => question.with_placeholder("postgres://localhost/shop"),
    };
    let filled = |text: &str| {
        Ok(if text.trim().is_empty() {
            Validation::Invalid("name one, for example postgres://localhost/shop".into())
        } else {
            Validation::Valid
        })
    };
    let answer = answered(question.with_validator(filled).prompt())?;
    Ok(answer.trim().to_owned())
}

/// Which tables, as places in the list.
pub(super) fn tables(tables: &[SurveyedTable], proposed: &[usize]) -> anyhow::Result<Vec<usize>> {
    let widest = tables.iter().map(|table| spelling(table).chars().count()).max();
    let width = widest.unwrap_or_default().min(40);
    let lines: Vec<String> = tables.iter().map(|table| line(table, width)).collect();
    let some = |chosen: &[ListOption<&String>]| {
        Ok(if chosen.is_empty() {
            Validation::Invalid("mark at least one with the space bar".into())
        } else {
            Validation::Valid
        })
    };
    let summary = |chosen: &[ListOption<&String>]| format!("{} of {} tables", chosen.len(), tables.len());
    let question = MultiSelect::new("Which tables do pages follow?", lines)
        .with_default(proposed)
        .with_page_size(PAGE)
        .with_help_message("space marks, letters filter, → marks all, ← none, return goes on")
        .with_formatter(&summary)
        .with_validator(some);
    let chosen = answered(question.raw_prompt())?;
    Ok(chosen.into_iter().map(|option| option.index).collect())
}

fn line(table: &SurveyedTable, width: usize) -> String {
    format!("{:<width$}  {}", spelling(table), about(table))
}

/// Rows and key of a table, in words.
pub(super) fn about(table: &SurveyedTable) -> String {
    let rows = match (table.rows, table.bytes) {
        (Some(rows), _) => format!("about {rows} rows"),
        (None, 0) => "empty".to_owned(),
        (None, bytes) => format!("{}, not counted yet", size(bytes)),
    };
    match table.primary_key.as_slice() {
        [] => format!("{rows}, no primary key"),
        key => format!("{rows}, key {}", key.join(", ")),
    }
}

struct Explained {
    mode: Mode,
    text: String,
}

impl fmt::Display for Explained {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:<7} {}", self.mode.as_str(), self.text)
    }
}

/// How changes are captured.
pub(super) fn capture(wal_level: &str) -> anyhow::Result<Mode> {
    let wal = match wal_level {
        "logical" => "from the write-ahead log, without triggers; nothing is lost".to_owned(),
        other => format!("from the write-ahead log; needs wal_level = logical, and here it is {other}"),
    };
    let explained = |mode, text: &str| Explained {
        mode,
        text: text.to_owned(),
    };
    let modes = vec![
        explained(
            Mode::Outbox,
            "by triggers, through a table of pregón's; nothing is lost",
        ),
        explained(Mode::Wal, &wal),
        explained(
            Mode::Notify,
            "by triggers that notify; what happens while the gateway is away is a gap",
        ),
    ];
    let question =
        Select::new("How are changes captured?", modes).with_help_message("docs/parity.md compares them");
    Ok(answered(question.prompt())?.mode)
}

/// Whether clients need a token.
pub(super) fn tokens() -> anyhow::Result<bool> {
    let question = Confirm::new("Do clients need a token?")
        .with_default(true)
        .with_help_message(
            "a new secret is made for it; without one everybody who reaches the port sees every change",
        );
    answered(question.prompt())
}

fn answered<T>(answer: Result<T, InquireError>) -> anyhow::Result<T> {
    answer.map_err(|error| match error {
        InquireError::OperationCanceled | InquireError::OperationInterrupted => {
            anyhow::anyhow!("stopped; nothing was written")
        }
        InquireError::NotTTY => anyhow::anyhow!("there is no terminal to ask on: add --yes"),
        other => other.into(),
    })
}
