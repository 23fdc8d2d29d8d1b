//! Processes and machines that end without closing the log.

use proptest::prelude::*;

use super::*;
use crate::log::entry::Body;

#[test]
fn after_the_death_of_the_process_epoch_and_entries_are_as_before() {
    let temp = tempfile::tempdir().unwrap();
    let log = open(temp.path());
    let epoch = log.window().epoch();
    take(&log, vec![named("a", "x"), publication("b")], 3);
    drop(log);
    let log = open(temp.path());
    assert_eq!((log.window().epoch(), log.window().head()), (epoch, 2));
    assert_eq!(log.taken("outbox"), Some(place(3)));
    assert_eq!(append(&log, vec![publication("a")]), [3]);
}

#[test]
fn after_an_unclean_stop_of_the_machine_a_new_epoch_begins_with_a_gap() {
    let temp = tempfile::tempdir().unwrap();
    let log = open(temp.path());
    let epoch = log.window().epoch();
    append(&log, vec![publication("a")]);
    drop(log);
    reboot(temp.path());
    let log = open(temp.path());
    assert_ne!(log.window().epoch(), epoch);
    until(|| log.window().head() == 2);
    let all = entries(&log);
    let Body::Gap(gap) = &all[1].body else {
        panic!("{:?}", all[1]);
    };
    assert!(
        gap.everything && gap.from == Position { epoch, offset: 1 },
        "{gap:?}"
    );
    assert_eq!(append(&log, vec![publication("a")]), [3], "offsets go on");
}

#[test]
fn a_machine_that_was_shut_down_in_order_keeps_the_epoch() {
    let temp = tempfile::tempdir().unwrap();
    let log = open(temp.path());
    let epoch = log.window().epoch();
    append(&log, vec![publication("a")]);
    log.close();
    drop(log);
    reboot(temp.path());
    assert_eq!(open(temp.path()).window().epoch(), epoch);
}

#[test]
fn segments_that_are_missing_at_the_end_begin_a_new_epoch() {
    let temp = tempfile::tempdir().unwrap();
    let log = open_with(temp.path(), long());
    fill(&log, "a", 60);
    let (epoch, head) = (log.window().epoch(), log.window().head());
    log.close();
    drop(log);
    std::fs::remove_file(segment_files(temp.path()).pop().unwrap()).unwrap();
    let log = open_with(temp.path(), long());
    assert_ne!(log.window().epoch(), epoch);
    assert!(log.window().head() >= head, "no offset is given twice");
}

#[test]
fn a_log_without_its_state_begins_a_new_epoch() {
    let temp = tempfile::tempdir().unwrap();
    let log = open(temp.path());
    let epoch = log.window().epoch();
    append(&log, vec![publication("a")]);
    log.close();
    drop(log);
    std::fs::remove_file(temp.path().join("state")).unwrap();
    let log = open(temp.path());
    assert_ne!(log.window().epoch(), epoch);
    assert!(log.window().head() >= 1);
}

#[test]
fn damage_before_the_end_is_an_error_that_says_where_and_what_to_do() {
    let temp = tempfile::tempdir().unwrap();
    let log = open(temp.path());
    for _ in 0..10 {
        append(&log, vec![publication("a")]);
    }
    drop(log);
    let path = segment_files(temp.path()).pop().unwrap();
    let mut bytes = std::fs::read(&path).unwrap();
    let middle = bytes.len() / 2;
    bytes[middle] ^= 0xff;
    std::fs::write(&path, bytes).unwrap();
    let error = try_open(temp.path(), keeping()).err().unwrap();
    let text = error.to_string();
    assert!(
        text.contains("is damaged at byte") && text.contains("move this file"),
        "{text}"
    );
}

#[test]
fn a_file_that_was_just_being_made_is_no_damage() {
    let temp = tempfile::tempdir().unwrap();
    let log = open(temp.path());
    let epoch = log.window().epoch();
    append(&log, vec![publication("a")]);
    drop(log);
    let half = temp.path().join("segments/00000000000000000002.seg");
    std::fs::write(&half, b"PREGON").unwrap();
    let log = open(temp.path());
    assert_eq!((log.window().epoch(), log.window().head()), (epoch, 1));
    assert_eq!(append(&log, vec![publication("a")]), [2]);
}

#[test]
fn a_header_that_is_damaged_does_not_take_its_entries_with_it() {
    let temp = tempfile::tempdir().unwrap();
    let log = open(temp.path());
    append(&log, vec![publication("a")]);
    drop(log);
    let path = segment_files(temp.path()).pop().unwrap();
    let whole = std::fs::read(&path).unwrap();
    for byte in 0..20 {
        let mut bytes = whole.clone();
        bytes[byte] ^= 0x80;
        std::fs::write(&path, &bytes).unwrap();
        let opened = try_open(temp.path(), keeping());
        assert!(opened.is_err(), "byte {byte}");
        assert_eq!(std::fs::read(&path).unwrap(), bytes, "it is left for a repair");
    }
}

#[test]
fn a_summary_that_is_missing_or_damaged_is_made_again() {
    let temp = tempfile::tempdir().unwrap();
    let log = open_with(temp.path(), long());
    fill(&log, "a", 100);
    log.close();
    drop(log);
    let files = segment_files(temp.path());
    std::fs::remove_file(files[0].with_extension("idx")).unwrap();
    std::fs::write(files[1].with_extension("idx"), b"PREGONIX nonsense").unwrap();
    let log = open_with(temp.path(), long());
    assert!(files[0].with_extension("idx").exists());
    let all = reading::read_all(&log, "a", 0);
    assert_eq!(all, (1..=100).collect::<Vec<u64>>());
}

#[derive(Debug, Clone)]
struct Batch {
    sizes: Vec<usize>,
    taken: bool,
}

fn batches() -> impl Strategy<Value = Vec<Batch>> {
    let batch = (proptest::collection::vec(0_usize..400, 1..5), any::<bool>())
        .prop_map(|(sizes, taken)| Batch { sizes, taken });
    proptest::collection::vec(batch, 1..20)
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(48))]

    /// Whatever a crash leaves of the newest file: whole batches from the beginning, at their offsets, with the place of the last.
    #[test]
    fn a_file_cut_anywhere_holds_the_whole_batches_before_the_cut(script in batches(), cut in 0.0_f64..1.0, garbage: bool) {
        let temp = tempfile::tempdir().unwrap();
        let log = open(temp.path());
        let epoch = log.window().epoch();
        let (mut ends, mut total, mut places) = (vec![0], 0, vec![None]);
        for (number, batch) in script.iter().enumerate() {
            let items: Vec<Append> = batch.sizes.iter().map(|size| {
                total += 1;
                Append::Publication(said("a", &format!("[{total},\"{}\"]", "x".repeat(*size))))
            }).collect();
            if batch.taken {
                take(&log, items, number as u64 + 1);
                places.push(Some(number as u64 + 1));
            } else {
                append(&log, items);
                places.push(*places.last().unwrap());
            }
            ends.push(total);
        }
        drop(log);
        let path = segment_files(temp.path()).pop().unwrap();
        let mut bytes = std::fs::read(&path).unwrap();
        let len = bytes.len();
        bytes.truncate((len as f64 * cut) as usize);
        if garbage {
            // What a write that failed half-way may have left.
            bytes.extend(std::iter::repeat_n(0xa5, 37));
        }
        std::fs::write(&path, bytes).unwrap();
        let log = try_open(temp.path(), keeping());
        // A header that is garbage is damage (or, where the garbage begins in the number of the version, one that nobody knows); a
        // shorter one is a file that was being made.
        let log = match log {
            Err(OpenError::Damaged { .. } | OpenError::Version { .. }) if garbage && cut < 0.1 => return Ok(()),
            log => log.unwrap(),
        };
        let found = offsets_in_window(&log);
        let count = found.len() as u64;
        let at = ends.iter().position(|end| *end == count);
        prop_assert!(at.is_some(), "{count} entries are no whole batches of {ends:?}");
        prop_assert_eq!(&found, &(1..=count).collect::<Vec<u64>>());
        for (place, entry) in entries(&log).iter().enumerate() {
            let begins = format!("[{},", place + 1);
            prop_assert!(data(entry).starts_with(&begins), "not {}", begins);
        }
        prop_assert_eq!(log.taken("outbox").map(|taken| taken.upto.0), places[at.unwrap()]);
        prop_assert_eq!(log.window().epoch(), epoch);
        prop_assert_eq!(append(&log, vec![publication("a")]), [count + 1]);
    }
}
