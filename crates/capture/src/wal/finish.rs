//! From raw changes to what is captured: missing values are read, conditions decided, rows rendered, in the order of the stream.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::sync::Arc;

use bytes::Bytes;

use super::ask::Answer;
use super::pgoutput::{Cell, Relation, Tuple};
use super::shape::{Bound, Shape};
use super::transaction::{RawBatch, RawChange, What};
use super::types::Composites;
use super::unchanged;
use super::visible::wait_visible;
use crate::change::{Change, Op};
use crate::decode::{Watches, decode};
use crate::fault::Fault;
use crate::install::WatchSpec;
use crate::listen::Captured;
use crate::listen::lane::ready;
use crate::query::{Pool, QueryError};

/// A change, a watch of its table, and whether the old row is meant.
type Spot = (usize, usize, bool);
type Answers = HashMap<Spot, Result<Answer, Fault>>;
/// Rows to ask about, as texts.
type Questions = Vec<(Spot, Vec<u8>)>;
/// Places of changes in the batch, with their rows.
type Incomplete<'a> = Vec<(usize, &'a mut Tuple)>;
/// Places of changes whose large values were read, with the reason where that failed.
type Fetched = HashMap<usize, Option<String>>;

/// See the module. Owned by whoever takes batches from the reader.
pub struct Finisher {
    pool: Pool,
    watches: Vec<WatchSpec>,
    /// By the address of their description, which they keep alive: changes of one batch may have different shapes.
    shapes: HashMap<usize, Arc<Shape>>,
}

impl Finisher {
    /// `pool` needs the search path that the triggers would have, [`crate::fetch::SEARCH_PATH`].
    pub fn new(pool: Pool, watches: Vec<WatchSpec>) -> Self {
        Self {
            pool,
            watches,
            shapes: HashMap::new(),
        }
    }

    /// Everything that the batch captured. After an error the same batch may be given again; one that is not permanent will pass.
    pub async fn finish(&mut self, batch: &mut RawBatch) -> Result<Vec<Captured>, QueryError> {
        self.describe(batch).await?;
        self.doubt(batch);
        let fetched = self.fill(batch).await?;
        let answers = self.ask(batch).await?;
        let mut captured = Vec::with_capacity(batch.changes.len());
        for (index, change) in batch.changes.iter().enumerate() {
            match &change.what {
                What::Row {
                    relation,
                    op,
                    new,
                    old,
                } => {
                    let Some(shape) = self.shapes.get(&address(relation)) else {
                        continue;
                    };
                    for (place, bound) in shape.watches.iter().enumerate() {
                        let row = Row {
                            shape,
                            bound,
                            at: change,
                            fetched: fetched.get(&index),
                            new: new.as_ref(),
                            old: old.as_ref(),
                            answer: &|old| answers.get(&(index, place, old)),
                        };
                        captured.extend(row.captured(*op));
                    }
                }
                What::Truncate(relation) => captured.extend(self.truncated(relation, change)),
                What::Published(content) => captured.extend(published(content, change)),
            }
        }
        Ok(captured)
    }

    /// Finds out about tables that are new or have changed.
    async fn describe(&mut self, batch: &RawBatch) -> Result<(), QueryError> {
        // What neither the reader nor the batch knows any more is of a former shape.
        self.shapes
            .retain(|_, shape| Arc::strong_count(&shape.relation) > 1);
        let mut looked = HashSet::new();
        for change in &batch.changes {
            let (What::Row { relation, .. } | What::Truncate(relation)) = &change.what else {
                continue;
            };
            if let Some(shape) = self.shapes.get(&address(relation))
                && !shape.composites.is_none()
                && looked.insert(address(relation))
            {
                let oids: Vec<u32> = relation.columns.iter().map(|column| column.type_oid).collect();
                if Composites::load(&self.pool, &oids).await? != shape.composites {
                    self.shapes.remove(&address(relation));
                }
            }
            if !self.shapes.contains_key(&address(relation)) {
                let shape = Shape::load(&self.pool, relation, &self.watches).await?;
                if shape.watches.is_empty() {
                    tracing::warn!(table = %format_args!("{}.{}", relation.schema, relation.name), "changes of a table that no watch names are passed over: was it renamed?");
                }
                self.shapes.insert(address(relation), Arc::new(shape));
            }
        }
        Ok(())
    }

    /// Old rows that are said to be whole and may be keys become keys.
    fn doubt(&self, batch: &mut RawBatch) {
        for change in &mut batch.changes {
            if let What::Row {
                relation,
                old: Some(old),
                ..
            } = &mut change.what
                && let Some(shape) = self.shapes.get(&address(relation))
            {
                shape.identities.doubt(relation, old);
            }
        }
    }

    /// Completes rows with large values that an update left alone; gives the places of those that had to be read.
    async fn fill(&self, batch: &mut RawBatch) -> Result<Fetched, QueryError> {
        let mut groups: BTreeMap<(usize, Vec<usize>), Incomplete<'_>> = BTreeMap::new();
        let mut xids = Vec::new();
        for (index, change) in batch.changes.iter_mut().enumerate() {
            let What::Row {
                relation,
                new: Some(new),
                old,
                ..
            } = &mut change.what
            else {
                continue;
            };
            if !new.cells.contains(&Cell::Unchanged) {
                continue;
            }
            if let Some(old) = old {
                unchanged::from_old(new, old);
            }
            let Some(shape) = self.shapes.get(&address(relation)) else {
                continue;
            };
            let missing = unchanged::missing(shape, new);
            if !missing.is_empty() {
                xids.push(change.xid);
                groups
                    .entry((address(relation), missing))
                    .or_default()
                    .push((index, new));
            }
        }
        let mut fetched = Fetched::new();
        if groups.is_empty() {
            return Ok(fetched);
        }
        xids.dedup();
        wait_visible(&self.pool, &xids).await?;
        for ((shape, places), rows) in groups {
            let (indices, mut tuples): (Vec<usize>, Vec<&mut Tuple>) = rows.into_iter().unzip();
            let Some(shape) = self.shapes.get(&shape) else {
                continue;
            };
            let mut reason = None;
            match unchanged::read(&self.pool, shape, &places, &mut tuples).await {
                Ok(()) => {}
                // Nobody will be able to read them: each row says so.
                Err(error) if error.is_permanent() => {
                    tracing::warn!(%error, "large values of changed rows could not be read");
                    reason = Some(error.to_string());
                }
                Err(error) => return Err(error),
            }
            fetched.extend(indices.into_iter().map(|index| (index, reason.clone())));
        }
        Ok(fetched)
    }

    /// Asks the server what it alone can say, one question for each watch.
    async fn ask(&self, batch: &RawBatch) -> Result<Answers, QueryError> {
        let mut questions: BTreeMap<(usize, usize), Questions> = BTreeMap::new();
        let mut answers = Answers::new();
        for (index, change) in batch.changes.iter().enumerate() {
            let What::Row {
                relation,
                op,
                new,
                old,
            } = &change.what
            else {
                continue;
            };
            let Some(shape) = self.shapes.get(&address(relation)) else {
                continue;
            };
            for (place, bound) in shape.watches.iter().enumerate() {
                if bound.ask.is_none() || !bound.spec.operations.contains(op) {
                    continue;
                }
                for (tuple, old) in [(new, false), (old, true)] {
                    if let Some(tuple) = tuple {
                        let mut texts = Vec::new();
                        if let Err(error) = shape.texts(tuple, &mut texts) {
                            answers.insert((index, place, old), Err(error.into()));
                            continue;
                        }
                        let question = ((index, place, old), texts);
                        questions
                            .entry((address(relation), place))
                            .or_default()
                            .push(question);
                    }
                }
            }
        }
        for ((shape, place), asked) in questions {
            let shape = self.shapes.get(&shape);
            let Some(ask) = shape.and_then(|shape| shape.watches.get(place)?.ask.as_ref()) else {
                continue;
            };
            let (spots, rows): (Vec<Spot>, Vec<Vec<u8>>) = asked.into_iter().unzip();
            let told = ask.run(&self.pool, &rows).await?;
            answers.extend(spots.into_iter().zip(told));
        }
        Ok(answers)
    }

    fn truncated(&self, relation: &Arc<Relation>, change: &RawChange) -> Vec<Captured> {
        let Some(shape) = self.shapes.get(&address(relation)) else {
            return Vec::new();
        };
        let watches = shape
            .watches
            .iter()
            .filter(|bound| bound.spec.operations.contains(&Op::Truncate))
            // One that inherits says nothing by itself.
            .filter(|bound| bound.spec.table == relation.name && bound.spec.schema == relation.schema);
        let captured = watches.map(|bound| {
            Captured::Change(Change {
                watch: Arc::clone(&bound.name),
                op: Op::Truncate,
                row: None,
                old: None,
                fetched: false,
                seq: 0,
                at: Some(change.at),
            })
        });
        captured.collect()
    }
}

fn address(relation: &Arc<Relation>) -> usize {
    Arc::as_ptr(relation) as usize
}

/// Any role may emit messages: what is no publication is passed over.
fn published(content: &Bytes, change: &RawChange) -> Option<Captured> {
    let text = std::str::from_utf8(content).ok()?;
    let mut captured = ready(decode(text, &Watches::new()))?;
    let Captured::Published { at, .. } = &mut captured else {
        return None;
    };
    at.get_or_insert(change.at);
    Some(captured)
}

const NOT_WHOLE: &str = "the old row is not in the WAL: run `pregon db apply`, which sets REPLICA IDENTITY FULL on the table or the partition \
     that lacks it";

/// One change for one watch.
struct Row<'a> {
    shape: &'a Shape,
    bound: &'a Bound,
    at: &'a RawChange,
    /// Its large values were read, or the reason why that failed.
    fetched: Option<&'a Option<String>>,
    new: Option<&'a Tuple>,
    old: Option<&'a Tuple>,
    answer: &'a dyn Fn(bool) -> Option<&'a Result<Answer, Fault>>,
}

impl Row<'_> {
    fn captured(&self, op: Op) -> Option<Captured> {
        if !self.bound.spec.operations.contains(&op) {
            return None;
        }
        match self.change(op) {
            Ok(change) => change.map(Captured::Change),
            Err(fault) => Some(Captured::RenderError {
                watch: Arc::clone(&self.bound.name),
                fault,
            }),
        }
    }

    fn change(&self, op: Op) -> Result<Option<Change>, Fault> {
        if let Some(reason) = &self.bound.former {
            return Err(reason.clone().into());
        }
        let after = self.new.map_or(Ok(false), |_| self.matches(false))?;
        let before = match (op, self.old) {
            (Op::Insert | Op::Truncate, _) => false,
            // The key has not changed, so what can be told from the key has not either.
            (_, None) if self.bound.key_condition => after,
            (_, Some(old)) if !old.key_only || self.bound.key_condition => self.matches(true)?,
            _ => return Err(NOT_WHOLE.into()),
        };
        let op = match (before, after) {
            (false, false) => return Ok(None),
            (true, true) => Op::Update,
            // A row that enters the condition is an insert to whoever follows it, one that leaves it a delete.
            (false, true) => Op::Insert,
            (true, false) => Op::Delete,
        };
        if let Some(name) = &self.bound.absent {
            return Err(format!(
                "the watch names the column {name}, which the table did not have: was it renamed?"
            )
            .into());
        }
        if self.shape.composites.may_differ(self.at.xid) && self.shape.has_composite(&self.bound.chosen) {
            return Err("a composite type was altered at about the time of this change: how its values read then is not known".into());
        }
        if op == Op::Update && self.bound.spec.old && self.old.is_none_or(|old| old.key_only) {
            return Err(NOT_WHOLE.into());
        }
        let row = match op {
            Op::Delete => None,
            _ => self.new.map(|new| self.json(new, false)).transpose()?,
        };
        let old = self
            .old
            .filter(|old| op == Op::Delete || (op == Op::Update && self.bound.spec.old && !old.key_only));
        let old = old.map(|old| self.json(old, true)).transpose()?;
        Ok(Some(Change {
            watch: Arc::clone(&self.bound.name),
            op,
            row,
            old,
            fetched: self.fetched.is_some(),
            seq: 0,
            at: Some(self.at.at),
        }))
    }

    fn matches(&self, old: bool) -> Result<bool, Fault> {
        if self.bound.spec.condition.is_none() {
            return Ok(true);
        }
        match (self.answer)(old) {
            Some(Ok(answer)) => Ok(answer.matches),
            Some(Err(fault)) => Err(fault.clone()),
            None => Err("the condition was not answered".into()),
        }
    }

    fn json(&self, tuple: &Tuple, old: bool) -> Result<Bytes, Fault> {
        let lost = tuple.cells.iter().enumerate();
        let mut lost = lost.filter(|(place, cell)| **cell == Cell::Unchanged && self.bound.reads(*place));
        if !tuple.key_only && lost.next().is_some() {
            return Err(match self.fetched.and_then(Option::as_ref) {
                Some(error) => format!("its large values could not be read: {error}").into(),
                None => "the row has gone before its large values were read".into(),
            });
        }
        let renders = self.bound.ask.as_ref().is_some_and(|ask| ask.renders);
        if renders && !tuple.key_only {
            return match (self.answer)(old) {
                Some(Ok(answer)) => answer.row.clone().ok_or_else(|| "no row".into()),
                Some(Err(fault)) => Err(fault.clone()),
                None => Err("the row was not rendered".into()),
            };
        }
        Ok(self.shape.render(tuple, &self.bound.chosen)?.into())
    }
}
