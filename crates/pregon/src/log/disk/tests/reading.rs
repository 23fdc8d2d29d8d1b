//! Reading beyond the window: the same entries as a window that held everything.

use std::time::SystemTime;

use proptest::prelude::*;

use super::*;
use crate::log::past::Past;
use crate::log::window::{Follow, Most, Start};
use crate::log::{Since, entry::Body};

pub(super) const PIECE: Most = Most {
    entries: 7,
    bytes: usize::MAX,
};

pub(super) fn past(log: &DiskLog) -> Arc<Past> {
    Past::of(log)
}

/// All offsets of a channel after `after`, read in pieces.
pub(super) fn read_all(log: &DiskLog, channel: &str, after: u64) -> Vec<u64> {
    merge(log, &[Follow { channel, after }], after).unwrap()
}

fn merge(log: &DiskLog, follows: &[Follow<'_>], after: u64) -> Option<Vec<u64>> {
    let past = past(log);
    let (mut cursor, mut found, upto) = (after, Vec::new(), log.window().head());
    loop {
        let merged = past.read(follows, cursor, upto, PIECE)?;
        found.extend(offsets(&merged.entries));
        assert!(merged.complete || merged.reached > cursor, "a piece goes on");
        cursor = merged.reached;
        if merged.complete {
            return Some(found);
        }
    }
}

#[test]
fn what_the_window_has_forgotten_is_read_and_joined_to_it() {
    let temp = tempfile::tempdir().unwrap();
    let log = open_with(temp.path(), long());
    for _ in 0..50 {
        fill(&log, "a", 1);
        fill(&log, "b", 2);
    }
    assert!(log.window().oldest() > 100, "most is on the disk alone");
    let wanted: Vec<u64> = (0..50).map(|n| 3 * n + 1).collect();
    assert_eq!(read_all(&log, "a", 0), wanted);
    assert_eq!(
        read_all(&log, "a", 70),
        wanted.into_iter().filter(|n| *n > 70).collect::<Vec<_>>()
    );
    assert_eq!(read_all(&log, "never", 0), [] as [u64; 0]);
}

#[test]
fn what_was_pruned_is_never_left_out_silently() {
    let temp = tempfile::tempdir().unwrap();
    let log = open_with(temp.path(), small());
    fill(&log, "a", 200);
    log.prune().unwrap();
    let history = log.history().unwrap();
    until(|| history.pruned("a") > 0);
    let gone = history.pruned("a");
    assert_eq!(
        merge(
            &log,
            &[Follow {
                channel: "a",
                after: gone - 1
            }],
            gone - 1
        ),
        None
    );
    let all = merge(
        &log,
        &[Follow {
            channel: "a",
            after: gone,
        }],
        gone,
    )
    .unwrap();
    assert_eq!(all, (gone + 1..=200).collect::<Vec<_>>());
}

#[test]
fn the_last_few_are_found_far_back() {
    let temp = tempfile::tempdir().unwrap();
    let log = open_with(temp.path(), long());
    for _ in 0..4 {
        append(&log, vec![publication("rare")]);
        fill(&log, "busy", 40);
    }
    let past = past(&log);
    assert_eq!(past.last("rare", 2), None, "the window does not know");
    assert_eq!(past.before_last("rare", 2), 82);
    assert_eq!(read_all(&log, "rare", past.before_last("rare", 2)), [83, 124]);
    assert_eq!(
        read_all(&log, "rare", past.before_last("rare", 9)),
        [1, 42, 83, 124]
    );
    assert_eq!(past.before_last("busy", 1), 163);
}

#[test]
fn since_a_time_begins_at_it_or_a_little_earlier() {
    let temp = tempfile::tempdir().unwrap();
    let log = open_with(temp.path(), long());
    fill(&log, "a", 30);
    let then = SystemTime::now();
    fill(&log, "a", 60);
    let history = log.history().unwrap();
    let after = history.since("a", then).unwrap();
    assert!(after <= 30, "{after}");
    assert_eq!(history.since("a", SystemTime::UNIX_EPOCH), Some(0));
    let ago = then.elapsed().unwrap();
    let start = past(&log).start("a", Since::Ago(ago + Duration::from_millis(1)));
    assert!(matches!(start, Start::After(after) if after <= 30), "{start:?}");
}

#[test]
fn a_gap_is_found_by_those_whom_it_concerns() {
    let temp = tempfile::tempdir().unwrap();
    let log = open_with(temp.path(), long());
    let gap = Gap {
        from: log.window().position(0),
        reason: pregon_wire::words::GapReason::Source,
        patterns: Arc::from([crate::route::template::Template::parse("sala_{id}")
            .unwrap()
            .pattern()]),
        everything: false,
    };
    append(&log, vec![Append::Gap(gap)]);
    fill(&log, "otra", 60);
    let follow = |channel| [Follow { channel, after: 0 }];
    let past = past(&log);
    let read = |channel| {
        past.read_all(&follow(channel), 0, log.window().head(), PIECE)
            .unwrap()
    };
    assert!(matches!(read("sala_1").entries[0].body, Body::Gap(_)));
    assert_eq!(offsets(&read("otra").entries)[0], 2);
}

#[test]
fn a_damaged_segment_is_a_gap_to_those_who_need_it() {
    let temp = tempfile::tempdir().unwrap();
    let log = open_with(temp.path(), long());
    fill(&log, "a", 100);
    let path = &segment_files(temp.path())[1];
    let mut bytes = std::fs::read(path).unwrap();
    let middle = bytes.len() / 2;
    bytes[middle] ^= 0xff;
    std::fs::write(path, bytes).unwrap();
    assert_eq!(
        merge(
            &log,
            &[Follow {
                channel: "a",
                after: 0
            }],
            0
        ),
        None
    );
    let history = log.history().unwrap();
    assert!(history.pruned("a") > 0, "from now on it is known");
    let rest = history.pruned("a");
    assert_eq!(read_all(&log, "a", rest), (rest + 1..=100).collect::<Vec<_>>());
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(24))]

    /// Whatever is asked for: the pieces together are what a plain filter over all entries gives.
    #[test]
    fn reading_in_pieces_equals_a_filter(
        script in proptest::collection::vec(proptest::collection::vec(0_u8..4, 1..3), 20..120),
        follows in proptest::collection::vec((0_u8..4, 0_u64..100), 1..4),
        reopen: bool,
    ) {
        let names = ["a", "b", "c", "d"];
        let temp = tempfile::tempdir().unwrap();
        let mut log = open_with(temp.path(), long());
        let json = format!("\"{}\"", "x".repeat(150));
        for channels in &script {
            let mut publication = said("", &json);
            publication.channels = channels.iter().map(|&c| Arc::from(names[c as usize])).collect();
            drop(log.append(vec![Append::Publication(publication)], None));
        }
        until(|| log.window().head() == script.len() as u64);
        if reopen {
            drop(log);
            log = open_with(temp.path(), long());
        }
        let follows: Vec<_> = follows.iter().map(|&(c, after)| Follow { channel: names[c as usize], after }).collect();
        let wanted: Vec<u64> = script.iter().zip(1..).filter(|(channels, offset)| {
            let last = |f: &Follow<'_>| follows.iter().rev().find(|g| g.channel == f.channel).map_or(0, |g| g.after);
            follows.iter().any(|f| *offset > last(f) && channels.iter().any(|&c| names[c as usize] == f.channel))
        }).map(|(_, offset)| offset).collect();
        // A channel is followed once.
        let once: Vec<_> = follows.iter().rev().fold(Vec::<Follow<'_>>::new(), |mut once, f| {
            if !once.iter().any(|g| g.channel == f.channel) { once.push(*f); }
            once
        });
        let from = once.iter().map(|f| f.after).min().unwrap();
        prop_assert_eq!(merge(&log, &once, from), Some(wanted));
    }
}
