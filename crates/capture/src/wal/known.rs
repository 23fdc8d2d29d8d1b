//! What an old row tells. The stream marks a row as whole, and columns as parts of the key, by the table that it names: with partitions
//! that is their root, while the server logged what the replica identity of the partition asked for.

use std::collections::{HashMap, HashSet};

use serde::Deserialize;

use super::pgoutput::{Cell, Relation, RelationColumn, Tuple};
use super::shape::typed;
use crate::catalog::pieces::{equality, equality_name};
use crate::query::{Pool, QueryError};

/// The replica identities of the tables that keep the rows of a relation.
#[derive(Debug, Default)]
pub(super) struct Identities {
    /// The relation says FULL, and one of its partitions is not.
    pub(super) differ: bool,
    /// Columns that some identity that is not FULL has.
    some: HashSet<String>,
    /// Columns that all of them have.
    all: HashSet<String>,
    /// In the index of an identity, and not part of it: the stream counts them all the same.
    included: HashSet<String>,
    /// The operator that says whether two values of a key column are equal: that of the index, which may be of an extension.
    operators: HashMap<String, String>,
}

#[derive(Deserialize)]
struct Kept {
    full: bool,
    key: Vec<String>,
    included: Vec<String>,
    #[serde(default)]
    operators: Option<HashMap<String, String>>,
}

const KEPT: &str = concat!(
    "
    WITH RECURSIVE below AS (
      SELECT $1::oid AS oid
      UNION SELECT i.inhrelid FROM below b JOIN pg_class c ON c.oid = b.oid AND c.relkind = 'p' JOIN pg_inherits i ON i.inhparent = b.oid)
    SELECT c.relreplident = 'f' AS \"full\",
           array(SELECT a.attname::text FROM pg_attribute a WHERE a.attrelid = c.oid
                    AND a.attnum = ANY ((x.indkey::int2[])[0:x.indnkeyatts - 1])) AS key,
           array(SELECT a.attname::text FROM pg_attribute a WHERE a.attrelid = c.oid
                    AND a.attnum = ANY ((x.indkey::int2[])[x.indnkeyatts:])) AS included,
           (SELECT json_object_agg(a.attname, ",
    equality_name!(),
    ") FROM unnest(x.indkey::int2[], x.indclass::oid[]) AS k (attnum, class)
              JOIN pg_attribute a ON a.attrelid = c.oid AND a.attnum = k.attnum",
    equality!(),
    ") AS operators
      FROM below JOIN pg_class c ON c.oid = below.oid
      LEFT JOIN pg_index x ON x.indrelid = c.oid AND x.indisvalid
       AND ((c.relreplident = 'd' AND x.indisprimary) OR (c.relreplident = 'i' AND x.indisreplident))
     WHERE c.relkind = 'r'"
);

impl Identities {
    pub(super) async fn load(pool: &Pool, relation: &Relation) -> Result<Self, QueryError> {
        let kept: Vec<Kept> = typed(pool, KEPT, relation.oid).await?;
        Ok(Self::of(relation.full, kept))
    }

    fn of(full: bool, kept: Vec<Kept>) -> Self {
        let mut found = Self::default();
        for (index, one) in kept.into_iter().filter(|one| !one.full).enumerate() {
            let key: HashSet<String> = one.key.into_iter().collect();
            found.all = match index {
                0 => key.clone(),
                _ => found.all.intersection(&key).cloned().collect(),
            };
            found.some.extend(key);
            found.included.extend(one.included);
            found.operators.extend(one.operators.into_iter().flatten());
            found.differ = full;
        }
        found
    }

    /// How values of a key column are compared.
    pub(super) fn operator(&self, column: &str) -> &str {
        self.operators
            .get(column)
            .map_or("OPERATOR(pg_catalog.=)", String::as_str)
    }

    /// Whether every old row has this column.
    pub(super) fn is_key(&self, column: &RelationColumn) -> bool {
        if self.differ {
            return self.all.contains(&column.name);
        }
        column.key && !self.included.contains(&column.name)
    }

    /// Takes back the claim that an old row is whole where it may be a key: no other column of it has a value.
    pub(super) fn doubt(&self, relation: &Relation, old: &mut Tuple) {
        let mut cells = relation.columns.iter().zip(&old.cells);
        old.key_only |= self.differ
            && cells.all(|(column, cell)| *cell == Cell::Null || self.some.contains(&column.name));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn kept(full: bool, key: &[&str]) -> Kept {
        Kept {
            full,
            key: key.iter().map(|name| (*name).to_owned()).collect(),
            included: Vec::new(),
            operators: None,
        }
    }

    fn relation(full: bool) -> Relation {
        let column = |name: &str| RelationColumn {
            name: name.to_owned(),
            key: true,
            type_oid: 23,
        };
        Relation {
            oid: 1,
            schema: "public".into(),
            name: "t".into(),
            full,
            columns: ["a", "b", "c"].map(column).into(),
        }
    }

    #[test]
    fn a_row_is_whole_only_where_a_value_proves_it_or_every_partition_is_full() {
        let value = || Cell::Text("1".into());
        for (tables, cells, key_only) in [
            (vec![kept(true, &[])], [value(), Cell::Null, Cell::Null], false),
            (
                vec![kept(true, &[]), kept(false, &["a"])],
                [value(), Cell::Null, Cell::Null],
                true,
            ),
            (
                vec![kept(true, &[]), kept(false, &["a"])],
                [value(), Cell::Null, value()],
                false,
            ),
            (
                vec![kept(false, &["b", "a"]), kept(false, &["a"])],
                [value(), value(), Cell::Null],
                true,
            ),
        ] {
            let identities = Identities::of(true, tables);
            let mut old = Tuple {
                cells: cells.into(),
                key_only: false,
            };
            identities.doubt(&relation(true), &mut old);
            assert_eq!(old.key_only, key_only, "{old:?}");
        }
        let identities = Identities::of(true, vec![kept(false, &["b", "a"]), kept(false, &["a"])]);
        let keys: Vec<bool> = relation(true)
            .columns
            .iter()
            .map(|column| identities.is_key(column))
            .collect();
        assert_eq!(keys, [true, false, false]);
    }
}
