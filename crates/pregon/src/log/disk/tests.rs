//! What the disk log does beyond the contract of all logs: reopening, crashes, damage, retention, reading back.
#![allow(clippy::unwrap_used, clippy::indexing_slicing, clippy::panic)]

mod kit;
mod crash;
mod format;
mod reading;
mod full;
mod faults;

use std::sync::Arc;

use super::*;
use crate::log::contract;
use kit::*;

#[test]
fn keeps_the_contract_of_logs() {
    let temp = tempfile::tempdir().unwrap();
    let number = std::cell::Cell::new(0);
    contract::check(|retention, opener| {
        number.set(number.get() + 1);
        let folder = temp.path().join(number.get().to_string());
        let keeping = Keeping {
            window: retention,
            ..keeping()
        };
        Box::new(DiskLog::open(&folder, keeping, opener, watcher()).unwrap())
    });
}

#[test]
fn positions_places_and_identities_survive_an_orderly_restart() {
    let temp = tempfile::tempdir().unwrap();
    let log = open(temp.path());
    let epoch = log.window().epoch();
    append(&log, vec![named("a", "x"), publication("b")]);
    take(&log, vec![publication("a")], 7);
    log.close();
    drop(log);
    let log = open(temp.path());
    assert_eq!((log.window().epoch(), log.window().head()), (epoch, 3));
    assert_eq!(log.taken("outbox"), Some(place(7)));
    assert_eq!(
        append(&log, vec![named("a", "x")]),
        [1],
        "the identity is still known"
    );
    assert_eq!(append(&log, vec![publication("a")]), [4]);
    assert_eq!(offsets_in_window(&log), [1, 2, 3, 4]);
}

#[test]
fn entries_are_as_old_as_they_are() {
    let temp = tempfile::tempdir().unwrap();
    let log = open(temp.path());
    append(&log, vec![publication("a")]);
    let before = entries(&log)[0].appended;
    log.close();
    drop(log);
    let log = open(temp.path());
    let after = entries(&log)[0].appended;
    let apart = after.max(before) - after.min(before);
    assert!(apart < Duration::from_millis(500), "{apart:?}");
}

#[test]
fn secrets_stay_sealed_on_the_disk_and_are_open_in_the_window() {
    let temp = tempfile::tempdir().unwrap();
    let log = open(temp.path());
    append(&log, vec![sealed("a", "\"ciphertext\"")]);
    assert_eq!(data(&entries(&log)[0]), "\"opened\"");
    log.close();
    drop(log);
    let bytes: Vec<u8> = segment_files(temp.path())
        .iter()
        .flat_map(|path| std::fs::read(path).unwrap())
        .collect();
    let holds = |text: &str| bytes.windows(text.len()).any(|window| window == text.as_bytes());
    assert!(holds("ciphertext") && !holds("opened"));
    let log = open(temp.path());
    assert_eq!(data(&entries(&log)[0]), "\"opened\"");
}

#[test]
fn retention_by_size_removes_whole_segments_and_only_their_channels_are_pruned() {
    let temp = tempfile::tempdir().unwrap();
    let log = open_with(temp.path(), small());
    append(&log, vec![publication("old")]);
    append(&log, vec![publication("rare")]);
    fill(&log, "busy", 200);
    log.prune().unwrap();
    let history = log.history().unwrap();
    until(|| history.pruned("busy") > 2);
    assert!(
        segment_files(temp.path()).len() <= 5,
        "{:?}",
        segment_files(temp.path())
    );
    assert_eq!((history.pruned("old"), history.pruned("rare")), (1, 2));
    assert_eq!(history.pruned("never"), 0);
    log.close();
    drop((history, log));
    let log = open_with(temp.path(), small());
    let history = log.history().unwrap();
    assert_eq!(
        (history.pruned("old"), history.pruned("never")),
        (1, 0),
        "over a restart"
    );
}

#[test]
fn a_second_user_of_the_folder_is_told_who_the_first_is() {
    let temp = tempfile::tempdir().unwrap();
    let _log = open(temp.path());
    let error = DiskLog::open(temp.path(), keeping(), Arc::new(Opened), watcher())
        .err()
        .unwrap();
    let text = error.to_string();
    assert!(
        text.contains(&format!("process {}", std::process::id())),
        "{text}"
    );
}

#[test]
fn a_closed_log_takes_nothing() {
    let temp = tempfile::tempdir().unwrap();
    let log = open(temp.path());
    log.close();
    let refused = wait(log.append(vec![publication("a")], None));
    assert!(matches!(refused, Err(LogError::Closed)), "{refused:?}");
}
