#![allow(clippy::unwrap_used, clippy::indexing_slicing, clippy::panic)]
use proptest::prelude::*;

use super::*;

fn holder(name: &str) -> Holder {
    Holder {
        transaction: name.into(),
        prepared: name.starts_with('-'),
    }
}

fn rows(ids: &[u64]) -> Vec<(u64, ())> {
    ids.iter().map(|id| (*id, ())).collect()
}

/// One pass: what is read, who holds the lock, what came into the gaps; the ids that go on.
fn pass(gate: &mut Gate<()>, read: &[u64], held: &[&str], filled: &[u64]) -> Vec<u64> {
    gate.read(rows(read));
    gate.hold(held.iter().map(|name| holder(name)));
    gate.fill(rows(filled), None);
    gate.take().into_iter().map(|(id, ())| id).collect()
}

#[test]
fn rows_without_gaps_go_on_at_once() {
    let mut gate = Gate::new(7);
    gate.read(rows(&[8, 9]));
    assert!(!gate.is_waiting());
    assert_eq!(gate.take().len(), 2);
    assert_eq!((gate.passed(), gate.seen()), (9, 9));
}

#[test]
fn a_missing_id_waits_for_those_who_may_own_it_and_for_nobody_else() {
    let mut gate = Gate::new(0);
    assert!(pass(&mut gate, &[2], &["a"], &[]).is_empty());
    assert_eq!(gate.passed(), 0);
    // A transaction that came later cannot own it.
    assert!(pass(&mut gate, &[3], &["a", "b"], &[]).is_empty());
    assert_eq!(pass(&mut gate, &[], &["b"], &[1]), [1, 2, 3]);
}

#[test]
fn what_was_rolled_back_holds_nothing_back() {
    let mut gate = Gate::new(0);
    assert_eq!(pass(&mut gate, &[3], &[], &[]), [3]);
    assert!(pass(&mut gate, &[5], &["a"], &[]).is_empty());
    assert_eq!(pass(&mut gate, &[], &[], &[]), [5]);
}

#[test]
fn a_gap_is_filled_from_several_transactions() {
    let mut gate = Gate::new(0);
    assert_eq!(pass(&mut gate, &[6], &["a", "b"], &[1, 3]), [1]);
    assert_eq!(gate.missing(), (vec![2, 4], vec![2, 5]));
    assert_eq!(pass(&mut gate, &[], &["b"], &[2, 5]), [2, 3]);
    assert_eq!(pass(&mut gate, &[], &[], &[]), [5, 6]);
}

#[test]
fn preparing_a_transaction_does_not_lose_its_rows() {
    let mut gate = Gate::new(0);
    assert!(pass(&mut gate, &[2], &["3/45"], &[]).is_empty());
    assert!(pass(&mut gate, &[], &["-1/777"], &[]).is_empty());
    assert_eq!(pass(&mut gate, &[], &[], &[1]), [1, 2]);
}

#[test]
fn a_large_gap_is_read_in_pieces() {
    let mut gate = Gate::new(0);
    gate.read(rows(&[10]));
    gate.hold([]);
    gate.fill(rows(&[1, 2, 4]), Some(4));
    assert_eq!(gate.take().len(), 3);
    assert_eq!((gate.passed(), gate.missing()), (4, (vec![5], vec![9])));
    assert_eq!(pass(&mut gate, &[], &["late"], &[8]), [8, 10]);
}

/// What writers do.
#[derive(Debug, Clone)]
enum Act {
    Write(usize),
    Commit(usize),
    Abort(usize),
    Prepare(usize),
    /// The next step of the reader's pass.
    Step,
}

fn act() -> impl Strategy<Value = Act> {
    prop_oneof![
        4 => (0..4_usize).prop_map(Act::Write),
        1 => (0..4_usize).prop_map(Act::Commit),
        1 => (0..4_usize).prop_map(Act::Abort),
        1 => (0..4_usize).prop_map(Act::Prepare),
        6 => Just(Act::Step),
    ]
}

/// Four sessions that write into an outbox, as PostgreSQL shows it to a reader.
#[derive(Default)]
struct Model {
    next: u64,
    number: u64,
    open: [Option<(String, Vec<u64>)>; 4],
    committed: Vec<u64>,
    step: u8,
    taken: Vec<u64>,
}

impl Model {
    fn act(&mut self, gate: &mut Gate<()>, act: &Act, limit: usize) {
        match *act {
            Act::Write(session) => {
                let open = self.open[session].get_or_insert_with(|| {
                    self.number += 1;
                    (format!("{session}/{}", self.number), Vec::new())
                });
                if open.0.starts_with('-') {
                    return;
                }
                self.next += 1;
                open.1.push(self.next);
            }
            Act::Commit(session) => {
                if let Some((_, ids)) = self.open[session].take() {
                    self.committed.extend(ids);
                }
            }
            Act::Abort(session) => self.open[session] = None,
            Act::Prepare(session) => {
                if let Some((name, _)) = &mut self.open[session] {
                    *name = format!("-1/{name}");
                }
            }
            Act::Step => self.step(gate, limit),
        }
    }

    fn visible(&self, wanted: impl Fn(u64) -> bool) -> Vec<u64> {
        let mut ids: Vec<u64> = self.committed.iter().copied().filter(|id| wanted(*id)).collect();
        ids.sort_unstable();
        ids
    }

    fn step(&mut self, gate: &mut Gate<()>, limit: usize) {
        match self.step {
            0 => {
                let mut read = self.visible(|id| id > gate.seen());
                read.truncate(limit);
                gate.read(rows(&read));
            }
            1 => {
                let held = self.open.iter().flatten().filter(|(_, ids)| !ids.is_empty());
                gate.hold(held.map(|(name, _)| holder(name)));
            }
            2 => {
                let (first, last) = gate.missing();
                let asked = |id| {
                    first
                        .iter()
                        .zip(&last)
                        .any(|(first, last)| (*first..=*last).contains(&id))
                };
                let mut found = self.visible(asked);
                let upto = (found.len() > limit).then(|| found[limit - 1]);
                found.truncate(limit);
                gate.fill(rows(&found), upto);
            }
            _ => self.taken.extend(gate.take().into_iter().map(|(id, ())| id)),
        }
        self.step = (self.step + 1) % 4;
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 2000, ..ProptestConfig::default() })]
    #[test]
    fn every_committed_row_goes_on_once_and_in_order(acts in prop::collection::vec(act(), 0..200), limit in 1..6_usize) {
        let mut model = Model::default();
        let mut gate = Gate::new(0);
        for act in &acts {
            model.act(&mut gate, act, limit);
        }
        for session in 0..4 {
            model.act(&mut gate, &Act::Commit(session), limit);
        }
        for _ in 0..4 * (acts.len() + 2) {
            model.act(&mut gate, &Act::Step, limit);
        }
        model.committed.sort_unstable();
        prop_assert_eq!(&model.taken, &model.committed);
        prop_assert!(!gate.is_waiting());
    }
}
