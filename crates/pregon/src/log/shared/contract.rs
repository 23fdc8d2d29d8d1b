//! What every engine must do, as one suite; and that each of ours does.
#![allow(clippy::unwrap_used, clippy::indexing_slicing, clippy::panic)]

use std::sync::Arc;
use std::time::{Duration, SystemTime};

use pregon_capture::connect::Settings;
use pregon_capture::frames::Frames;
use pregon_capture::install::{self, Target};
use pregon_testkit::{Database, postgres};

use super::PostgresEngine;
use super::engine::*;
use super::local::LocalEngine;
use crate::log::position::Epoch;

/// A frame that no source appends.
pub(super) fn publish(id: &str, body: &str) -> Fresh {
    Fresh {
        id: id.into(),
        body: body.to_owned().into(),
        lane: None,
    }
}

/// A frame of the source `s`.
fn of_source(id: &str, behind: Seq, place: &str) -> Fresh {
    Fresh {
        lane: Some(Lane {
            source: "s".into(),
            behind,
            place: place.to_owned().into(),
        }),
        ..publish(id, "row")
    }
}

async fn epoch(engine: &dyn Engine) -> Epoch {
    engine.reader().await.unwrap().bounds().await.unwrap().epoch
}

/// Runs the whole suite; `make` gives a fresh, empty engine.
async fn check<F: Future<Output = Arc<dyn Engine>>>(make: impl Fn() -> F) {
    numbers_follow_one_another(&*make().await).await;
    a_retry_is_appended_once(&*make().await).await;
    a_source_is_fenced(&*make().await).await;
    concurrent_frames_leave_no_hole(make().await).await;
    what_is_old_or_too_much_is_removed(&*make().await).await;
    lost_history_is_another_epoch_once(&*make().await).await;
    news_wake_whoever_waits(make().await).await;
}

async fn numbers_follow_one_another(engine: &dyn Engine) {
    let reader = engine.reader().await.unwrap();
    let empty = reader.bounds().await.unwrap();
    assert_eq!((empty.began, empty.first, empty.last), (0, 1, 0));
    assert_eq!(reader.read(0, 1 << 20).await.unwrap(), []);
    for n in 1..=5 {
        let frame = publish(&format!("n{n}"), &"x".repeat(100));
        assert_eq!(
            engine.append(empty.epoch, &frame).await.unwrap(),
            Appended::Now(n)
        );
    }
    let bounds = reader.bounds().await.unwrap();
    assert_eq!((bounds.epoch, bounds.first, bounds.last), (empty.epoch, 1, 5));
    let read = reader.read(2, 1 << 20).await.unwrap();
    assert_eq!(read.iter().map(|frame| frame.seq).collect::<Vec<_>>(), [3, 4, 5]);
    assert_eq!((read[0].id.as_str(), read[0].body.len()), ("n3", 100));
    assert!(read[0].at.elapsed().unwrap_or_default() < Duration::from_secs(60));
    assert_eq!(reader.read(0, 250).await.unwrap().len(), 2);
    assert_eq!(reader.read(0, 1).await.unwrap().len(), 1, "one at least");
    assert!(
        (2..=3).contains(&reader.recent(250).await.unwrap()),
        "about so many"
    );
    assert_eq!(reader.recent(1 << 20).await.unwrap(), 0);
    assert_eq!(reader.id_of(4).await.unwrap().as_deref(), Some("n4"));
    assert_eq!(reader.id_of(6).await.unwrap(), None);
}

async fn a_retry_is_appended_once(engine: &dyn Engine) {
    let epoch = epoch(engine).await;
    let first = publish("a", "1");
    assert_eq!(engine.append(epoch, &first).await.unwrap(), Appended::Now(1));
    assert_eq!(
        engine.append(epoch, &publish("b", "2")).await.unwrap(),
        Appended::Now(2)
    );
    assert_eq!(engine.append(epoch, &first).await.unwrap(), Appended::Before(1));
    let read = engine.reader().await.unwrap().read(0, 1 << 20).await.unwrap();
    assert_eq!(read.len(), 2);
}

async fn a_source_is_fenced(engine: &dyn Engine) {
    let epoch = epoch(engine).await;
    assert_eq!(engine.last_of("s").await.unwrap(), None);
    let one = of_source("a1", 0, "one");
    assert_eq!(engine.append(epoch, &one).await.unwrap(), Appended::Now(1));
    assert_eq!(
        engine.append(epoch, &publish("p", "")).await.unwrap(),
        Appended::Now(2)
    );
    let two = of_source("a2", 1, "two");
    assert_eq!(engine.append(epoch, &two).await.unwrap(), Appended::Now(3));
    // A retry, though the source has moved on.
    assert_eq!(engine.append(epoch, &one).await.unwrap(), Appended::Before(1));
    for late in [
        of_source("b1", 0, "late"),
        of_source("b2", 1, "late"),
        of_source("b3", 2, "late"),
    ] {
        let refused = engine.append(epoch, &late).await;
        assert!(matches!(refused, Err(EngineError::Fenced)), "{refused:?}");
    }
    let last = engine.last_of("s").await.unwrap().unwrap();
    assert_eq!((last.seq, last.place.as_slice()), (3, &b"two"[..]));
    // A refused frame does not use up its id, or a number.
    assert_eq!(
        engine.append(epoch, &of_source("b1", 3, "three")).await.unwrap(),
        Appended::Now(4)
    );
}

async fn concurrent_frames_leave_no_hole(engine: Arc<dyn Engine>) {
    let epoch = epoch(&*engine).await;
    let tasks: Vec<_> = (0..4)
        .map(|task| {
            let engine = Arc::clone(&engine);
            tokio::spawn(async move {
                for n in 0..25 {
                    // Every frame is given by two.
                    let frame = publish(&format!("{}-{n}", task / 2), "x");
                    // The other one may be about to commit the same: asked again, it is there.
                    while engine.append(epoch, &frame).await.is_err() {}
                }
            })
        })
        .collect();
    for task in tasks {
        task.await.unwrap();
    }
    let read = engine.reader().await.unwrap().read(0, 1 << 20).await.unwrap();
    let numbers: Vec<Seq> = read.iter().map(|frame| frame.seq).collect();
    assert_eq!(numbers, (1..=50).collect::<Vec<Seq>>());
}

async fn what_is_old_or_too_much_is_removed(engine: &dyn Engine) {
    let epoch = epoch(engine).await;
    for n in 1..=10 {
        engine
            .append(epoch, &publish(&format!("n{n}"), &"x".repeat(100)))
            .await
            .unwrap();
    }
    engine.append(epoch, &of_source("s1", 0, "place")).await.unwrap();
    let reader = engine.reader().await.unwrap();
    engine.prune(SystemTime::UNIX_EPOCH, 550).await.unwrap();
    let bounds = reader.bounds().await.unwrap();
    assert!(
        (5..=6).contains(&bounds.first),
        "about so many bytes stay: {bounds:?}"
    );
    assert_eq!(bounds.last, 11);
    assert_eq!(reader.read(0, 1 << 20).await.unwrap()[0].seq, bounds.first);
    let later = SystemTime::now() + Duration::from_secs(3600);
    engine.prune(later, u64::from(u32::MAX)).await.unwrap();
    let bounds = reader.bounds().await.unwrap();
    assert_eq!((bounds.first, bounds.last), (11, 11), "the newest stays");
    assert_eq!(
        engine.append(epoch, &publish("next", "")).await.unwrap(),
        Appended::Now(12)
    );
    engine.prune(later, 0).await.unwrap();
    assert_eq!(
        engine.last_of("s").await.unwrap().unwrap().seq,
        11,
        "the place outlives its frame"
    );
}

async fn lost_history_is_another_epoch_once(engine: &dyn Engine) {
    let before = epoch(engine).await;
    engine.append(before, &publish("a", "1")).await.unwrap();
    engine.renew(before, 40).await.unwrap();
    // Another node has seen the same loss.
    engine.renew(before, 50).await.unwrap();
    let reader = engine.reader().await.unwrap();
    let bounds = reader.bounds().await.unwrap();
    assert_ne!(bounds.epoch, before);
    assert!(bounds.began > 50, "behind whatever was given: {bounds:?}");
    assert_eq!((bounds.first, bounds.last), (bounds.began + 1, bounds.began));
    let refused = engine.append(before, &publish("b", "2")).await;
    assert!(matches!(refused, Err(EngineError::History)), "{refused:?}");
    let appended = engine.append(bounds.epoch, &publish("b", "2")).await.unwrap();
    assert_eq!(appended, Appended::Now(bounds.began + 1));
    assert_eq!(reader.recent(1 << 20).await.unwrap(), bounds.began);
}

async fn news_wake_whoever_waits(engine: Arc<dyn Engine>) {
    let epoch = epoch(&*engine).await;
    let reader = engine.reader().await.unwrap();
    let waiting = tokio::spawn(async move {
        while reader.read(0, 1).await.unwrap().is_empty() {
            reader.news().await;
        }
    });
    tokio::task::yield_now().await;
    engine.append(epoch, &publish("a", "1")).await.unwrap();
    let woken = async {
        while !waiting.is_finished() {
            // What came before it waited tells nothing.
            let id = format!("again {}", rand::random::<u64>());
            engine.append(epoch, &publish(&id, "")).await.unwrap();
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    };
    tokio::time::timeout(Duration::from_secs(10), woken)
        .await
        .unwrap();
}

/// A database with a log, and engines over it.
pub(super) struct Server {
    pub(super) database: Database<'static>,
}

impl Server {
    pub(super) async fn new() -> Self {
        let database = Database::create(postgres::shared().await).await.unwrap();
        let session = Settings::parse(&database.url()).unwrap().open().await.unwrap();
        let target = Target {
            log: true,
            ..Target::default()
        };
        let plan = install::plan(&session, &target).await.unwrap();
        install::apply(&session, &plan, &mut |_| {}).await.unwrap();
        Self { database }
    }

    pub(super) fn engine(&self, log: &str) -> Arc<dyn Engine> {
        let settings = Settings::parse(&self.database.url()).unwrap();
        Arc::new(PostgresEngine::new(Frames::new(&settings, "test", log)))
    }
}

#[tokio::test]
async fn the_engine_of_tests_keeps_the_contract() {
    check(|| async { Arc::new(LocalEngine::default()) as Arc<dyn Engine> }).await;
}

#[tokio::test]
async fn postgresql_keeps_the_contract() {
    let server = Server::new().await;
    let count = std::sync::atomic::AtomicU32::new(0);
    check(|| async {
        // Logs of one database know nothing of each other.
        let number = count.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
        server.engine(&format!("log {number}"))
    })
    .await;
}
