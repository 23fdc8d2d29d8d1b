//! Draws statements that write: every way to insert, update, delete, merge and empty a table.

use super::dice::Dice;
use super::schema::{Column, Shape, Table, names};

/// A value of 12 kB that does not compress, so that it is stored outside of its row and NOTIFY cannot carry it.
const LARGE: &str = "(SELECT string_agg(md5((g + 0)::text), '') FROM generate_series(1, 400) AS g)";

/// Draws one statement.
pub(crate) fn draw(dice: &mut Dice, tables: &[Table], large: bool) -> String {
    let table = match dice.chance(65) {
        true => tables.first(),
        false => tables.last(),
    };
    let table = table.expect("a schema has tables");
    let writes = Writes { dice, table, large };
    writes.draw()
}

struct Writes<'a> {
    dice: &'a mut Dice,
    table: &'a Table,
    large: bool,
}

impl Writes<'_> {
    fn draw(mut self) -> String {
        match self.dice.below(100) {
            0..30 => self.insert(),
            30..54 => self.update(),
            54..60 if self.table.keys_change() => self.update_key(),
            60..72 => self.delete(),
            72..77 => self.merge(),
            77..81 => self.copy(),
            81..86 => self.again(),
            86..91 => self.block(),
            91..94 => self.truncate(),
            94..97 => self.part_write(),
            _ => self.upsert(),
        }
    }

    fn name(&self) -> &'static str {
        self.table.name
    }

    fn key_values(&mut self) -> Vec<String> {
        let table = self.table;
        table.key.iter().map(|column| column.value(self.dice)).collect()
    }

    fn value(&mut self, column: &Column) -> String {
        if self.large && column.name == "txt" && self.dice.chance(25) {
            return LARGE.replace("+ 0", &format!("+ {}", self.dice.below(9)));
        }
        column.value(self.dice)
    }

    /// The columns of an insert and a row of values.
    fn columns(&mut self) -> Vec<Column> {
        let written = self.table.written();
        let key = self.table.key.len();
        let others: Vec<Column> = written.iter().skip(key).cloned().collect();
        let mut columns: Vec<Column> = self.table.key.clone();
        columns.extend(self.dice.some(&others, 70));
        columns
    }

    fn row(&mut self, columns: &[Column]) -> String {
        let values: Vec<String> = columns.iter().map(|column| self.value(column)).collect();
        format!("({})", values.join(", "))
    }

    fn rows(&mut self, columns: &[Column], most: usize) -> String {
        let count = 1 + self.dice.below(most);
        let rows: Vec<String> = (0..count).map(|_| self.row(columns)).collect();
        rows.join(", ")
    }

    fn insert(&mut self) -> String {
        let columns = self.columns();
        let rows = self.rows(&columns, 4);
        let list = names(&columns);
        let conflict = match self.dice.chance(60) {
            true => " ON CONFLICT DO NOTHING",
            false => "",
        };
        match self.dice.chance(25) {
            // Rows of a query go another way through the executor.
            true => format!(
                "INSERT INTO {} ({list}) SELECT * FROM (VALUES {rows}) AS v{conflict}",
                self.name()
            ),
            false => format!("INSERT INTO {} ({list}) VALUES {rows}{conflict}", self.name()),
        }
    }

    fn upsert(&mut self) -> String {
        let columns = self.columns();
        let row = self.row(&columns);
        let sets: Vec<String> = columns
            .iter()
            .skip(self.table.key.len())
            .map(|column| format!("{0} = excluded.{0}", column.quoted()))
            .collect();
        let action = match sets.is_empty() {
            true => "NOTHING".to_owned(),
            false => format!("UPDATE SET {}", sets.join(", ")),
        };
        format!(
            "INSERT INTO {} ({}) VALUES {row} ON CONFLICT ({}) DO {action}",
            self.name(),
            names(&columns),
            self.table.key_list()
        )
    }

    fn filter(&mut self) -> String {
        match self.dice.below(6) {
            0 | 1 => {
                let values = self.key_values();
                let same = self.table.key.iter().zip(values);
                let same = same.map(|(column, value)| format!("{} = {value}", column.quoted()));
                same.collect::<Vec<_>>().join(" AND ")
            }
            2 => "true".to_owned(),
            3 => "txt IS NULL".to_owned(),
            _ => format!("n % {} = {}", 2 + self.dice.below(3), self.dice.below(3)),
        }
    }

    fn sets(&mut self) -> String {
        let written = self.table.written();
        let others: Vec<Column> = written.into_iter().skip(self.table.key.len()).collect();
        let mut some = self.dice.some(&others, 25);
        if some.is_empty() {
            some.extend(others.first().cloned());
        }
        let sets = some.iter().map(|column| match column.name.as_str() {
            "n" if self.dice.chance(60) => "n = n + 1".to_owned(),
            _ => format!("{} = {}", column.quoted(), self.value(column)),
        });
        sets.collect::<Vec<_>>().join(", ")
    }

    fn update(&mut self) -> String {
        let sets = self.sets();
        let filter = self.filter();
        match self.dice.below(8) {
            // Nothing changes, and yet every row is written.
            0 => format!("UPDATE {} SET n = n WHERE {filter}", self.name()),
            1 => format!(
                "WITH w AS (UPDATE {} SET {sets} WHERE {filter} RETURNING *) SELECT count(*) FROM w",
                self.name()
            ),
            _ => format!("UPDATE {} SET {sets} WHERE {filter}", self.name()),
        }
    }

    /// One row: a chain of keys that move would need to be told as one.
    fn update_key(&mut self) -> String {
        let table = self.table;
        let (from, to) = (self.key_values(), self.key_values());
        let list = |values: &[String], between: &str| {
            let pairs = table.key.iter().zip(values);
            pairs
                .map(|(column, value)| format!("{} = {value}", column.quoted()))
                .collect::<Vec<_>>()
                .join(between)
        };
        format!(
            "UPDATE {} SET {}, n = n + 1 WHERE {}",
            self.name(),
            list(&to, ", "),
            list(&from, " AND ")
        )
    }

    fn delete(&mut self) -> String {
        let filter = self.filter();
        let filter = match filter.as_str() {
            // Now and then a table may be emptied this way, not every third time.
            "true" if self.dice.chance(70) => "n > 4".to_owned(),
            _ => filter,
        };
        format!("DELETE FROM {} WHERE {filter}", self.name())
    }

    fn merge(&mut self) -> String {
        let columns = self.columns();
        let rows = self.row(&columns);
        let list = names(&columns);
        let on = self
            .table
            .key
            .iter()
            .map(|column| format!("t.{0} = s.{0}", column.quoted()));
        let on = on.collect::<Vec<_>>().join(" AND ");
        let matched = match self.dice.chance(60) {
            true => "UPDATE SET n = coalesce(t.n, 0) + 1",
            false => "DELETE",
        };
        let values: Vec<String> = columns
            .iter()
            .map(|column| format!("s.{}", column.quoted()))
            .collect();
        format!(
            "MERGE INTO {} AS t USING (VALUES {rows}) AS s ({list}) ON {on} WHEN MATCHED THEN {matched} \
             WHEN NOT MATCHED THEN INSERT ({list}) VALUES ({})",
            self.name(),
            values.join(", ")
        )
    }

    /// Keys by COPY: the server's own `printf` writes them, so that a script shows all of it.
    fn copy(&mut self) -> String {
        let texts = |dice: &mut Dice, table: &Table| {
            let fields = table.key.iter().map(|column| {
                let value: &str = dice.word(column.of.values);
                format!("\"{}\"", value.replace('"', "\"\""))
            });
            let mut fields: Vec<String> = fields.collect();
            fields.push(dice.below(9).to_string());
            fields.join(",")
        };
        let count = 1 + self.dice.below(3);
        let lines: Vec<String> = (0..count).map(|_| texts(self.dice, self.table)).collect();
        let lines = lines.join("\n");
        // Once for the shell, once for printf's `%s`, once for SQL.
        let shell = format!("printf %s '{}'", lines.replace('\'', "'\\''"));
        format!(
            "COPY {} ({}, n) FROM PROGRAM '{}' (FORMAT csv)",
            self.name(),
            self.table.key_list(),
            shell.replace('\'', "''")
        )
    }

    /// Rows that go and come again, in one statement or in one transaction.
    fn again(&mut self) -> String {
        let (name, list, filter) = (self.name(), self.table.key_list(), self.filter());
        match self.dice.chance(50) {
            true => format!(
                "WITH w AS (DELETE FROM {name} WHERE {filter} RETURNING {list}, n) INSERT INTO {name} ({list}, n) SELECT {list}, n + 1 FROM w"
            ),
            false => format!(
                "DO $b$ BEGIN DELETE FROM {name} WHERE {filter}; INSERT INTO {name} ({list}, n) VALUES ({}, 8); END $b$",
                self.key_values().join(", ")
            ),
        }
    }

    /// A block whose first part is taken back.
    fn block(&mut self) -> String {
        let first = self.insert();
        let second = self.update();
        let third = self.delete();
        let wrong = match self.dice.chance(50) {
            true => "PERFORM 1 / 0; ",
            false => "",
        };
        let second = second.replace("SELECT count(*) FROM w", "SELECT 1 FROM w");
        let second = match second.starts_with("WITH") {
            true => third.clone(),
            false => second,
        };
        format!(
            "DO $b$ BEGIN {first}; BEGIN {second}; {wrong}EXCEPTION WHEN others THEN {third}; END; END $b$"
        )
    }

    fn truncate(&mut self) -> String {
        let how = self.dice.word(&["", " CASCADE", " RESTART IDENTITY CASCADE"]);
        format!("TRUNCATE {}{how}", self.name())
    }

    /// Past the root, into a partition or a child.
    fn part_write(&mut self) -> String {
        let name = self.name();
        let part = match self.table.shape {
            Shape::Plain => return self.insert(),
            Shape::Partitioned => self.dice.word(&["_1", "_2", "_resto", "_resto_0"]),
            Shape::Inherited => return self.child(),
        };
        match self.dice.below(3) {
            0 => self
                .insert()
                .replacen(&format!("INTO {name} "), &format!("INTO {name}{part} "), 1),
            1 => self
                .update()
                .replacen(&format!("UPDATE {name} "), &format!("UPDATE {name}{part} "), 1),
            _ => self
                .delete()
                .replacen(&format!("FROM {name} "), &format!("FROM {name}{part} "), 1),
        }
    }

    /// Keys of children are their own: nothing keeps those of two tables apart.
    fn child(&mut self) -> String {
        let name = self.name();
        match self.dice.below(4) {
            0 => format!("UPDATE {name}_hija SET n = n + 1, extra = 'x'"),
            1 => format!("DELETE FROM {name}_hija WHERE n % 2 = 0"),
            _ => format!(
                "INSERT INTO {name}_hija ({}, n, txt, extra) VALUES ({}, {}, 'hija', 'y') ON CONFLICT DO NOTHING",
                self.table.key_list(),
                101 + self.dice.below(4),
                self.dice.below(9)
            ),
        }
    }
}
