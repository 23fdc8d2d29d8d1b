//! A client that keeps collections by key from what it is told, and the comparison of one with its table.
//!
//! This is all that judges: it knows nothing of triggers, captures or the gateway.

use std::collections::BTreeMap;

use anyhow::Context;
use serde_json::Value;
use serde_json::value::RawValue;

use super::plan::Watch;

/// A row: its columns as the JSON text of each.
pub(crate) type Row = BTreeMap<String, String>;

/// Mistakes of a client, to prove that the comparison finds them.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Naive {
    /// Rows that were deleted stay.
    IgnoresDeletes,
    /// Updates are passed over.
    IgnoresUpdates,
    /// The old key of a row that got another one stays.
    IgnoresOldKeys,
    /// TRUNCATE is passed over.
    IgnoresTruncate,
}

/// What one client knows of one table.
#[derive(Debug)]
pub(crate) struct Collection {
    watch: Watch,
    rows: BTreeMap<String, Row>,
    /// Whether a gap was told since it was last known to be right.
    unsure: bool,
    naive: Option<Naive>,
    /// Events since it was last known to be right, for the message.
    recent: Vec<String>,
}

/// A row of the table.
#[derive(Debug, Clone)]
pub(crate) struct Fact {
    pub(crate) row: Row,
    /// Written before the columns last changed: only columns that both have are compared.
    pub(crate) older: bool,
}

impl Collection {
    pub(crate) fn new(watch: Watch, naive: Option<Naive>) -> Self {
        Self {
            watch,
            rows: BTreeMap::new(),
            unsure: false,
            naive,
            recent: Vec::new(),
        }
    }

    pub(crate) fn watch(&self) -> &Watch {
        &self.watch
    }

    pub(crate) fn unsure(&self) -> bool {
        self.unsure
    }

    pub(crate) fn gap(&mut self, reason: &str) {
        self.recent.push(format!("gap: {reason}"));
        self.unsure = true;
    }

    /// Takes an event as it came.
    pub(crate) fn apply(&mut self, event: &str, data: Option<&RawValue>) -> anyhow::Result<()> {
        let text = data.map_or("null", RawValue::get);
        let shown: String = text.chars().take(400).collect();
        self.recent.push(format!("{event} {shown}"));
        let (row, old) = self
            .read(text)
            .with_context(|| format!("event {event} {shown}"))?;
        match event {
            "insert" => self.put(row),
            "update" => {
                if let Some(old) = old
                    && self.naive != Some(Naive::IgnoresOldKeys)
                {
                    self.rows.remove(&self.key(&old)?);
                }
                match self.naive {
                    Some(Naive::IgnoresUpdates) => Ok(()),
                    _ => self.put(row),
                }
            }
            "delete" if self.naive == Some(Naive::IgnoresDeletes) => Ok(()),
            "delete" => {
                let row = row.context("a deleted row")?;
                self.rows.remove(&self.key(&row)?);
                Ok(())
            }
            "truncate" if self.naive == Some(Naive::IgnoresTruncate) => Ok(()),
            "truncate" => {
                self.rows.clear();
                Ok(())
            }
            _ => anyhow::bail!("no event of a watch is called {event}"),
        }
    }

    /// The row and the one before it.
    fn read(&self, data: &str) -> anyhow::Result<(Option<Row>, Option<Row>)> {
        if !self.watch.old {
            return Ok((columns(data)?, None));
        }
        // A TRUNCATE has no row to build a payload of.
        let both = columns(data)?.unwrap_or_default();
        let part = |name: &str| both.get(name).map(|text| columns(text)).transpose();
        Ok((part("row")?.flatten(), part("old")?.flatten()))
    }

    fn put(&mut self, row: Option<Row>) -> anyhow::Result<()> {
        let row = row.context("an event without a row")?;
        self.rows.insert(self.key(&row)?, row);
        Ok(())
    }

    /// The key's values without the differences that numbers may have in writing.
    fn key(&self, row: &Row) -> anyhow::Result<String> {
        let mut key = String::new();
        for name in &self.watch.key {
            let text = row
                .get(name)
                .with_context(|| format!("no key column {name} in {row:?}"))?;
            let value: Value = serde_json::from_str(text)?;
            key.push_str(&value.to_string());
            key.push('\n');
        }
        Ok(key)
    }

    /// Takes the table as it is, as a client does that loads.
    pub(crate) fn load(&mut self, table: Vec<Fact>) -> anyhow::Result<()> {
        self.rows.clear();
        self.recent.clear();
        self.unsure = false;
        for fact in table {
            self.put(Some(fact.row))?;
        }
        Ok(())
    }

    /// How it differs from the table; `None` is what is wanted.
    pub(crate) fn difference(&self, table: &[Fact]) -> anyhow::Result<Option<String>> {
        let mut problems = Vec::new();
        let mut there = BTreeMap::new();
        for fact in table {
            let key = self.key(&fact.row)?;
            match self.rows.get(&key) {
                None => problems.push(format!("not told: {}", show(&fact.row))),
                Some(told) if !same(told, fact) => {
                    problems.push(format!(
                        "told     {}\n      in the table {}",
                        show(told),
                        show(&fact.row)
                    ));
                }
                Some(_) => {}
            }
            anyhow::ensure!(
                there.insert(key, ()).is_none(),
                "two rows of one key: {}",
                show(&fact.row)
            );
        }
        let gone = self.rows.iter().filter(|(key, _)| !there.contains_key(*key));
        problems.extend(gone.map(|(_, row)| format!("gone, and not told: {}", show(row))));
        if problems.is_empty() {
            return Ok(None);
        }
        problems.truncate(5);
        let from = self.recent.len().saturating_sub(40);
        let recent: Vec<&str> = self.recent.iter().skip(from).map(String::as_str).collect();
        Ok(Some(format!(
            "{}:\n    {}\n  what was told since the last quiet point:\n    {}",
            self.watch.name,
            problems.join("\n    "),
            recent.join("\n    ")
        )))
    }

    /// The collection was right at a quiet point.
    pub(crate) fn agreed(&mut self) {
        self.recent.clear();
    }
}

fn same(told: &Row, fact: &Fact) -> bool {
    let equal = |name, value| fact.row.get(name).is_none_or(|there| equal(value, there));
    let all = told.iter().all(|(name, value)| equal(name, value));
    all && (fact.older || told.keys().eq(fact.row.keys()))
}

/// Values are equal as they are written; of a text it does not matter which characters are escaped.
fn equal(one: &str, other: &str) -> bool {
    let text = |json: &str| serde_json::from_str::<String>(json).ok();
    one == other || text(one).is_some_and(|text_of_one| text(other) == Some(text_of_one))
}

fn show(row: &Row) -> String {
    let columns = row.iter().map(|(name, value)| {
        let value: String = value.chars().take(60).collect();
        format!("{name}={value}")
    });
    columns.collect::<Vec<_>>().join(" ")
}

/// The columns of a JSON object as texts; `None` for `null`.
pub(crate) fn columns(json: &str) -> anyhow::Result<Option<Row>> {
    let columns: Option<BTreeMap<String, Box<RawValue>>> =
        serde_json::from_str(json).with_context(|| format!("a row: {json}"))?;
    let texts = |columns: BTreeMap<String, Box<RawValue>>| {
        columns
            .into_iter()
            .map(|(name, value)| (name, value.get().to_owned()))
            .collect()
    };
    Ok(columns.map(texts))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::indexing_slicing, clippy::panic)]
    use super::*;

    fn watch(old: bool) -> Watch {
        Watch {
            name: "t".into(),
            table: "t".into(),
            key: vec!["id".into()],
            columns: None,
            condition: None,
            old,
        }
    }

    fn table(rows: &[&str]) -> Vec<Fact> {
        let fact = |json: &&str| Fact {
            row: columns(json).unwrap().unwrap(),
            older: false,
        };
        rows.iter().map(fact).collect()
    }

    /// The difference after `told` for a table that ends as `rows`.
    fn judged(naive: Option<Naive>, old: bool, told: &[(&str, &str)], rows: &[&str]) -> Option<String> {
        let mut collection = Collection::new(watch(old), naive);
        for (event, data) in told {
            let data = RawValue::from_string((*data).to_owned()).unwrap();
            collection.apply(event, Some(&data)).unwrap();
        }
        collection.difference(&table(rows)).unwrap()
    }

    #[test]
    fn what_is_told_in_order_is_the_table() {
        let told = [
            ("insert", r#"{"id":1,"n":null}"#),
            ("update", r#"{"id":1,"n":10}"#),
            ("insert", r#"{"id":2,"n":1}"#),
            ("delete", r#"{"id":2}"#),
        ];
        assert_eq!(judged(None, false, &told, &[r#"{"id":1,"n":10}"#]), None);
        let truncated = [
            ("insert", r#"{"id":1}"#),
            ("truncate", "null"),
            ("insert", r#"{"id":2}"#),
        ];
        assert_eq!(judged(None, false, &truncated, &[r#"{"id":2}"#]), None);
    }

    /// What a capture trigger tells that fires after the application's own: the update first, then the insert.
    #[test]
    fn changes_of_a_row_in_the_wrong_order_are_found() {
        let update = [
            ("update", r#"{"id":1,"n":10}"#),
            ("insert", r#"{"id":1,"n":null}"#),
        ];
        let found = judged(None, false, &update, &[r#"{"id":1,"n":10}"#]).unwrap();
        assert!(found.contains("told     id=1 n=null"), "{found}");
        let delete = [("delete", r#"{"id":1}"#), ("insert", r#"{"id":1}"#)];
        assert!(
            judged(None, false, &delete, &[])
                .unwrap()
                .contains("gone, and not told")
        );
    }

    #[test]
    fn each_naive_client_is_found() {
        let insert = ("insert", r#"{"id":1,"n":1}"#);
        let delete = ("delete", r#"{"id":1}"#);
        assert_eq!(judged(None, false, &[insert, delete], &[]), None);
        assert!(judged(Some(Naive::IgnoresDeletes), false, &[insert, delete], &[]).is_some());
        let update = ("update", r#"{"id":1,"n":2}"#);
        let after = [r#"{"id":1,"n":2}"#];
        assert_eq!(judged(None, false, &[insert, update], &after), None);
        assert!(judged(Some(Naive::IgnoresUpdates), false, &[insert, update], &after).is_some());
        assert!(
            judged(
                Some(Naive::IgnoresTruncate),
                false,
                &[insert, ("truncate", "null")],
                &[]
            )
            .is_some()
        );
        let moved = [
            ("insert", r#"{"row":{"id":1},"old":null}"#),
            ("update", r#"{"row":{"id":2},"old":{"id":1}}"#),
        ];
        assert_eq!(judged(None, true, &moved, &[r#"{"id":2}"#]), None);
        assert!(judged(Some(Naive::IgnoresOldKeys), true, &moved, &[r#"{"id":2}"#]).is_some());
    }

    #[test]
    fn values_are_compared_as_they_are_written_and_keys_by_what_they_mean() {
        let told = [("insert", r#"{"id":1.50,"n":9007199254740993}"#)];
        assert!(judged(None, false, &told, &[r#"{"id":1.5,"n":9007199254740992}"#]).is_some());
        assert!(judged(None, false, &told, &[r#"{"id":1.50,"n":9007199254740993}"#]).is_none());
        let told_text = [("insert", r#"{"id":1,"n":"\u00f1"}"#)];
        assert!(judged(None, false, &told_text, &[r#"{"id":1,"n":"ñ"}"#]).is_none());
        assert!(judged(None, false, &told_text, &[r#"{"id":1,"n":"n"}"#]).is_some());
        let deleted = [told[0], ("delete", r#"{"id":1.5}"#)];
        assert_eq!(judged(None, false, &deleted, &[]), None);
    }

    #[test]
    fn rows_from_before_a_change_of_columns_are_compared_by_what_both_have() {
        let mut collection = Collection::new(watch(false), None);
        let data = RawValue::from_string(r#"{"id":1,"gone":1,"n":1}"#.into()).unwrap();
        collection.apply("insert", Some(&data)).unwrap();
        let mut now = table(&[r#"{"id":1,"n":1,"new":5}"#]);
        assert!(collection.difference(&now).unwrap().is_some());
        now[0].older = true;
        assert_eq!(collection.difference(&now).unwrap(), None);
        now[0].row.insert("n".into(), "2".into());
        assert!(collection.difference(&now).unwrap().is_some());
    }
}
