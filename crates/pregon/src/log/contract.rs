//! What every log must do, as one suite. `make` gives a fresh, empty log with the retention asked for.
#![allow(clippy::unwrap_used, clippy::indexing_slicing)]

use std::sync::Arc;
use std::time::Duration;

use super::window::{Retention, Tail};
use super::*;
use crate::event::{Data, EventId, Sealed};

type Make<'a> = &'a dyn Fn(Retention) -> Box<dyn Log>;

/// Opens by putting `true` in the place of the payload.
struct Seen;

impl Open for Seen {
    fn open(&self, publication: &mut Publication) {
        publication.sealed = Box::default();
        publication.data = Data::Json("true".into());
    }
}

const PLENTY: Retention = Retention {
    bytes: 1 << 24,
    age: Duration::from_secs(3600),
};

/// Runs the whole suite.
pub fn check(make: impl Fn(Retention, Arc<dyn Open>) -> Box<dyn Log>) {
    let make = |retention| make(retention, Arc::new(Seen));
    numbers_follow_one_another(&make);
    an_identity_is_appended_once(&make);
    an_identity_may_come_again_after_it_was_pruned(&make);
    concurrent_batches_stay_whole(&make);
    every_push_is_told(&make);
    age_prunes(&make);
    sealed_fields_are_opened(&make);
    the_place_of_a_source_is_kept_with_its_batch(&make);
}

fn publication(id: Option<&str>) -> Append {
    Append::Publication(Publication {
        id: id.map_or_else(EventId::unique, EventId::named),
        ..Publication::new([Arc::from("c")], "e", Data::Json("{}".into()))
    })
}

fn sealed_fields_are_opened(make: Make<'_>) {
    let log = make(PLENTY);
    let mut sealed = publication(None);
    if let Append::Publication(publication) = &mut sealed {
        publication.sealed = Box::new([Sealed {
            field: "f".into(),
            with: "s".into(),
            aad: None,
        }]);
    }
    append(&*log, vec![publication(None), sealed]);
    let mut out = Vec::new();
    log.window().after(0, usize::MAX, usize::MAX, &mut out);
    let datas = out.iter().filter_map(|entry| match &entry.body {
        Body::Publication { data, .. } => Some(data.raw().clone()),
        Body::Gap(_) | Body::Member { .. } => None,
    });
    assert_eq!(datas.collect::<Vec<_>>(), ["{}", "true"]);
}

fn the_place_of_a_source_is_kept_with_its_batch(make: Make<'_>) {
    let log = make(PLENTY);
    let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
    let take = |batch, epoch, upto| {
        let taken = Taken {
            source: "outbox".into(),
            epoch,
            upto,
        };
        runtime.block_on(log.append(batch, Some(taken)).wait())
    };
    assert_eq!(log.taken("outbox"), None);
    assert_eq!(take(vec![publication(None)], 1, (5, 0)).unwrap().len(), 1);
    assert!(take(Vec::new(), 1, (5, 1)).unwrap().is_empty());
    let repeated = take(vec![publication(None)], 1, (5, 1));
    assert!(matches!(repeated, Err(LogError::Repeated { .. })), "{repeated:?}");
    assert_eq!(log.window().head(), 1, "nothing of a refused batch is appended");
    assert_eq!(log.taken("outbox").unwrap().upto, (5, 1));
    take(vec![publication(None)], 2, (1, 0)).unwrap();
    assert_eq!(log.taken("outbox").unwrap().epoch, 2);
    assert_eq!(log.taken("slot"), None);
}

fn append(log: &dyn Log, batch: Vec<Append>) -> Vec<u64> {
    let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
    let positions = runtime.block_on(log.append(batch, None).wait()).unwrap();
    positions.into_iter().map(|position| position.offset).collect()
}

fn all(log: &dyn Log) -> Vec<u64> {
    let mut out = Vec::new();
    assert_eq!(
        log.window().after(0, usize::MAX, usize::MAX, &mut out),
        Tail::Complete
    );
    out.iter().map(|entry| entry.offset).collect()
}

fn numbers_follow_one_another(make: Make<'_>) {
    let log = make(PLENTY);
    assert_eq!(append(&*log, vec![publication(None), publication(None)]), [1, 2]);
    assert_eq!(append(&*log, vec![publication(None)]), [3]);
    assert_eq!(all(&*log), [1, 2, 3]);
    assert_eq!(log.window().head(), 3);
}

fn an_identity_is_appended_once(make: Make<'_>) {
    let log = make(PLENTY);
    assert_eq!(
        append(
            &*log,
            vec![
                publication(Some("x")),
                publication(Some("y")),
                publication(Some("x"))
            ]
        ),
        [1, 2, 1]
    );
    assert_eq!(
        append(&*log, vec![publication(Some("y")), publication(Some("z"))]),
        [2, 3]
    );
    assert_eq!(all(&*log), [1, 2, 3]);
}

fn an_identity_may_come_again_after_it_was_pruned(make: Make<'_>) {
    let log = make(Retention { bytes: 1, ..PLENTY });
    assert_eq!(append(&*log, vec![publication(Some("x"))]), [1]);
    assert_eq!(append(&*log, vec![publication(None)]), [2]);
    assert_eq!(append(&*log, vec![publication(Some("x"))]), [3]);
}

fn concurrent_batches_stay_whole(make: Make<'_>) {
    let log = make(PLENTY);
    let log = &*log;
    std::thread::scope(|scope| {
        for _ in 0..4 {
            scope.spawn(move || {
                for _ in 0..100 {
                    let offsets = append(log, vec![publication(None), publication(None), publication(None)]);
                    assert!(
                        offsets[1] == offsets[0] + 1 && offsets[2] == offsets[0] + 2,
                        "{offsets:?}"
                    );
                }
            });
        }
    });
    assert_eq!(all(log), (1..=1200).collect::<Vec<u64>>());
}

fn every_push_is_told(make: Make<'_>) {
    let log = make(PLENTY);
    let told = Arc::new(std::sync::atomic::AtomicU64::new(0));
    let seen = Arc::clone(&told);
    log.window().on_news(move || {
        seen.fetch_add(1, std::sync::atomic::Ordering::SeqCst);
    });
    append(&*log, vec![publication(None)]);
    assert_eq!(told.load(std::sync::atomic::Ordering::SeqCst), 1);
}

fn age_prunes(make: Make<'_>) {
    let log = make(Retention {
        age: Duration::ZERO,
        ..PLENTY
    });
    append(&*log, vec![publication(None)]);
    log.prune().unwrap();
    assert_eq!(log.window().size(), (0, 0));
    assert_eq!(append(&*log, vec![publication(None)]), [2]);
}
