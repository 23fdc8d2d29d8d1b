//! Draws changes of the schema while rows are written: columns, partitions, children.

use super::dice::Dice;
use super::plan::{Step, quote};
use super::schema::{Shape, Table};
use super::types::COLUMNS;

/// Columns that every table keeps, because triggers, conditions and writes name them.
const KEPT: &[&str] = &["n", "m", "txt", "calculada"];

/// Adds, drops or renames a column, or changes what a table is made of in another way that keeps its rows.
pub(crate) fn shape(dice: &mut Dice, tables: &mut [Table], number: usize) -> Step {
    let at = dice.below(tables.len());
    let table = tables.get_mut(at).expect("a schema has tables");
    let name = table.name;
    let watched = table.watch.columns.clone().unwrap_or_default();
    let free = table
        .columns
        .iter()
        .enumerate()
        .filter(|(_, column)| !KEPT.contains(&column.name.as_str()) && !watched.contains(&column.name));
    let free: Vec<usize> = free.map(|(at, _)| at).collect();
    let choice = dice.below(10);
    if choice < 4 || free.is_empty() {
        let of = dice.pick(COLUMNS);
        let added = format!("Nueva {number}");
        let default = match dice.chance(50) {
            true => format!(" DEFAULT {}", of.literal(dice.word(of.values))),
            false => String::new(),
        };
        table.add(added.clone(), of);
        return Step::Shape(format!(
            "ALTER TABLE {name} ADD COLUMN {} {}{default}",
            quote(&added),
            of.sql
        ));
    }
    let at = *dice.pick(&free);
    if choice < 7 {
        let gone = table.columns.remove(at);
        return Step::Shape(format!("ALTER TABLE {name} DROP COLUMN {}", gone.quoted()));
    }
    let Some(column) = table.columns.get_mut(at) else {
        return Step::Quiet;
    };
    let before = column.quoted();
    column.name = format!("Otra {number}");
    Step::Shape(format!(
        "ALTER TABLE {name} RENAME COLUMN {before} TO {}",
        column.quoted()
    ))
}

/// Things that rewrite or look at a table and change nothing in it.
pub(crate) fn harmless(dice: &mut Dice, tables: &[Table]) -> Step {
    let name = dice.pick(tables).name;
    Step::Sql(match dice.below(6) {
        0 => format!("VACUUM FULL {name}"),
        1 => format!("CREATE INDEX ON {name} (n)"),
        2 => format!("ANALYZE {name}"),
        3 => format!("ALTER TABLE {name} ALTER COLUMN n SET STATISTICS 50"),
        4 => format!("COMMENT ON TABLE {name} IS 'a remark'"),
        _ => format!("ALTER TABLE {name} ALTER COLUMN txt SET STORAGE EXTERNAL"),
    })
}

/// Partitions and children that come and go.
pub(crate) fn parts(dice: &mut Dice, table: &Table) -> Step {
    let name = table.name;
    Step::Reload(match (table.shape, dice.below(6)) {
        (Shape::Plain, _) => return Step::Quiet,
        (Shape::Partitioned, 0) => format!("CREATE TABLE {name}_4 PARTITION OF {name} FOR VALUES IN (4)"),
        (Shape::Partitioned, 1) => format!("ALTER TABLE {name} DETACH PARTITION {name}_1"),
        (Shape::Partitioned, 2) => format!("ALTER TABLE {name} ATTACH PARTITION {name}_1 FOR VALUES IN (1)"),
        (Shape::Partitioned, 3) => format!("DROP TABLE IF EXISTS {name}_4"),
        (Shape::Partitioned, 4) => format!(
            "BEGIN; CREATE TABLE {name}_5 (LIKE {name} INCLUDING ALL); ALTER TABLE {name} ATTACH PARTITION {name}_5 FOR VALUES IN (5, 7); COMMIT"
        ),
        (Shape::Partitioned, _) => format!("ALTER TABLE {name} DETACH PARTITION {name}_5"),
        (Shape::Inherited, 0 | 1) => format!("ALTER TABLE {name}_hija NO INHERIT {name}"),
        (Shape::Inherited, 2 | 3) => format!("ALTER TABLE {name}_hija INHERIT {name}"),
        (Shape::Inherited, 4) => format!(
            "CREATE TABLE {name}_nieta (PRIMARY KEY ({})) INHERITS ({name}_hija)",
            table.key_list()
        ),
        (Shape::Inherited, _) => format!("DROP TABLE IF EXISTS {name}_nieta"),
    })
}
