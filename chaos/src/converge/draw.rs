//! Draws a plan from a seed.

use super::changes;
use super::dice::Dice;
use super::feature::{Capture, Feature};
use super::plan::{Plan, Step};
use super::schema::{Draw, Table};
use super::triggers;
use super::types::USER_TYPES;
use super::writes;

/// Statements of a run, about.
const LENGTH: usize = 45;

impl Plan {
    /// What a seed means with these features, this capture and this major version of PostgreSQL.
    pub fn draw(seed: u64, capture: Capture, major: u32, allowed: &[Feature]) -> Self {
        let mut dice = Dice::new(seed);
        let mut features = dice.some(allowed, 50);
        // One way of storing a table at a time; a table that only inherits a key is refused for the WAL.
        if features.contains(&Feature::Partitions) || capture == Capture::Wal {
            features.retain(|feature| *feature != Feature::Inheritance);
        }
        let mut draw = Draw {
            dice: &mut dice,
            features: &features,
            capture,
            major,
        };
        let tables = draw.tables();
        let mut schema: Vec<String> = USER_TYPES.iter().map(|sql| (*sql).to_owned()).collect();
        schema.extend(tables.iter().flat_map(Table::create));
        let mut drawing = Drawing {
            dice,
            features: &features,
            tables,
            steps: Vec::new(),
            number: 0,
        };
        // Where a trigger has written and the row cannot be read again by a primary key, a gap is what is promised.
        let written = features.contains(&Feature::Triggers) || features.contains(&Feature::References);
        let unread =
            capture != Capture::Wal && written && drawing.tables.iter().any(|table| !table.has_primary_key());
        let watches = drawing.tables.iter().map(|table| table.watch.clone()).collect();
        drawing.draw();
        Self {
            seed,
            capture,
            schema,
            watches,
            steps: drawing.steps,
            // An untouched large value is read from the table, where its row may have gone by then.
            gaps: unread || capture != Capture::Outbox && features.contains(&Feature::Large),
            features,
        }
    }
}

struct Drawing<'a> {
    dice: Dice,
    features: &'a [Feature],
    tables: Vec<Table>,
    steps: Vec<Step>,
    /// Numbers what has to have a name of its own.
    number: usize,
}

impl Drawing<'_> {
    fn has(&self, feature: Feature) -> bool {
        self.features.contains(&feature)
    }

    fn draw(&mut self) {
        if self.has(Feature::Triggers) {
            for _ in 0..1 + self.dice.below(5) {
                self.trigger();
            }
        }
        while self.steps.len() < LENGTH {
            match self.dice.below(100) {
                0..52 => self.write(),
                52..72 => self.transaction(),
                72..84 => self.steps.push(Step::Quiet),
                84..88 if self.has(Feature::Triggers) => self.trigger(),
                88..90 if self.has(Feature::Triggers) => {
                    let change = triggers::change(&mut self.dice, &self.tables);
                    self.steps.push(Step::Sql(change));
                }
                90..93 if self.has(Feature::Shapes) => self.shape(),
                93..96 if self.has(Feature::Attaching) => self.parts(),
                96 | 97 => {
                    let step = changes::harmless(&mut self.dice, &self.tables);
                    self.steps.push(step);
                }
                98 | 99 if self.has(Feature::Overlaps) => self.overlap(),
                _ => self.write(),
            }
        }
        self.steps.push(Step::Quiet);
    }

    fn sql(&mut self) -> String {
        let large = self.has(Feature::Large);
        writes::draw(&mut self.dice, &self.tables, large)
    }

    fn write(&mut self) {
        let sql = self.sql();
        self.steps.push(Step::Sql(sql));
    }

    fn trigger(&mut self) {
        self.number += 1;
        let made = triggers::draw(&mut self.dice, &self.tables, self.number);
        self.steps.extend(made.into_iter().map(Step::Sql));
    }

    fn shape(&mut self) {
        self.number += 1;
        let step = changes::shape(&mut self.dice, &mut self.tables, self.number);
        self.steps.push(step);
    }

    fn parts(&mut self) {
        if let Some(table) = self.tables.first() {
            let step = changes::parts(&mut self.dice, table);
            self.steps.push(step);
        }
    }

    fn transaction(&mut self) {
        let begin = self.dice.word(&[
            "BEGIN",
            "BEGIN",
            "BEGIN ISOLATION LEVEL REPEATABLE READ",
            "BEGIN ISOLATION LEVEL SERIALIZABLE",
        ]);
        self.steps.push(Step::Sql(begin.to_owned()));
        let mut savepoint = false;
        for _ in 0..1 + self.dice.below(5) {
            match self.dice.below(10) {
                0 | 1 => {
                    self.steps.push(Step::Sql("SAVEPOINT s".to_owned()));
                    savepoint = true;
                }
                2 if savepoint => self.steps.push(Step::Sql("ROLLBACK TO s".to_owned())),
                3 if savepoint => self.steps.push(Step::Sql("RELEASE s".to_owned())),
                4 if self.has(Feature::References) => self
                    .steps
                    .push(Step::Sql("SET CONSTRAINTS ALL IMMEDIATE".to_owned())),
                5 if self.has(Feature::Shapes) && self.dice.chance(30) => self.shape(),
                _ => self.write(),
            }
        }
        let end = match self.dice.chance(80) {
            true => "COMMIT",
            false => "ROLLBACK",
        };
        self.steps.push(Step::Sql(end.to_owned()));
    }

    /// A transaction of the second session stays open while the first writes.
    fn overlap(&mut self) {
        self.steps.push(Step::Other("BEGIN".to_owned()));
        for _ in 0..2 + self.dice.below(4) {
            let sql = self.sql();
            self.steps.push(match self.dice.chance(40) {
                true => Step::Other(sql),
                false => Step::Sql(sql),
            });
        }
        let end = match self.dice.chance(80) {
            true => "COMMIT",
            false => "ROLLBACK",
        };
        self.steps.push(Step::Other(end.to_owned()));
    }
}
