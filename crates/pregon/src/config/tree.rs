//! The file as a tree of values that know where they stand, and the list of problems.

use std::collections::HashMap;
use std::ops::Range;

use serde_json::{Map, Value};
use toml::Spanned;
use toml::de::{DeTable, DeValue};

use super::problem::{Problem, Problems};

/// Where a key and its value stand, in bytes.
#[derive(Debug, Clone)]
struct Place {
    key: Range<usize>,
    value: Range<usize>,
}

/// The parsed file.
pub(crate) struct Tree {
    file: String,
    text: String,
    json: Value,
    places: HashMap<String, Place>,
    problems: Vec<Problem>,
}

impl Tree {
    /// Reads the text; syntax errors are the tree's first problems.
    pub(crate) fn parse(text: &str, file: &str) -> Self {
        let (table, errors) = DeTable::parse_recoverable(text);
        let mut tree = Self {
            file: file.into(),
            text: text.into(),
            json: Value::Null,
            places: HashMap::new(),
            problems: Vec::new(),
        };
        tree.json = tree.table("", table.get_ref());
        for error in errors {
            let at = error.span().map_or(0, |span| span.start);
            let message = error.message().lines().collect::<Vec<_>>().join(" ");
            tree.push(at, "", None, message, "mend the TOML syntax".into());
        }
        tree
    }

    /// The values.
    pub(crate) fn json(&self) -> Value {
        self.json.clone()
    }

    /// Whether the file has this key.
    pub(crate) fn has(&self, key: &str) -> bool {
        self.places.contains_key(key)
    }

    pub(crate) fn has_problems(&self) -> bool {
        !self.problems.is_empty()
    }

    /// All problems in the order of the file; those of the environment last.
    pub(crate) fn into_problems(mut self) -> Problems {
        self.problems
            .sort_by_key(|problem| (problem.line == 0, problem.line, problem.column));
        Problems(self.problems)
    }

    /// Reports something wrong with the value of a key, or of the nearest key above it that exists.
    pub(crate) fn report(
        &mut self,
        key: &str,
        value: Option<String>,
        message: impl Into<String>,
        remedy: impl Into<String>,
    ) {
        let at = self.nearest(key).map_or(0, |place| place.value.start);
        self.push(at, key, value, message.into(), remedy.into());
    }

    /// Reports something wrong with the key itself.
    pub(crate) fn report_key(&mut self, key: &str, message: impl Into<String>, remedy: impl Into<String>) {
        let at = self.nearest(key).map_or(0, |place| place.key.start);
        self.push(at, key, None, message.into(), remedy.into());
    }

    /// Reports something wrong with a variable of the environment.
    pub(crate) fn report_variable(
        &mut self,
        name: &str,
        message: impl Into<String>,
        remedy: impl Into<String>,
    ) {
        self.problems.push(Problem {
            file: "environment".into(),
            line: 0,
            column: 0,
            key: name.into(),
            value: None,
            message: message.into(),
            remedy: remedy.into(),
        });
    }

    fn nearest(&self, key: &str) -> Option<&Place> {
        let mut key = key;
        loop {
            if let Some(place) = self.places.get(key) {
                return Some(place);
            }
            key = key.get(..key.rfind(['.', '['])?)?;
        }
    }

    fn push(&mut self, at: usize, key: &str, value: Option<String>, message: String, remedy: String) {
        let before = self.text.get(..at).unwrap_or(&self.text);
        let line = before.matches('\n').count() + 1;
        let column = before.rsplit('\n').next().unwrap_or("").chars().count() + 1;
        self.problems.push(Problem {
            file: self.file.clone(),
            line,
            column,
            key: key.into(),
            value,
            message,
            remedy,
        });
    }

    fn table(&mut self, path: &str, table: &DeTable<'_>) -> Value {
        let mut map = Map::new();
        for (key, value) in table {
            let name: &str = key.get_ref();
            let below = if path.is_empty() {
                name.to_owned()
            } else {
                format!("{path}.{name}")
            };
            self.places.insert(
                below.clone(),
                Place {
                    key: key.span(),
                    value: value.span(),
                },
            );
            let value = self.value(&below, value);
            map.insert(name.to_owned(), value);
        }
        Value::Object(map)
    }

    fn value(&mut self, path: &str, value: &Spanned<DeValue<'_>>) -> Value {
        match value.get_ref() {
            DeValue::String(text) => Value::from(text.as_ref()),
            DeValue::Integer(number) => {
                let digits = number.as_str().replace('_', "");
                i64::from_str_radix(&digits, number.radix()).map_or(Value::Null, Value::from)
            }
            DeValue::Float(number) => number
                .as_str()
                .replace('_', "")
                .parse::<f64>()
                .map_or(Value::Null, Value::from),
            DeValue::Boolean(value) => Value::from(*value),
            DeValue::Datetime(_) => Value::Null, // No key takes a date: null fits no type and is reported as such.
            DeValue::Table(table) => self.table(path, table),
            DeValue::Array(items) => {
                let mut list = Vec::new();
                for (index, item) in items.iter().enumerate() {
                    let below = format!("{path}[{index}]");
                    self.places.insert(
                        below.clone(),
                        Place {
                            key: item.span(),
                            value: item.span(),
                        },
                    );
                    list.push(self.value(&below, item));
                }
                Value::Array(list)
            }
        }
    }
}
