//! The part of a watch's function that keeps one row's changes right whatever triggers of the application do.
//!
//! PostgreSQL queues the AFTER triggers of a statement and fires them when all its rows are written. A trigger that writes rows of that
//! statement whose turn has not come fires ours for the later change first, whatever its name: the earlier change would be told last. So
//! whatever a trigger wrote leaves a note in the transaction (`pregon.nested`), and from then on each change is compared with the row
//! as it is by now; where it has gone on, its present state is told once more. Nobody else can have changed it: this transaction holds its
//! lock. The note costs a look at two variables; the row is read only in transactions that have it.

use super::spec::{Mode, WatchSpec};
use super::watch::row;
use crate::catalog::TableFacts;
use crate::catalog::names::{ident, literal};

/// Why the row cannot be read again, so that a late change becomes a gap.
pub(crate) fn unreadable(table: &TableFacts) -> Option<&'static str> {
    if !table.heirs.is_empty() {
        Some("other tables inherit from it")
    } else if table.primary_key.is_empty() {
        Some("it has no primary key")
    } else if table.row_security {
        Some("row security hides its rows from the owner of the trigger function")
    } else {
        None
    }
}

/// What goes into the templates of a function.
pub(crate) struct Late<'a> {
    reading: Reading<'a>,
    mode: Mode,
}

impl<'a> Late<'a> {
    pub(crate) fn new(spec: &'a WatchSpec, table: &'a TableFacts, mode: Mode) -> Self {
        Self {
            reading: Reading::new(spec, table),
            mode,
        }
    }

    /// After a change that was captured by row. `fill` knows the marks of every template.
    pub(crate) fn row(&self, fill: &impl Fn(&str) -> String, new_row: &str) -> String {
        let template = match self.mode {
            Mode::Notify | Mode::Wal => include_str!("../../sql/late/notify.sql"),
            Mode::Outbox => include_str!("../../sql/late/outbox.sql"),
        };
        fill(template)
            .replace("{{old_of_update}}", self.old_of_update("pregon_row"))
            .replace("{{new_row}}", new_row)
            .replace("{{now}}", &self.reading.now())
    }

    /// After rows that were captured together.
    pub(crate) fn statement(&self, fill: &impl Fn(&str) -> String) -> String {
        let template = match self.mode {
            Mode::Notify | Mode::Wal => include_str!("../../sql/late/notify_statement.sql"),
            Mode::Outbox => include_str!("../../sql/late/outbox_statement.sql"),
        };
        fill(template)
            .replace("{{old_of_update}}", self.old_of_update("pregon_y.pregon_row"))
            .replace("{{check}}", &self.reading.check("          "))
            .replace("{{rows}}", &self.reading.rows())
    }

    /// What an update tells of the row before it.
    fn old_of_update(&self, from: &'static str) -> &'static str {
        if self.reading.spec.old { from } else { "NULL" }
    }
}

/// How the present state of a row is read.
struct Reading<'a> {
    spec: &'a WatchSpec,
    table: &'a TableFacts,
    alias: String,
    unreadable: Option<&'static str>,
}

impl<'a> Reading<'a> {
    fn new(spec: &'a WatchSpec, table: &'a TableFacts) -> Self {
        // Row security is asked when it matters: it is switched on and off without us, and does not hold for every owner.
        let unreadable =
            unreadable(table).filter(|_| table.primary_key.is_empty() || !table.heirs.is_empty());
        Self {
            spec,
            table,
            alias: ident(&table.name),
            unreadable,
        }
    }

    /// Ends the block with an error, which is told as a gap, where the answer could be wrong.
    fn check(&self, indent: &str) -> String {
        let message =
            "a trigger has written this table, and which change of a row was the last cannot be told: ";
        let raise = |why: &str| {
            format!(
                "RAISE EXCEPTION {};",
                literal(&format!("{message}{why}")).trim_start()
            )
        };
        match self.unreadable {
            Some(why) => format!("{indent}{}\n", raise(why)),
            None => format!(
                "{indent}IF row_security_active({}::regclass) THEN\n{indent}  {}\n{indent}END IF;\n",
                literal(&self.table.quoted()).trim_start(),
                raise("row security hides its rows from the owner of this function")
            ),
        }
    }

    /// Sets `pregon_now` to the row as it is by now; to null where there is none, or where the condition leaves it out.
    fn now(&self) -> String {
        let check = self.check("        ");
        if self.unreadable.is_some() {
            return check;
        }
        format!(
            "{check}        IF TG_OP = 'DELETE' THEN\n          pregon_now := ({});\n        ELSE\n          pregon_now := ({});\n        END IF;\n",
            self.select(|_, column| format!("OLD.{}", ident(column))),
            self.select(|_, column| format!("NEW.{}", ident(column)))
        )
    }

    /// Each row of the statement as it was written and as it is by now.
    fn rows(&self) -> String {
        if self.unreadable.is_some() {
            return "SELECT NULL::text AS pregon_row, NULL::text AS pregon_now".to_owned();
        }
        let Self { spec, alias, .. } = self;
        let keys: Vec<String> = self
            .table
            .primary_key
            .iter()
            .enumerate()
            .map(|(index, column)| format!("{alias}.{} AS pregon_k{index}", ident(column)))
            .collect();
        let filter = match self.condition() {
            Some(condition) => format!(" WHERE {condition}"),
            None => String::new(),
        };
        format!(
            "SELECT pregon_x.pregon_row, ({}) AS pregon_now\n            FROM (SELECT {}::text AS pregon_row, {} FROM pregon_rows AS {alias}{filter}) AS pregon_x",
            self.select(|index, _| format!("pregon_x.pregon_k{index}")),
            row(spec, alias, true),
            keys.join(", ")
        )
    }

    fn select(&self, key: impl Fn(usize, &str) -> String) -> String {
        let Self { spec, alias, .. } = self;
        // The operators of the key's index, because the search path knows none of an extension.
        let columns = self
            .table
            .primary_key
            .iter()
            .zip(&self.table.key_operators)
            .enumerate();
        let mut conditions: Vec<String> = columns
            .map(|(index, (column, operator))| {
                format!("{alias}.{} {operator} {}", ident(column), key(index, column))
            })
            .collect();
        conditions.extend(self.condition());
        format!(
            "SELECT {}::text FROM {} AS {alias} WHERE {}",
            row(spec, alias, true),
            self.table.quoted(),
            conditions.join(" AND ")
        )
    }

    /// On lines of its own: it may end with a comment.
    fn condition(&self) -> Option<String> {
        let condition = self.spec.condition.as_deref()?;
        Some(format!("(\n{}\n)", condition.trim()))
    }
}
