//! What a seed comes to: a schema, watches and steps, as SQL that a person can run.

use std::fmt::Write as _;

use super::feature::{Capture, Feature};

/// All that a run does; nothing is drawn while it runs.
#[derive(Debug, Clone)]
pub struct Plan {
    /// The seed that it was drawn from.
    pub seed: u64,
    /// How changes are captured.
    pub capture: Capture,
    /// What was drawn, for the report.
    pub features: Vec<Feature>,
    /// Makes the schema, in the watched schema and in the control.
    pub schema: Vec<String>,
    /// The tables that clients follow.
    pub watches: Vec<Watch>,
    /// What happens while the gateway runs.
    pub steps: Vec<Step>,
    /// Whether a gap may be told although no change of the schema asks for one.
    pub gaps: bool,
}

/// One watched table.
#[derive(Debug, Clone)]
pub struct Watch {
    /// Its name, which is that of its channel too.
    pub name: String,
    /// The table, quoted where it must be.
    pub table: String,
    /// Columns that tell rows apart, as JSON has them.
    pub key: Vec<String>,
    /// Columns that leave the database; all without.
    pub columns: Option<Vec<String>>,
    /// `where`.
    pub condition: Option<String>,
    /// `old = true`: events then carry `row` and `old`.
    pub old: bool,
}

/// One thing that happens.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Step {
    /// A statement, by the first of two sessions.
    Sql(String),
    /// A statement by the second session.
    Other(String),
    /// A statement that changes columns of a table: rows that are older may have other columns.
    Shape(String),
    /// A statement that changes which rows a table has without writing them: the follower loads again after it.
    Reload(String),
    /// Everything that was written must have arrived.
    Quiet,
}

impl Plan {
    /// The gateway's configuration.
    pub(crate) fn config(&self) -> String {
        let mut config = format!(
            "[postgres]\napply = \"auto\"\ncapture = \"{}\"\nheartbeat = \"500ms\"\n[limits]\nqueue = \"64MiB\"\n\
             [[channel]]\nname = \"marks\"\n[[watch]]\nname = \"marks\"\ntable = \"app.marks\"\noperations = [\"insert\"]\n",
            self.capture.as_str()
        );
        for watch in &self.watches {
            watch.configure(&mut config);
        }
        config
    }

    /// The whole of it as a script with remarks.
    pub fn script(&self) -> String {
        let names: Vec<&str> = self.features.iter().map(|feature| feature.as_str()).collect();
        let mut script = format!("-- seed {}: {}\n", self.seed, names.join(", "));
        for line in self.config().lines() {
            let _ = writeln!(script, "-- {line}");
        }
        for sql in &self.schema {
            let _ = writeln!(script, "{sql};");
        }
        script.push_str("-- the gateway starts here\n");
        for step in &self.steps {
            let _ = match step {
                Step::Sql(sql) => writeln!(script, "{sql};"),
                Step::Other(sql) => writeln!(script, "/* second session */ {sql};"),
                Step::Shape(sql) => writeln!(script, "/* changes columns */ {sql};"),
                Step::Reload(sql) => writeln!(script, "/* the follower loads again */ {sql};"),
                Step::Quiet => writeln!(script, "-- quiet"),
            };
        }
        script
    }
}

impl Watch {
    fn configure(&self, config: &mut String) {
        let name = &self.name;
        let _ = writeln!(
            config,
            "[[channel]]\nname = \"{name}\"\n[[watch]]\nname = \"{name}\"\ntable = '''app.{}'''\n\
             operations = [\"insert\", \"update\", \"delete\", \"truncate\"]",
            self.table
        );
        if let Some(columns) = &self.columns {
            let quoted: Vec<String> = columns.iter().map(|column| format!("'''{column}'''")).collect();
            let _ = writeln!(config, "columns = [{}]", quoted.join(", "));
        }
        if let Some(condition) = &self.condition {
            let _ = writeln!(config, "where = '''{condition}'''");
        }
        if self.old {
            let _ = writeln!(
                config,
                "old = true\n[[route]]\nfrom = \"{name}\"\nto = \"{name}\"\npayload = {{ row = \"row\", old = \"old\" }}"
            );
        }
    }

    /// A query for the rows of the table as the gateway renders them, and for who wrote each.
    pub(crate) fn query(&self) -> String {
        let columns = match &self.columns {
            Some(columns) => columns
                .iter()
                .map(|column| format!("pregon_t.{}", quote(column)))
                .collect::<Vec<_>>()
                .join(", "),
            None => "pregon_t.*".to_owned(),
        };
        let condition = self.condition.as_deref().unwrap_or("true");
        format!(
            "SELECT (SELECT row_to_json(pregon_r)::text FROM (SELECT {columns}) AS pregon_r), pregon_t.xmin::text \
             FROM app.{} AS pregon_t WHERE ({condition})",
            self.table
        )
    }
}

/// An identifier as SQL reads it.
pub(crate) fn quote(name: &str) -> String {
    format!("\"{}\"", name.replace('"', "\"\""))
}
