//! The verdict: what is in the database against what each client saw. Pure, so that it can be tried on planted mistakes.
//!
//! Every committed row must have reached every client that follows its channel, once and in order, unless the client was told
//! of a gap exactly there. Order is asked per writer and room, and per contended row: that is what is promised for transactions
//! that follow one another.

use std::collections::{BTreeMap, BTreeSet};

use crate::record::{ROWS, Record, Seen, room_channel};

/// What the database holds in the end.
#[derive(Debug, Default)]
pub(crate) struct Truth {
    /// Numbers of the committed rows, by room and writer.
    pub(crate) facts: BTreeMap<(u32, u32), BTreeSet<i64>>,
    /// The last version of each contended row; the first was 0.
    pub(crate) rows: BTreeMap<u32, i64>,
}

impl Truth {
    /// Changes that were committed.
    pub(crate) fn len(&self) -> usize {
        let updates = self
            .rows
            .values()
            .filter_map(|&version| usize::try_from(version).ok());
        self.facts.values().map(BTreeSet::len).sum::<usize>() + updates.sum::<usize>()
    }
}

/// What went wrong for one client, or for all.
#[derive(Debug, Default, Clone, PartialEq, Eq)]
pub(crate) struct Verdict {
    pub(crate) missing: u64,
    pub(crate) duplicated: u64,
    pub(crate) out_of_order: u64,
    /// Of a channel that its token does not grant.
    pub(crate) unauthorised: u64,
    /// Never committed.
    pub(crate) invented: u64,
    /// Gaps that it was told of; not a fault.
    pub(crate) gaps: u64,
    /// Rows that a gap stands for; not a fault.
    pub(crate) excused: u64,
    /// What it saw.
    pub(crate) events: u64,
    /// The first faults, in words.
    pub(crate) examples: Vec<String>,
}

/// Faults that are told in words.
const EXAMPLES: usize = 5;

impl Verdict {
    pub(crate) fn is_clean(&self) -> bool {
        self.missing + self.duplicated + self.out_of_order + self.unauthorised + self.invented == 0
    }

    /// Adds another client's.
    pub(crate) fn add(&mut self, other: &Self) {
        self.missing += other.missing;
        self.duplicated += other.duplicated;
        self.out_of_order += other.out_of_order;
        self.unauthorised += other.unauthorised;
        self.invented += other.invented;
        self.gaps += other.gaps;
        self.excused += other.excused;
        self.events += other.events;
        let room = EXAMPLES.saturating_sub(self.examples.len());
        self.examples.extend(other.examples.iter().take(room).cloned());
    }

    fn say(&mut self, text: impl FnOnce() -> String) {
        if self.examples.len() < EXAMPLES {
            self.examples.push(text());
        }
    }
}

/// One sequence that must be complete and rise: the rows of a writer in a room, or the versions of a row.
#[derive(Default)]
struct Line {
    seen: BTreeSet<i64>,
    newest: Option<i64>,
    /// Between which numbers a gap was told: after the first, before the second.
    holes: Vec<(Option<i64>, Option<i64>)>,
}

impl Line {
    fn take(&mut self, n: i64) -> Order {
        if !self.seen.insert(n) {
            return Order::Repeated;
        }
        let order = if self.newest.is_some_and(|newest| n < newest) {
            Order::Late
        } else {
            Order::Next
        };
        self.newest = self.newest.max(Some(n));
        for hole in self.holes.iter_mut().filter(|hole| hole.1.is_none()) {
            hole.1 = Some(n);
        }
        order
    }

    fn gap(&mut self) {
        self.holes.push((self.newest, None));
    }

    fn is_excused(&self, n: i64) -> bool {
        let mut holes = self.holes.iter();
        holes.any(|(after, before)| after.is_none_or(|a| n > a) && before.is_none_or(|b| n < b))
    }
}

#[derive(PartialEq, Eq)]
enum Order {
    Next,
    Late,
    Repeated,
}

/// Which sequence an event belongs to.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Of {
    Writer { room: u32, writer: u32 },
    Row(u32),
}

impl Of {
    fn channel(self) -> String {
        match self {
            Self::Writer { room, .. } => room_channel(room),
            Self::Row(_) => ROWS.to_owned(),
        }
    }
}

/// Judges one client.
pub(crate) fn judge(truth: &Truth, record: &Record) -> Verdict {
    let mut lines: BTreeMap<Of, Line> = expected(truth, record)
        .map(|(of, _)| (of, Line::default()))
        .collect();
    let mut verdict = Verdict {
        unauthorised: record.let_in,
        ..Verdict::default()
    };
    for seen in &record.seen {
        take(seen, record, &mut lines, &mut verdict);
    }
    for (of, numbers) in expected(truth, record) {
        let Some(line) = lines.get(&of) else { continue };
        for n in numbers.iter().filter(|n| !line.seen.contains(n)) {
            if line.is_excused(*n) {
                verdict.excused += 1;
            } else {
                verdict.missing += 1;
                verdict.say(|| format!("{}: {of:?} {n} is missing", record.name));
            }
        }
        for n in line.seen.difference(&numbers) {
            verdict.invented += 1;
            verdict.say(|| format!("{}: {of:?} {n} was never committed", record.name));
        }
    }
    verdict
}

fn take(seen: &Seen, record: &Record, lines: &mut BTreeMap<Of, Line>, verdict: &mut Verdict) {
    let (of, n) = match seen {
        Seen::Fact { room, writer, n } => (
            Of::Writer {
                room: *room,
                writer: *writer,
            },
            *n,
        ),
        Seen::Row { id, version } => (Of::Row(*id), *version),
        Seen::Gap { channel } => {
            verdict.gaps += 1;
            let concerned = |of: &Of| channel.as_ref().is_none_or(|name| *name == of.channel());
            let lines = lines.iter_mut().filter(|(of, _)| concerned(of));
            return lines.for_each(|(_, line)| line.gap());
        }
        Seen::Strange(what) => {
            verdict.invented += 1;
            return verdict.say(|| format!("{}: {what}", record.name));
        }
    };
    verdict.events += 1;
    let granted = match of {
        Of::Writer { room, .. } => record.rooms.contains(&room),
        Of::Row(_) => record.rows,
    };
    if !granted {
        verdict.unauthorised += 1;
        return verdict.say(|| format!("{}: {of:?} {n} is not for it", record.name));
    }
    match lines.entry(of).or_default().take(n) {
        Order::Next => {}
        Order::Late => {
            verdict.out_of_order += 1;
            verdict.say(|| format!("{}: {of:?} {n} came late", record.name));
        }
        Order::Repeated => {
            verdict.duplicated += 1;
            verdict.say(|| format!("{}: {of:?} {n} came twice", record.name));
        }
    }
}

/// What the client should have seen, by sequence.
fn expected<'a>(truth: &'a Truth, record: &'a Record) -> impl Iterator<Item = (Of, BTreeSet<i64>)> + 'a {
    let facts = truth
        .facts
        .iter()
        .filter(|((room, _), _)| record.rooms.contains(room))
        .map(|(&(room, writer), numbers)| (Of::Writer { room, writer }, numbers.clone()));
    let rows = truth
        .rows
        .iter()
        .filter(|_| record.rows)
        .map(|(&id, &version)| (Of::Row(id), (1..=version).collect()));
    facts.chain(rows)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn fact(n: i64) -> Seen {
        Seen::Fact {
            room: 1,
            writer: 7,
            n,
        }
    }

    fn gap() -> Seen {
        Seen::Gap {
            channel: Some("room_1".into()),
        }
    }

    fn judged(seen: Vec<Seen>) -> Verdict {
        let mut truth = Truth::default();
        truth.facts.insert((1, 7), [1, 2, 4].into());
        truth.facts.insert((2, 7), [3].into());
        truth.rows.insert(0, 2);
        let record = Record {
            rooms: vec![1],
            seen,
            ..Record::default()
        };
        judge(&truth, &record)
    }

    #[test]
    fn everything_once_and_in_order_is_clean() {
        let verdict = judged(vec![fact(1), fact(2), fact(4)]);
        assert!(verdict.is_clean(), "{verdict:?}");
        assert_eq!(verdict.events, 3);
    }

    #[test]
    fn each_fault_is_found() {
        assert_eq!(judged(vec![fact(1), fact(4)]).missing, 1);
        assert_eq!(judged(vec![]).missing, 3);
        assert_eq!(judged(vec![fact(1), fact(2), fact(2), fact(4)]).duplicated, 1);
        assert_eq!(judged(vec![fact(2), fact(1), fact(4)]).out_of_order, 1);
        assert_eq!(judged(vec![fact(1), fact(2), fact(3), fact(4)]).invented, 1);
        let foreign = Seen::Fact {
            room: 2,
            writer: 7,
            n: 3,
        };
        assert_eq!(judged(vec![fact(1), fact(2), fact(4), foreign]).unauthorised, 1);
        let row = Seen::Row { id: 0, version: 1 };
        assert_eq!(judged(vec![fact(1), fact(2), fact(4), row]).unauthorised, 1);
    }

    #[test]
    fn a_gap_excuses_what_is_missing_there_and_nothing_else() {
        let verdict = judged(vec![fact(1), gap(), fact(4)]);
        assert!(verdict.is_clean() && verdict.excused == 1, "{verdict:?}");
        assert_eq!(
            judged(vec![fact(1), gap(), fact(2)]).missing,
            1,
            "4 is after the gap"
        );
        assert_eq!(judged(vec![gap()]).excused, 3);
        let other = Seen::Gap {
            channel: Some("room_2".into()),
        };
        assert_eq!(judged(vec![fact(1), other, fact(4)]).missing, 1);
    }

    #[test]
    fn every_version_of_a_contended_row_is_asked_for() {
        let mut truth = Truth::default();
        truth.rows.insert(3, 3);
        let seen = |versions: &[i64]| Record {
            rows: true,
            seen: versions
                .iter()
                .map(|&version| Seen::Row { id: 3, version })
                .collect(),
            ..Record::default()
        };
        assert!(judge(&truth, &seen(&[1, 2, 3])).is_clean());
        assert_eq!(judge(&truth, &seen(&[1, 3])).missing, 1);
        let swapped = judge(&truth, &seen(&[2, 1, 3]));
        assert_eq!((swapped.out_of_order, swapped.missing), (1, 0));
    }
}
