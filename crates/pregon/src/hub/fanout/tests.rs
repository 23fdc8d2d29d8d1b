//! Fan-out as a part: connections without sockets, subscriptions, and no thread.

use std::time::SystemTime;

use tokio::sync::oneshot;

use super::*;
use crate::event::{Data, Publication};
use crate::hub::conn::tests::{client, idle_client};
use crate::hub::link::Polled;
use crate::hub::subscriptions::Subscriptions;
use crate::log::Epoch;

/// Connections, their subscriptions, and a fan-out to them; no thread, no socket.
struct Stage {
    conns: Connections,
    subscriptions: Subscriptions,
    encoder: Encoder,
    fanout: Fanout,
}

impl Stage {
    fn new() -> Self {
        Self {
            conns: Connections::default(),
            subscriptions: Subscriptions::default(),
            encoder: Encoder::new(vec![String::from("/")], false),
            fanout: Fanout::new(0, 0),
        }
    }

    fn follow(&mut self, key: Key, channels: &[&str]) {
        let conn = self.conns.get_mut(key).expect("the client is connected");
        for &channel in channels {
            self.subscriptions.begin(conn, 0, &Arc::from(channel), 0);
        }
    }

    fn deliver(&mut self, entries: Vec<Entry>) -> Delivered {
        let upto = entries.last().map_or(0, |entry| entry.offset);
        self.fanout.batch.clear();
        self.fanout
            .batch
            .entries
            .extend(entries.into_iter().map(Arc::new));
        let mut audience = Audience {
            conns: &mut self.conns,
            channels: &mut self.subscriptions.channels,
            encoder: &mut self.encoder,
            queue: 100,
        };
        let sending = Sending {
            upto,
            passing: None,
            epoch: Epoch(1),
            now: 0,
        };
        self.fanout.deliver(&mut audience, sending)
    }
}

fn entry(offset: u64, channels: &[&str], except: &[&str]) -> Entry {
    let names = channels.iter().map(|&name| Arc::from(name));
    let data = Data::Json(offset.to_string().into());
    let mut publication = Publication::new(names, "said", data);
    publication.at = SystemTime::UNIX_EPOCH;
    publication.except = except.iter().map(|&name| Arc::from(name)).collect();
    Entry::publication(offset, Epoch::random(), publication)
}

/// The data of the events that a client was given.
fn given(mut answer: oneshot::Receiver<Polled>) -> Vec<u64> {
    let Ok(Ok(body)) = answer.try_recv() else {
        return Vec::new();
    };
    let lines = body.split(|&byte| byte == b'\n').filter(|line| !line.is_empty());
    lines
        .map(|line| serde_json::from_slice::<serde_json::Value>(line).expect("a line is JSON"))
        .map(|event| {
            event
                .get("data")
                .and_then(serde_json::Value::as_u64)
                .expect("the data is the offset")
        })
        .collect()
}

#[test]
fn a_batch_of_one_channel_reaches_its_followers_and_nobody_else() {
    let mut stage = Stage::new();
    let (ana, to_ana) = client(&mut stage.conns);
    let (ben, to_ben) = client(&mut stage.conns);
    stage.follow(ana, &["a"]);
    stage.follow(ben, &["b"]);

    let delivered = stage.deliver(vec![entry(1, &["a"], &[]), entry(2, &["a"], &[])]);

    assert_eq!(delivered.deliveries, 2);
    assert_eq!(given(to_ana), [1, 2]);
    assert_eq!(given(to_ben), [0; 0]);
}

#[test]
fn who_follows_several_channels_gets_each_entry_once_and_in_log_order() {
    let mut stage = Stage::new();
    let (ana, to_ana) = client(&mut stage.conns);
    stage.follow(ana, &["b", "a"]);

    stage.deliver(vec![
        entry(1, &["a"], &[]),
        entry(2, &["b", "a"], &[]),
        entry(3, &["b"], &[]),
    ]);

    assert_eq!(given(to_ana), [1, 2, 3]);
}

#[test]
fn an_excepted_follower_gets_the_rest_of_the_batch() {
    let mut stage = Stage::new();
    let (ana, to_ana) = client(&mut stage.conns);
    stage.follow(ana, &["a", "own"]);

    stage.deliver(vec![entry(1, &["a"], &["own"]), entry(2, &["a"], &[])]);

    assert_eq!(given(to_ana), [2]);
}

#[test]
fn a_client_that_takes_nothing_holds_a_cursor_and_fails_beyond_its_queue() {
    let mut stage = Stage::new();
    let slow = idle_client(&mut stage.conns);
    stage.follow(slow, &["a"]);

    stage.deliver(vec![entry(1, &["a"], &[])]);
    assert_eq!(stage.fanout.failed, []);
    let backlog = stage.conns.get(slow).and_then(|conn| conn.backlog.as_ref());
    assert_eq!(backlog.map(|backlog| backlog.cursor), Some(1));

    // The queue of the stage takes less than these.
    stage.deliver(vec![entry(2, &["a"], &[]), entry(3, &["a"], &[])]);
    assert_eq!(stage.fanout.failed, [(slow, Slowness::Slow)]);
}

#[test]
fn the_last_follower_takes_the_place_of_one_that_leaves() {
    let mut stage = Stage::new();
    let (ana, to_ana) = client(&mut stage.conns);
    let (ben, to_ben) = client(&mut stage.conns);
    stage.follow(ana, &["a"]);
    stage.follow(ben, &["a"]);

    let ended = stage.subscriptions.end(&mut stage.conns, ana, "a");
    assert!(ended.is_some());
    assert_eq!(stage.subscriptions.end(&mut stage.conns, ana, "a"), None);
    stage.deliver(vec![entry(1, &["a"], &[])]);
    assert_eq!((given(to_ana), given(to_ben)), (vec![], vec![1]));

    assert!(stage.subscriptions.end(&mut stage.conns, ben, "a").is_some());
    assert_eq!(stage.subscriptions.channels.find("a"), None);
}
