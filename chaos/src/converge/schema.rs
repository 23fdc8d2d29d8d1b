//! Draws tables: a watched one, `t`, and a second one, `u`, that foreign keys and triggers tie to it.

use super::dice::Dice;
use super::feature::{Capture, Feature};
use super::plan::{Watch, quote};
use super::types::{COLUMNS, INT, KEYS, NOT_NULL_DOMAIN, TEXT, Type};

/// Names that have to be quoted, or that look like something else.
const ODD_NAMES: &[&str] = &[
    "Col 1",
    "order",
    "c.d",
    "ñ",
    "q\"q",
    "new",
    "old",
    "op",
    "row",
    "tg_op",
    "a'b",
    "pregon_row",
    "watch",
    "x",
    "data",
    "payload",
];

/// Conditions of watches; they read columns that every table has.
const CONDITIONS: &[&str] = &[
    "n > 1",
    "txt IS NOT NULL",
    "n % 2 = 0 OR m IS NULL",
    "length(txt) < 10 AND n IS NOT NULL",
    "coalesce(m, 0) < 5",
];

/// A column.
#[derive(Debug, Clone)]
pub(crate) struct Column {
    pub(crate) name: String,
    pub(crate) of: &'static Type,
    /// What follows the type in `CREATE TABLE`.
    pub(crate) rest: String,
    /// Whether statements may give it a value.
    pub(crate) written: bool,
    /// Whether NULL is a value of it.
    pub(crate) nullable: bool,
}

impl Column {
    fn new(name: &str, of: &'static Type) -> Self {
        Self {
            name: name.to_owned(),
            of,
            rest: String::new(),
            written: true,
            nullable: true,
        }
    }

    pub(crate) fn quoted(&self) -> String {
        quote(&self.name)
    }

    fn definition(&self) -> String {
        format!("{} {} {}", self.quoted(), self.of.sql, self.rest)
    }

    /// A literal of it.
    pub(crate) fn value(&self, dice: &mut Dice) -> String {
        if self.nullable && dice.chance(15) {
            return format!("NULL::{}", self.of.sql);
        }
        self.of.literal(dice.word(self.of.values))
    }
}

/// How rows of a table are told apart, by the server.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Identity {
    Primary,
    /// With a column that is not part of the key.
    Including,
    /// A unique index, and a replica identity that names it.
    Index,
    /// A primary key, and whole rows in the WAL.
    Full,
    /// No key at all but whole rows in the WAL; a unique constraint.
    Unique,
}

/// How a table is stored.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Shape {
    Plain,
    /// By list of the second column of its key; the rest again by hash.
    Partitioned,
    /// With a table that inherits from it.
    Inherited,
}

/// A table of the schema.
#[derive(Debug, Clone)]
pub(crate) struct Table {
    pub(crate) name: &'static str,
    pub(crate) key: Vec<Column>,
    pub(crate) columns: Vec<Column>,
    pub(crate) shape: Shape,
    identity: Identity,
    /// Columns of foreign keys of this table, with what they refer to.
    references: Vec<Reference>,
    pub(crate) watch: Watch,
}

/// A foreign key.
#[derive(Debug, Clone)]
struct Reference {
    columns: Vec<Column>,
    to: &'static str,
    target: Vec<String>,
    actions: String,
}

/// What a schema may be made of.
pub(crate) struct Draw<'a> {
    pub(crate) dice: &'a mut Dice,
    pub(crate) features: &'a [Feature],
    pub(crate) capture: Capture,
    pub(crate) major: u32,
}

impl Draw<'_> {
    pub(crate) fn has(&self, feature: Feature) -> bool {
        self.features.contains(&feature)
    }

    /// Both tables.
    pub(crate) fn tables(&mut self) -> Vec<Table> {
        let shape = self.shape();
        let mut first = self.table("t", shape);
        let mut second = self.table("u", Shape::Plain);
        if self.has(Feature::References) && first.shape != Shape::Inherited {
            second.references.push(self.reference("r", &first));
            if first.shape == Shape::Plain && self.dice.chance(60) {
                let own = self.reference("padre", &first);
                first.references.push(own);
            }
        }
        vec![first, second]
    }

    fn shape(&mut self) -> Shape {
        if self.has(Feature::Partitions) {
            return Shape::Partitioned;
        }
        match self.has(Feature::Inheritance) {
            true => Shape::Inherited,
            false => Shape::Plain,
        }
    }

    fn table(&mut self, name: &'static str, shape: Shape) -> Table {
        let mut key = self.key(shape);
        if shape == Shape::Partitioned {
            let mut zone = Column::new("zona", &INT);
            zone.nullable = false;
            key.push(zone);
        }
        let mut columns = vec![
            Column::new("n", &INT),
            Column::new("m", &INT),
            Column::new("txt", &TEXT),
        ];
        if self.has(Feature::Types) {
            self.odd_columns(&mut columns);
        }
        let mut identity = self.identity();
        // Partitions that come later have no replica identity but a primary key: without one the table is refused.
        if self.capture == Capture::Wal
            && shape == Shape::Partitioned
            && matches!(identity, Identity::Index | Identity::Unique)
        {
            identity = Identity::Full;
        }
        let watch = self.watch(name, &key, &columns);
        if self.has(Feature::Generated) {
            // The server refuses virtual columns in rows that have to be whole in the WAL.
            let whole = self.capture == Capture::Wal
                && (watch.old
                    || watch.condition.is_some()
                    || matches!(identity, Identity::Full | Identity::Unique));
            columns.push(self.generated(!whole));
        }
        Table {
            name,
            key,
            columns,
            shape,
            identity,
            references: Vec::new(),
            watch,
        }
    }

    fn key(&mut self, shape: Shape) -> Vec<Column> {
        let mut key = vec![Column::new("id", KEYS.first().expect("numbers are keys"))];
        // Children have numbers that parents never get.
        if self.has(Feature::Keys) && shape != Shape::Inherited {
            let count = 1 + usize::from(self.dice.chance(40));
            let names = ["id", "Id 2"];
            key = names
                .into_iter()
                .take(count)
                .map(|name| Column::new(name, self.dice.pick(KEYS)))
                .collect();
        }
        key.iter_mut().for_each(|column| column.nullable = false);
        key
    }

    fn odd_columns(&mut self, columns: &mut Vec<Column>) {
        for name in self.dice.some(ODD_NAMES, 25) {
            let mut column = Column::new(name, self.dice.pick(COLUMNS));
            if self.dice.chance(40) {
                column.rest = format!("DEFAULT {}", column.of.literal(self.dice.word(column.of.values)));
            }
            columns.push(column);
        }
        if self.dice.chance(25) {
            let mut column = Column::new("segura", &NOT_NULL_DOMAIN);
            column.rest = "DEFAULT 1".to_owned();
            column.nullable = false;
            columns.push(column);
        }
    }

    fn generated(&mut self, may_be_virtual: bool) -> Column {
        let (of, expression) = match self.dice.chance(50) {
            true => (&INT, "n * 2"),
            false => (&TEXT, "coalesce(txt, '') || '!'"),
        };
        let mut column = Column::new("calculada", of);
        let kind = match may_be_virtual && self.major >= 18 && self.dice.chance(50) {
            true => "VIRTUAL",
            false => "STORED",
        };
        column.rest = format!("GENERATED ALWAYS AS ({expression}) {kind}");
        column.written = false;
        column
    }

    fn identity(&mut self) -> Identity {
        if !self.has(Feature::Identities) {
            return Identity::Primary;
        }
        *self.dice.pick(&[
            Identity::Primary,
            Identity::Including,
            Identity::Index,
            Identity::Full,
            Identity::Unique,
        ])
    }

    fn watch(&mut self, name: &str, key: &[Column], columns: &[Column]) -> Watch {
        let condition = self.has(Feature::Conditions) && self.dice.chance(60);
        let limited = self.has(Feature::Columns) && self.dice.chance(60);
        let key: Vec<String> = key.iter().map(|column| column.name.clone()).collect();
        let some = |dice: &mut Dice| {
            let others: Vec<String> = columns.iter().map(|column| column.name.clone()).collect();
            let mut some = key.clone();
            some.extend(dice.some(&others, 50));
            some
        };
        Watch {
            name: name.to_owned(),
            table: name.to_owned(),
            columns: limited.then(|| some(self.dice)),
            condition: condition.then(|| (self.dice.word(CONDITIONS)).to_owned()),
            old: self.has(Feature::Old) && self.dice.chance(70),
            key,
        }
    }

    /// Columns that refer to a table's key.
    fn reference(&mut self, prefix: &str, to: &Table) -> Reference {
        let columns = to.key.iter().enumerate().map(|(number, column)| {
            let mut own = Column::new(&format!("{prefix}{number}"), column.of);
            own.nullable = true;
            own
        });
        let delete = ["CASCADE", "SET NULL", "NO ACTION", "RESTRICT"];
        // Nobody hears of a key that changes where only new rows are told.
        let update = match to.watch.old {
            true => self.dice.word(&["CASCADE", "SET NULL", "NO ACTION"]),
            false => "NO ACTION",
        };
        let late = match self.dice.chance(30) {
            true => "DEFERRABLE INITIALLY DEFERRED",
            false => "",
        };
        Reference {
            columns: columns.collect(),
            to: to.name,
            target: to.key.iter().map(Column::quoted).collect(),
            actions: format!("ON DELETE {} ON UPDATE {update} {late}", self.dice.word(&delete)),
        }
    }
}

impl Table {
    /// Adds a column that came later.
    pub(crate) fn add(&mut self, name: String, of: &'static Type) {
        self.columns.push(Column::new(&name, of));
    }

    /// The names of the key's columns, quoted.
    pub(crate) fn key_list(&self) -> String {
        names(&self.key)
    }

    /// Columns that statements may write, the key's first.
    pub(crate) fn written(&self) -> Vec<Column> {
        let others = self.columns.iter().filter(|column| column.written);
        let references = self.references.iter().flat_map(|reference| &reference.columns);
        self.key.iter().chain(others).chain(references).cloned().collect()
    }

    /// Whether a primary key finds each of its rows: those of children it does not.
    pub(crate) fn has_primary_key(&self) -> bool {
        self.shape != Shape::Inherited && !matches!(self.identity, Identity::Index | Identity::Unique)
    }

    /// Whether rows may change their keys: the follower has to be told of the old one.
    pub(crate) fn keys_change(&self) -> bool {
        self.watch.old && self.shape != Shape::Inherited
    }

    /// What makes it.
    pub(crate) fn create(&self) -> Vec<String> {
        let mut lines: Vec<String> = self
            .key
            .iter()
            .map(|column| format!("{} NOT NULL", column.definition()))
            .collect();
        lines.extend(self.columns.iter().map(Column::definition));
        for reference in &self.references {
            lines.extend(reference.columns.iter().map(Column::definition));
        }
        let key = self.key_list();
        match self.identity {
            Identity::Primary | Identity::Full => lines.push(format!("PRIMARY KEY ({key})")),
            Identity::Including => lines.push(format!("PRIMARY KEY ({key}) INCLUDE (n)")),
            Identity::Unique => lines.push(format!("UNIQUE ({key})")),
            Identity::Index => {}
        }
        let name = self.name;
        let partitioned = match self.shape {
            Shape::Partitioned => " PARTITION BY LIST (zona)",
            _ => "",
        };
        let mut sql = vec![format!("CREATE TABLE {name} ({}){partitioned}", lines.join(", "))];
        if self.identity == Identity::Index {
            sql.push(format!("CREATE UNIQUE INDEX {name}_clave ON {name} ({key})"));
        }
        sql.extend(self.parts());
        sql.extend(self.identities());
        for reference in &self.references {
            sql.push(format!(
                "ALTER TABLE {name} ADD FOREIGN KEY ({}) REFERENCES {} ({}) {}",
                names(&reference.columns),
                reference.to,
                reference.target.join(", "),
                reference.actions
            ));
        }
        sql
    }

    fn parts(&self) -> Vec<String> {
        let name = self.name;
        match self.shape {
            Shape::Plain => Vec::new(),
            Shape::Partitioned => vec![
                format!("CREATE TABLE {name}_1 PARTITION OF {name} FOR VALUES IN (1)"),
                // Made by itself, with its columns in another order and a hole where one was.
                format!("CREATE TABLE {name}_2 (ida int, LIKE {name} INCLUDING ALL)"),
                format!("ALTER TABLE {name}_2 DROP COLUMN ida"),
                format!("ALTER TABLE {name} ATTACH PARTITION {name}_2 FOR VALUES IN (2, 3)"),
                format!("CREATE TABLE {name}_resto PARTITION OF {name} DEFAULT PARTITION BY HASH (zona)"),
                format!(
                    "CREATE TABLE {name}_resto_0 PARTITION OF {name}_resto FOR VALUES WITH (MODULUS 2, REMAINDER 0)"
                ),
                format!(
                    "CREATE TABLE {name}_resto_1 PARTITION OF {name}_resto FOR VALUES WITH (MODULUS 2, REMAINDER 1)"
                ),
            ],
            Shape::Inherited => vec![format!(
                "CREATE TABLE {name}_hija (extra text, PRIMARY KEY ({})) INHERITS ({name})",
                self.key_list()
            )],
        }
    }

    /// Replica identities, which partitions and children do not take over.
    fn identities(&self) -> Vec<String> {
        let name = self.name;
        let mut tables = vec![name.to_owned()];
        match self.shape {
            Shape::Plain => {}
            Shape::Partitioned => {
                tables.extend(["1", "2", "resto_0", "resto_1"].map(|part| format!("{name}_{part}")));
            }
            Shape::Inherited => tables.push(format!("{name}_hija")),
        }
        let identity = |table: &String| match self.identity {
            Identity::Primary | Identity::Including => None,
            Identity::Full | Identity::Unique => Some(format!("ALTER TABLE {table} REPLICA IDENTITY FULL")),
            Identity::Index if self.shape == Shape::Partitioned => {
                Some(format!("ALTER TABLE {table} REPLICA IDENTITY FULL"))
            }
            Identity::Index if *table == name => Some(format!(
                "ALTER TABLE {name} REPLICA IDENTITY USING INDEX {name}_clave"
            )),
            Identity::Index => None,
        };
        tables.iter().filter_map(identity).collect()
    }
}

/// Quoted names of columns between commas.
pub(crate) fn names(columns: &[Column]) -> String {
    columns.iter().map(Column::quoted).collect::<Vec<_>>().join(", ")
}
