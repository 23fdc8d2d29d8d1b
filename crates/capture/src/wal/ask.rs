//! Conditions, computed columns and types with a JSON form of their own: the server is asked, many rows at a time, so that the answer
//! is the one that a trigger would have got.

use bytes::Bytes;

use crate::fault::Fault;
use crate::query::{Pool, QueryError, TextParam, column_text};

/// A question about rows of one watch.
#[derive(Debug)]
pub(super) struct Ask {
    sql: String,
    /// Whether the answer brings the row's JSON.
    pub(super) renders: bool,
}

/// What a question is made of.
pub(super) struct Source<'a> {
    /// What the rows are: a row type, or columns with their types.
    pub(super) form: Form<'a>,
    /// The name that conditions use.
    pub(super) alias: &'a str,
    pub(super) condition: Option<&'a str>,
    /// Expressions of the row's columns.
    pub(super) row: Option<&'a str>,
}

/// How the texts of a row become one.
#[derive(Debug, Clone, Copy)]
pub(super) enum Form<'a> {
    /// As a row of this table as it is by now, quoted and qualified.
    Table(&'a str),
    /// With these columns and types: those of the moment of the change, whatever the table has become.
    Columns(&'a str),
}

impl Form<'_> {
    /// Rows of it under an alias, from a JSON object.
    pub(super) fn rows(self, value: &str, alias: &str) -> String {
        match self {
            Self::Table(table) => {
                format!("pg_catalog.json_populate_record(NULL::{table}, {value}) AS {alias}")
            }
            Self::Columns(columns) => format!("pg_catalog.json_to_record({value}) AS {alias}({columns})"),
        }
    }
}

/// What the server says about a row.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Answer {
    pub(super) matches: bool,
    pub(super) row: Option<Bytes>,
}

impl Ask {
    /// The question, if there is anything to ask.
    pub(super) fn new(source: Source<'_>) -> Option<Self> {
        if source.condition.is_none() && source.row.is_none() {
            return None;
        }
        let Source { form, alias, .. } = source;
        // As in the triggers: the condition sees the columns of the row and its name, and nothing else.
        let row = format!("(SELECT {alias}.*) AS {alias}");
        let matches = source.condition.map_or("true".to_owned(), |condition| {
            format!("coalesce((SELECT (\n{}\n) FROM {row}), false)", condition.trim())
        });
        let json = source.row.map_or("NULL".to_owned(), |columns| {
            format!("(SELECT pg_catalog.row_to_json(pregon_row.*)::text FROM (SELECT {columns} FROM {row}) AS pregon_row)")
        });
        let sql = format!(
            "SELECT ({matches})::text, {json} \
             FROM pg_catalog.json_array_elements($1::json) WITH ORDINALITY AS \"pregon in\"(\"pregon value\", \"pregon nr\") \
             CROSS JOIN LATERAL {} ORDER BY \"pregon nr\"",
            form.rows("\"pregon value\"", alias)
        );
        Some(Self {
            sql,
            renders: source.row.is_some(),
        })
    }

    /// Whether the server understands it.
    pub(super) async fn try_out(&self, pool: &Pool) -> Result<(), QueryError> {
        self.run_at_once(pool, &[]).await.map(|_| ())
    }

    /// Asks about rows (JSON objects of texts). What the server refuses for the sake of one row is told for that row.
    pub(super) async fn run(
        &self,
        pool: &Pool,
        rows: &[Vec<u8>],
    ) -> Result<Vec<Result<Answer, Fault>>, QueryError> {
        match self.run_at_once(pool, rows).await {
            Ok(answers) => return Ok(answers.into_iter().map(Ok).collect()),
            Err(error) if !error.is_permanent() => return Err(error),
            Err(_) => {}
        }
        let mut answers = Vec::with_capacity(rows.len());
        for row in rows {
            answers.push(match self.run_at_once(pool, std::slice::from_ref(row)).await {
                Ok(mut answer) => answer.pop().ok_or_else(|| "no answer".into()),
                Err(error) if error.is_permanent() => Err(Fault::from(&error)),
                Err(error) => return Err(error),
            });
        }
        Ok(answers)
    }

    async fn run_at_once(&self, pool: &Pool, rows: &[Vec<u8>]) -> Result<Vec<Answer>, QueryError> {
        let input = array(rows);
        let found = pool.query_text(&self.sql, &[&TextParam(Some(&input))]).await?;
        if found.len() != rows.len() {
            let (asked, got) = (rows.len(), found.len());
            return Err(QueryError::Value(format!("{got} answers for {asked} rows")));
        }
        let answer = |row: &tokio_postgres::Row| {
            Ok(Answer {
                matches: column_text(row, 0)?.as_deref() == Some("true"),
                row: column_text(row, 1)?.map(Bytes::from),
            })
        };
        found.iter().map(answer).collect()
    }
}

/// JSON objects as one JSON array.
pub(super) fn array(rows: &[Vec<u8>]) -> String {
    let mut array = String::from("[");
    for (index, row) in rows.iter().enumerate() {
        if index > 0 {
            array.push(',');
        }
        array.push_str(&String::from_utf8_lossy(row));
    }
    array.push(']');
    array
}
