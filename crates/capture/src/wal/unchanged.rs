//! Large values that an update left as they were are not in the WAL: they come from the old row, or are read by the key.

use bytes::Bytes;

use super::ask::{self, Form};
use super::pgoutput::{Cell, Tuple};
use super::shape::Shape;
use crate::catalog::names::{ident, qualified};
use crate::query::{Pool, QueryError, TextParam, column_text};

/// Takes values from the old row where it is whole.
pub(super) fn from_old(new: &mut Tuple, old: &Tuple) {
    if old.key_only {
        return;
    }
    for (cell, old) in new.cells.iter_mut().zip(&old.cells) {
        if *cell == Cell::Unchanged {
            *cell = old.clone();
        }
    }
}

/// The places of values that are missing and that a watch reads.
pub(super) fn missing(shape: &Shape, new: &Tuple) -> Vec<usize> {
    let unchanged = new.cells.iter().enumerate();
    unchanged
        .filter(|(place, cell)| {
            **cell == Cell::Unchanged && shape.watches.iter().any(|watch| watch.reads(*place))
        })
        .map(|(place, _)| place)
        .collect()
}

/// Reads the values at `places` for rows of one table. A row that has gone stays without them.
pub(super) async fn read(
    pool: &Pool,
    shape: &Shape,
    places: &[usize],
    rows: &mut [&mut Tuple],
) -> Result<(), QueryError> {
    let keys: Vec<Vec<u8>> = rows
        .iter()
        .map(|row| {
            let mut texts = Vec::new();
            // A key that cannot be read finds no row.
            if shape.texts(&key_of(shape, row), &mut texts).is_err() {
                texts = b"{}".to_vec();
            }
            texts
        })
        .collect();
    let input = ask::array(&keys);
    let definitions = shape.definitions(|column| column.key);
    let asked = |form| {
        let sql = select(shape, places, form);
        let input = &input;
        async move { pool.query_text(&sql, &[&TextParam(Some(input))]).await }
    };
    let found = match asked(Form::Columns(&definitions)).await {
        // The schema of a type may be closed to the gateway.
        Err(error) if error.is_permanent() => {
            let table = qualified(&shape.relation.schema, &shape.relation.name);
            asked(Form::Table(&table)).await.map_err(|_| error)?
        }
        done => done?,
    };
    for (tuple, row) in rows.iter_mut().zip(&found) {
        if column_text(row, 0)?.as_deref() != Some("true") {
            continue;
        }
        for (index, place) in places.iter().enumerate() {
            if let Some(cell) = tuple.cells.get_mut(*place) {
                *cell = column_text(row, index + 1)?.map_or(Cell::Null, |text| Cell::Text(Bytes::from(text)));
            }
        }
    }
    Ok(())
}

fn key_of(shape: &Shape, row: &Tuple) -> Tuple {
    let cells = row.cells.iter().zip(&shape.columns);
    Tuple {
        cells: cells
            .map(|(cell, column)| if column.key { cell.clone() } else { Cell::Null })
            .collect(),
        key_only: true,
    }
}

/// `format` writes a value as its type's output does; a cast to text may not.
fn select(shape: &Shape, places: &[usize], form: Form<'_>) -> String {
    let table = qualified(&shape.relation.schema, &shape.relation.name);
    let names = places.iter().filter_map(|place| shape.columns.get(*place));
    let values: Vec<String> = names
        .map(|column| {
            let name = ident(&column.name);
            format!(", CASE WHEN pg_catalog.num_nulls(pregon_row.{name}) = 0 THEN pg_catalog.format('%s', pregon_row.{name}) END")
        })
        .collect();
    let keys: Vec<(String, &str)> = shape
        .columns
        .iter()
        .filter(|column| column.key)
        .map(|column| (ident(&column.name), shape.identities.operator(&column.name)))
        .collect();
    let joined: Vec<String> = keys
        .iter()
        .map(|(name, operator)| format!("pregon_row.{name} {operator} pregon_key.{name}"))
        .collect();
    let first = keys.first().map_or("", |(name, _)| name.as_str());
    format!(
        "SELECT (pregon_row.{first} IS NOT NULL)::text{} \
         FROM pg_catalog.json_array_elements($1::json) WITH ORDINALITY AS pregon_in(pregon_value, pregon_nr) \
         CROSS JOIN LATERAL {} \
         LEFT JOIN {table} AS pregon_row ON {} ORDER BY pregon_nr",
        values.concat(),
        form.rows("pregon_value", "pregon_key"),
        joined.join(" AND "),
    )
}
