//! From messages to numbered changes in batches: keeps the relations and the place in the stream. Sans-I/O.
//!
//! A transaction of any size passes through piece by piece. Every change of a transaction is numbered, whoever it may concern, so
//! that a number means the same change when the transaction is sent again.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use bytes::Bytes;

use super::frame::EPOCH_MICROS;
use super::lsn::{Lsn, Place};
use super::pgoutput::{Message, Relation, Tuple};
use crate::change::Op;

/// Changes of one batch: enough to make a query for all of them worthwhile.
const MOST: usize = 512;
/// Bytes of one batch, more only for a single row.
const MOST_BYTES: usize = 1 << 20;

/// One change as the WAL has it.
#[derive(Debug, Clone, PartialEq)]
pub struct RawChange {
    pub xid: u32,
    /// When its transaction was committed.
    pub at: SystemTime,
    pub what: What,
}

#[derive(Debug, Clone, PartialEq)]
pub enum What {
    Row {
        relation: Arc<Relation>,
        op: Op,
        new: Option<Tuple>,
        old: Option<Tuple>,
    },
    Truncate(Arc<Relation>),
    /// The content of a message of ours: from `pregon.publish`.
    Published(Bytes),
}

/// Changes that follow each other.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct RawBatch {
    pub changes: Vec<RawChange>,
    /// Everything up to here is in this batch or was in an earlier one.
    pub upto: Place,
    /// Once everything up to here is kept, the server may forget what is before this.
    pub confirm: Option<Lsn>,
}

/// The stream says something that the protocol forbids.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the server sent changes out of order")]
pub struct OutOfOrder;

struct Transaction {
    commit: Lsn,
    xid: u32,
    at: SystemTime,
    index: u64,
}

/// See the module.
pub struct Assembler {
    relations: HashMap<u32, Arc<Relation>>,
    prefix: &'static [u8],
    current: Option<Transaction>,
    /// Changes up to here are known and are passed over.
    known: Place,
    batch: RawBatch,
    bytes: usize,
}

impl Assembler {
    /// Begins behind `known`. Messages are taken if they have this prefix.
    pub fn new(known: Place, prefix: &'static [u8]) -> Self {
        Self {
            relations: HashMap::new(),
            prefix,
            current: None,
            known,
            batch: RawBatch::default(),
            bytes: 0,
        }
    }

    /// Takes the next message.
    pub fn take(&mut self, message: Message) -> Result<(), OutOfOrder> {
        match message {
            Message::Begin { commit, at, xid } => self.begin(commit, at, xid),
            Message::Commit { end } => self.commit(end),
            Message::Relation(relation) => {
                self.relations.insert(relation.oid, relation);
                Ok(())
            }
            Message::Insert { relation, new } => self.row(relation, Op::Insert, Some(new), None),
            Message::Update { relation, old, new } => self.row(relation, Op::Update, Some(new), old),
            Message::Delete { relation, old } => self.row(relation, Op::Delete, None, Some(old)),
            Message::Truncate { relations } => self.truncate(&relations),
            Message::Emitted {
                transactional: true,
                prefix,
                content,
            } => {
                let ours = prefix == self.prefix;
                let bytes = content.len();
                self.change(bytes, || ours.then_some(What::Published(content)))
            }
            // What is not transactional has no place among the transactions: `pregon.publish` never sends it.
            Message::Emitted { .. } | Message::Other => Ok(()),
        }
    }

    /// The server has decoded everything up to `end`. Whether that is news, which only counts between transactions.
    pub fn reached(&mut self, end: Lsn) -> bool {
        let news = self.current.is_none() && Place::after(end) > self.place();
        if news {
            self.batch.upto = Place::after(end);
            self.batch.confirm = Some(end);
        }
        news
    }

    /// Whether the batch should be handed over before more is read.
    pub fn is_full(&self) -> bool {
        self.batch.changes.len() >= MOST || self.bytes >= MOST_BYTES
    }

    /// Whether the batch has changes.
    pub fn has_changes(&self) -> bool {
        !self.batch.changes.is_empty()
    }

    /// Whether there is anything to hand over: changes, or a place to remember.
    pub fn has_news(&self) -> bool {
        self.batch.upto > self.known
    }

    /// The place of what was taken last.
    pub fn place(&self) -> Place {
        self.batch.upto.max(self.known)
    }

    /// Where the commit of the transaction stands that has begun and not ended.
    pub fn begun(&self) -> Option<Lsn> {
        self.current.as_ref().map(|current| current.commit)
    }

    /// Takes the batch.
    pub fn hand_over(&mut self) -> RawBatch {
        self.bytes = 0;
        self.known = self.place();
        let upto = self.known;
        let batch = std::mem::take(&mut self.batch);
        RawBatch { upto, ..batch }
    }

    fn begin(&mut self, commit: Lsn, at: i64, xid: u32) -> Result<(), OutOfOrder> {
        if self.current.is_some() {
            return Err(OutOfOrder);
        }
        let micros = u64::try_from(at.saturating_add(EPOCH_MICROS)).unwrap_or_default();
        let at = UNIX_EPOCH
            .checked_add(Duration::from_micros(micros))
            .unwrap_or(UNIX_EPOCH);
        self.current = Some(Transaction {
            commit,
            xid,
            at,
            index: 0,
        });
        Ok(())
    }

    fn commit(&mut self, end: Lsn) -> Result<(), OutOfOrder> {
        self.current.take().ok_or(OutOfOrder)?;
        self.batch.confirm = Some(end);
        self.batch.upto = Place::after(end).max(self.place());
        Ok(())
    }

    fn row(
        &mut self,
        relation: u32,
        op: Op,
        new: Option<Tuple>,
        old: Option<Tuple>,
    ) -> Result<(), OutOfOrder> {
        let relation = Arc::clone(self.relations.get(&relation).ok_or(OutOfOrder)?);
        let bytes = new.iter().chain(&old).map(weight).sum();
        self.change(bytes, || {
            Some(What::Row {
                relation,
                op,
                new,
                old,
            })
        })
    }

    fn truncate(&mut self, relations: &[u32]) -> Result<(), OutOfOrder> {
        for relation in relations {
            // One of another publication's tables has not been described.
            let relation = self.relations.get(relation).map(Arc::clone);
            self.change(0, || relation.map(What::Truncate))?;
        }
        Ok(())
    }

    fn change(&mut self, bytes: usize, what: impl FnOnce() -> Option<What>) -> Result<(), OutOfOrder> {
        let before = self.place();
        let current = self.current.as_mut().ok_or(OutOfOrder)?;
        current.index += 1;
        let place = Place {
            lsn: current.commit,
            index: current.index,
        };
        if place <= before {
            return Ok(());
        }
        self.batch.upto = place;
        if let Some(what) = what() {
            let (xid, at) = (current.xid, current.at);
            self.batch.changes.push(RawChange { xid, at, what });
            self.bytes += bytes;
        }
        Ok(())
    }
}

fn weight(tuple: &Tuple) -> usize {
    let texts = tuple.cells.iter().filter_map(|cell| cell.text());
    texts.map(Bytes::len).sum::<usize>() + tuple.cells.len() * 32
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::super::pgoutput::Cell;
    use super::*;
    use proptest::prelude::*;

    fn relation() -> Message {
        Message::Relation(Arc::new(Relation {
            oid: 1,
            schema: "public".into(),
            name: "t".into(),
            full: false,
            columns: Vec::new(),
        }))
    }

    fn insert(value: u64) -> Message {
        let cells = vec![Cell::Text(value.to_string().into())];
        Message::Insert {
            relation: 1,
            new: Tuple {
                cells,
                key_only: false,
            },
        }
    }

    /// A stream of transactions with so many rows each; rows are numbered through.
    fn stream(sizes: &[u8]) -> Vec<(Lsn, Vec<Message>)> {
        let (mut lsn, mut row) = (100, 0);
        let mut all = Vec::new();
        for size in sizes {
            let mut messages = vec![
                Message::Begin {
                    commit: Lsn(lsn),
                    at: 0,
                    xid: 7,
                },
                relation(),
            ];
            for _ in 0..*size {
                row += 1;
                messages.push(insert(row));
            }
            messages.push(Message::Commit { end: Lsn(lsn + 8) });
            all.push((Lsn(lsn), messages));
            // The next commit may stand where this one ends.
            lsn += 8;
        }
        all
    }

    fn rows(batch: &RawBatch) -> Vec<u64> {
        let values = batch.changes.iter().map(|change| match &change.what {
            What::Row { new: Some(new), .. } => new.cells.first().unwrap().text().unwrap().clone(),
            _ => Bytes::new(),
        });
        values
            .map(|text| std::str::from_utf8(&text).unwrap().parse().unwrap())
            .collect()
    }

    proptest! {
        /// Cut off after any message and begun again from any place that was handed over: every row once, in order.
        #[test]
        fn nothing_is_lost_or_repeated(sizes in prop::collection::vec(0_u8..6, 1..6), cuts in prop::collection::vec(0_usize..40, 0..5), every in 1_usize..4) {
            let all = stream(&sizes);
            let total: u64 = sizes.iter().map(|size| u64::from(*size)).sum();
            let (mut seen, mut known, mut confirmed) = (Vec::new(), Place::default(), Lsn(0));
            for cut in cuts.into_iter().chain([usize::MAX]) {
                let mut assembler = Assembler::new(known, b"pregon");
                // The server sends again what was not confirmed, whole transactions only.
                let since = confirmed;
                let again = all.iter().filter(move |(commit, _)| *commit >= since).flat_map(|(_, messages)| messages);
                for (count, message) in again.take(cut).cloned().enumerate() {
                    assembler.take(message).unwrap();
                    if count % every == 0 && assembler.has_news() {
                        let batch = assembler.hand_over();
                        prop_assert!(batch.upto > known);
                        known = batch.upto;
                        confirmed = batch.confirm.unwrap_or(confirmed);
                        seen.extend(rows(&batch));
                    }
                }
                if cut == usize::MAX && assembler.has_news() {
                    seen.extend(rows(&assembler.hand_over()));
                }
            }
            prop_assert_eq!(seen, (1..=total).collect::<Vec<_>>());
        }
    }

    #[test]
    fn a_keepalive_moves_the_place_between_transactions_only() {
        let mut assembler = Assembler::new(Place::after(Lsn(50)), b"pregon");
        assert!(!assembler.reached(Lsn(50)));
        assert!(assembler.reached(Lsn(60)));
        assert_eq!(assembler.hand_over().confirm, Some(Lsn(60)));
        let begin = Message::Begin {
            commit: Lsn(90),
            at: 0,
            xid: 1,
        };
        assembler.take(begin).unwrap();
        assert!(!assembler.reached(Lsn(95)));
        assert!(!assembler.has_news());
    }

    #[test]
    fn changes_outside_of_a_transaction_are_refused() {
        let mut assembler = Assembler::new(Place::default(), b"pregon");
        assembler.take(relation()).unwrap();
        assert_eq!(assembler.take(insert(1)), Err(OutOfOrder));
        assert_eq!(assembler.take(Message::Commit { end: Lsn(1) }), Err(OutOfOrder));
    }

    #[test]
    fn a_batch_is_full_by_number_or_by_bytes() {
        let mut assembler = Assembler::new(Place::default(), b"pregon");
        let begin = Message::Begin {
            commit: Lsn(90),
            at: 0,
            xid: 1,
        };
        assembler.take(begin).unwrap();
        let content = Bytes::from(vec![0; MOST_BYTES]);
        let emitted = Message::Emitted {
            transactional: true,
            prefix: Bytes::from_static(b"pregon"),
            content,
        };
        assembler.take(emitted).unwrap();
        assert!(assembler.is_full());
        assert_eq!(
            assembler.hand_over().upto,
            Place {
                lsn: Lsn(90),
                index: 1
            }
        );
        assert!(!assembler.is_full());
    }
}
