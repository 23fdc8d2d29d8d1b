//! The shared log over an engine, with two nodes.
#![allow(clippy::unwrap_used, clippy::indexing_slicing, clippy::panic)]

use std::sync::Arc;
use std::time::Duration;

use super::contract::Server;
use super::engine::Engine;
use super::local::LocalEngine;
use super::{Options, SharedLog};
use crate::event::{Data, EventId, Publication};
use crate::log::window::{Follow, Most, Retention, Start, Tail};
use crate::log::{Append, Body, Log, LogError, Open, Past, Position, Since, Taken};

struct Nothing;

impl Open for Nothing {
    fn open(&self, _: &mut Publication) {}
}

fn options(node: &str) -> Options {
    Options {
        window: Retention {
            bytes: 1 << 20,
            age: Duration::from_secs(3600),
        },
        size: 1 << 30,
        incarnation: format!("{node}-{:08x}", rand::random::<u32>()),
        up: Box::new(|_| {}),
    }
}

async fn node(engine: &Arc<dyn Engine>, name: &str) -> SharedLog {
    SharedLog::open(Arc::clone(engine), Arc::new(Nothing), options(name))
        .await
        .unwrap()
}

fn item(data: &str, id: Option<&str>) -> Append {
    Append::Publication(Publication {
        id: id.map_or_else(EventId::unique, EventId::named),
        ..Publication::new([Arc::from("c")], "e", Data::Json(data.to_owned().into()))
    })
}

fn place(upto: u64) -> Taken {
    Taken {
        source: "outbox".into(),
        epoch: 1,
        upto: (upto, 0),
    }
}

async fn append(log: &SharedLog, data: &str) -> Position {
    log.append(vec![item(data, None)], None).wait().await.unwrap()[0]
}

/// Everything in a node's window: offsets and payloads.
fn all(log: &SharedLog) -> Vec<(u64, String)> {
    let mut out = Vec::new();
    let window = log.window();
    assert_eq!(
        window.after(window.oldest() - 1, usize::MAX, usize::MAX, &mut out),
        Tail::Complete
    );
    let shown = |entry: &Arc<crate::log::Entry>| match &entry.body {
        Body::Publication { data, .. } => (entry.offset, String::from_utf8_lossy(data.raw()).into_owned()),
        _ => (entry.offset, "gap".to_owned()),
    };
    out.iter().map(shown).collect()
}

/// Waits until a node has an entry.
async fn reach(log: &SharedLog, position: Position) {
    for _ in 0..10 {
        log.window().reach(position).await;
    }
    assert!(!log.window().is_ahead(position), "{position} has not come");
}

async fn eventually(what: &str, holds: impl Fn() -> bool) {
    for _ in 0..1000 {
        if holds() {
            return;
        }
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    panic!("never: {what}");
}

/// Engines with which the log is tried.
async fn engines() -> Vec<(Arc<dyn Engine>, Option<Server>)> {
    let server = Server::new().await;
    vec![
        (Arc::new(LocalEngine::default()), None),
        (server.engine("tests"), Some(server)),
    ]
}

#[tokio::test(flavor = "multi_thread")]
async fn all_nodes_have_the_same_in_the_same_order() {
    for (engine, _server) in engines().await {
        let (a, b) = (node(&engine, "a").await, node(&engine, "b").await);
        let (mut last, count) = (None, 50);
        for n in 0..count {
            last = Some(append(if n % 2 == 0 { &a } else { &b }, &n.to_string()).await);
        }
        let last = last.unwrap();
        reach(&a, last).await;
        reach(&b, last).await;
        assert_eq!(all(&a), all(&b));
        let payloads: Vec<String> = all(&a).into_iter().map(|(_, data)| data).collect();
        assert_eq!(payloads, (0..count).map(|n| n.to_string()).collect::<Vec<_>>());
        // A node that comes later has the same, and gives it the same positions.
        let c = node(&engine, "c").await;
        assert_eq!(all(&c), all(&a));
        assert_eq!(
            c.window().start("c", Since::Position(last)),
            Start::After(last.offset)
        );
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn an_identity_is_appended_once_on_whatever_node() {
    for (engine, _server) in engines().await {
        let (a, b) = (node(&engine, "a").await, node(&engine, "b").await);
        let batch = || {
            vec![
                item("1", Some("k/0")),
                item("2", Some("k/1")),
                item("1", Some("k/0")),
            ]
        };
        let (one, other) = tokio::join!(a.append(batch(), None).wait(), b.append(batch(), None).wait());
        let (one, other) = (one.unwrap(), other.unwrap());
        assert_eq!(one, other);
        assert_eq!((one[0], one[2].offset), (one[2], one[0].offset));
        let again = a
            .append(vec![item("2", Some("k/1")), item("3", None)], None)
            .wait()
            .await
            .unwrap();
        assert_eq!(again[0], one[1]);
        assert_eq!(all(&a).len(), 3);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn only_who_leads_a_source_appends_for_it() {
    for (engine, _server) in engines().await {
        let (a, b) = (node(&engine, "a").await, node(&engine, "b").await);
        assert_eq!(a.lead("outbox").await.unwrap(), None);
        a.append(vec![item("1", None)], Some(place(1)))
            .wait()
            .await
            .unwrap();
        let repeated = a.append(vec![item("1", None)], Some(place(1))).wait().await;
        assert!(matches!(repeated, Err(LogError::Repeated { .. })), "{repeated:?}");
        assert_eq!(b.lead("outbox").await.unwrap(), Some(place(1)));
        b.append(vec![item("2", None)], Some(place(2)))
            .wait()
            .await
            .unwrap();
        // Frozen meanwhile, it wakes up and goes on where it was.
        for upto in [2, 3] {
            let fenced = a.append(vec![item("2", None)], Some(place(upto))).wait().await;
            assert!(matches!(fenced, Err(LogError::Fenced { .. })), "{fenced:?}");
        }
        let last = b.append(Vec::new(), Some(place(5))).wait().await;
        assert!(last.unwrap().is_empty());
        assert_eq!(a.lead("outbox").await.unwrap(), Some(place(5)));
        let last = a
            .append(vec![item("6", None)], Some(place(6)))
            .wait()
            .await
            .unwrap()[0];
        reach(&b, last).await;
        let payloads: Vec<String> = all(&b).into_iter().map(|(_, data)| data).collect();
        assert_eq!(payloads, ["1", "2", "6"]);
    }
}

/// The engine takes what it is given and does not answer; what was given comes once.
#[tokio::test(flavor = "multi_thread")]
async fn an_engine_that_is_away_loses_and_repeats_nothing() {
    let engine = LocalEngine::default();
    let shared = Arc::new(engine.clone()) as Arc<dyn Engine>;
    let (a, b) = (node(&shared, "a").await, node(&shared, "b").await);
    append(&a, "0").await;
    engine.set_away(true);
    let receipts: Vec<_> = (1..=20)
        .map(|n| a.append(vec![item(&n.to_string(), None)], None))
        .collect();
    tokio::time::sleep(Duration::from_millis(100)).await;
    engine.set_away(false);
    let mut last = None;
    for receipt in receipts {
        last = receipt.wait().await.unwrap().first().copied();
    }
    reach(&b, last.unwrap()).await;
    let payloads: Vec<String> = all(&b).into_iter().map(|(_, data)| data).collect();
    assert_eq!(payloads, (0..=20).map(|n| n.to_string()).collect::<Vec<_>>());
    assert_eq!(all(&a), all(&b));
}

#[tokio::test(flavor = "multi_thread")]
async fn lost_history_is_proven_by_the_nodes_and_told_once() {
    type Lose = fn(&LocalEngine, super::local::Copy);
    let restored: Lose = |engine, old| engine.restore(old);
    let recreated: Lose = |engine, _| engine.recreate();
    for lose in [restored, recreated] {
        let engine = LocalEngine::default();
        let shared = Arc::new(engine.clone()) as Arc<dyn Engine>;
        let (a, b) = (node(&shared, "a").await, node(&shared, "b").await);
        append(&a, "1").await;
        let old = engine.copy();
        let lost = append(&a, "2").await;
        reach(&b, lost).await;
        lose(&engine, old);
        let renewed = || a.window().epoch() == b.window().epoch() && a.window().epoch() != lost.epoch;
        eventually("both nodes are in one new epoch", renewed).await;
        let next = append(&b, "3").await;
        assert!(next.offset > lost.offset, "no number is given twice");
        reach(&a, next).await;
        assert_eq!(a.window().start("c", Since::Position(lost)), Start::Foreign);
        let seen = |log: &SharedLog| all(log).into_iter().map(|(_, data)| data).collect::<Vec<_>>();
        assert_eq!((seen(&a), seen(&b)), (vec!["3".to_owned()], vec!["3".to_owned()]));
        assert_eq!(next.epoch, a.window().epoch(), "it stays");
    }
}

/// Whatever the pieces: all of a channel that is kept is found, each once, and what was removed is never left out silently.
#[tokio::test(flavor = "multi_thread")]
async fn what_is_beyond_the_window_is_read_from_the_engine() {
    for (engine, _server) in engines().await {
        let small = Options {
            window: Retention {
                bytes: 2_000,
                ..options("a").window
            },
            ..options("a")
        };
        let log = SharedLog::open(Arc::clone(&engine), Arc::new(Nothing), small)
            .await
            .unwrap();
        let mut offsets = Vec::new();
        for from in 0..20 {
            let batch = (0..5).map(|n| item(&(from * 5 + n).to_string(), None)).collect();
            let positions = log.append(batch, None).wait().await.unwrap();
            offsets.extend(positions.into_iter().map(|position| position.offset));
        }
        let past = Past::of(&log);
        let found = |after: u64, entries: usize| {
            let (past, upto) = (Arc::clone(&past), log.window().head());
            tokio::task::spawn_blocking(move || {
                let follows = [Follow { channel: "c", after }];
                let most = Most {
                    entries,
                    bytes: usize::MAX,
                };
                let (mut all, mut from) = (Vec::new(), after);
                loop {
                    let piece = past.read(&follows, from, upto, most)?;
                    all.extend(piece.entries.iter().map(|entry| entry.offset));
                    if piece.complete {
                        return Some(all);
                    }
                    assert!(piece.reached > from, "{} {from}", piece.reached);
                    from = piece.reached;
                }
            })
        };
        for (begin, entries) in [(0, 1000), (0, 7), (13, 1), (62, 3), (99, 5)] {
            let all = found(offsets[begin], entries).await.unwrap();
            assert_eq!(all.unwrap(), offsets[begin + 1..], "{begin} {entries}");
        }
        assert_eq!(
            past.start("c", Since::Position(log.window().position(offsets[2]))),
            Start::After(offsets[2])
        );
        let later = std::time::SystemTime::now() + Duration::from_secs(3600);
        engine.prune(later, u64::MAX >> 2).await.unwrap();
        assert_eq!(found(offsets[2], 1000).await.unwrap(), None);
        eventually("what was removed is known", || {
            past.start("c", Since::Position(log.window().position(offsets[2]))) == Start::Pruned
        })
        .await;
    }
}

/// A dump that was restored elsewhere: nobody knows what the original has got since, and no node has a copy that could tell.
#[tokio::test(flavor = "multi_thread")]
async fn a_copy_of_the_database_is_another_history() {
    let server = Server::new().await;
    let engine = server.engine("tests");
    let before = append(&node(&engine, "a").await, "1").await;
    let moved = "UPDATE pregon.log SET home = 'where the dump was made'";
    server.database.execute(moved).await.unwrap();
    let engine = server.engine("tests");
    let log = node(&engine, "b").await;
    assert_ne!(log.window().epoch(), before.epoch);
    let after = append(&log, "2").await;
    assert!(after.offset > before.offset);
    assert_eq!(
        append(&node(&server.engine("tests"), "c").await, "3").await.epoch,
        after.epoch,
        "once"
    );
}

#[tokio::test]
async fn a_position_of_a_faster_node_is_waited_for_and_one_of_nobody_is_not_known() {
    let engine = Arc::new(LocalEngine::default()) as Arc<dyn Engine>;
    let log = node(&engine, "a").await;
    let now = append(&log, "1").await;
    let later = log.window().position(now.offset + 1);
    assert!(log.window().is_ahead(later) && !log.window().is_ahead(now));
    let (window, began) = (Arc::clone(log.window()), tokio::time::Instant::now());
    let waiting = tokio::spawn(async move { window.reach(later).await });
    append(&log, "2").await;
    waiting.await.unwrap();
    assert!(began.elapsed() < Duration::from_millis(900));
    let never = log.window().position(u64::MAX);
    log.window().reach(never).await;
    assert_eq!(log.window().start("c", Since::Position(never)), Start::Foreign);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_was_given_before_the_log_is_closed_is_in_the_engine() {
    for (engine, _server) in engines().await {
        let log = Arc::new(node(&engine, "a").await);
        let receipts: Vec<_> = (0..10)
            .map(|n| log.append(vec![item(&n.to_string(), None)], None))
            .collect();
        let closing = Arc::clone(&log);
        tokio::task::spawn_blocking(move || closing.close())
            .await
            .unwrap();
        drop(receipts);
        assert!(matches!(
            log.append(vec![item("x", None)], None).wait().await,
            Err(LogError::Closed)
        ));
        assert_eq!(all(&node(&engine, "b").await).len(), 10);
    }
}
