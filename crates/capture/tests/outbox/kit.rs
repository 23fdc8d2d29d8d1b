//! A database with watches in the outbox, and a gateway's reader beside it that collects what comes.

use std::collections::HashSet;
use std::sync::Arc;
use std::time::Duration;

use pregon_capture::change::Op;
use pregon_capture::connect::Settings;
use pregon_capture::install::{self, Mode, Target, WatchSpec};
use pregon_capture::outbox::{self, Batch, Begun, Item, OutboxError, OutboxOptions, Place, Report};
use pregon_testkit::postgres::{Database, shared};
use tokio::sync::{mpsc, watch};
use tokio::task::JoinHandle;
use tokio_postgres::Client;
use tokio_util::sync::CancellationToken;

pub(crate) const SOON: Duration = Duration::from_secs(20);
pub(crate) const ALL: [Op; 4] = [Op::Insert, Op::Update, Op::Delete, Op::Truncate];

pub(crate) fn watch_of(name: &str, table: &str, operations: &[Op]) -> WatchSpec {
    WatchSpec {
        operations: operations.to_vec(),
        ..WatchSpec::new(name, "public", table)
    }
}

pub(crate) fn target(watches: Vec<WatchSpec>) -> Target {
    Target {
        watches,
        mode: Mode::Outbox,
        ..Target::default()
    }
}

pub(crate) async fn install(client: &Client, target: &Target) {
    let plan = install::plan(client, target).await.unwrap();
    install::apply(client, &plan, &mut |_| {}).await.unwrap();
}

/// A database with its watches installed.
pub(crate) async fn database(schema: &str, watches: Vec<WatchSpec>) -> (Database<'static>, Client) {
    let database = Database::create(shared().await).await.unwrap();
    let admin = database.client().await.unwrap();
    admin.batch_execute(schema).await.unwrap();
    install(&admin, &target(watches)).await;
    (database, admin)
}

pub(crate) fn options(url: &str, watches: &[&str]) -> OutboxOptions {
    OutboxOptions {
        settings: Settings::parse(url).unwrap(),
        watches: watches
            .iter()
            .map(|name| Arc::from(*name))
            .collect::<HashSet<_>>(),
        retention: Duration::from_secs(600),
        kept: 256 << 20,
        most: 1 << 30,
        durable: false,
        doorbell: true,
        node: "test".into(),
    }
}

/// A session that reads until it is dropped or stopped.
pub(crate) struct Session {
    pub(crate) begun: Begun,
    pub(crate) report: watch::Receiver<Report>,
    batches: mpsc::Receiver<Batch>,
    logged: watch::Sender<u64>,
    stop: CancellationToken,
    task: JoinHandle<Result<(), OutboxError>>,
    /// Items that came and were not asked for yet.
    held: std::collections::VecDeque<(u64, Item)>,
    at: u64,
}

impl Session {
    pub(crate) async fn start(options: OutboxOptions, known: Option<Place>) -> Self {
        let (mut reader, mut clerk) = outbox::attach(Arc::new(options), &|| {}).await.unwrap();
        let begun = reader.begin(known, None).await.unwrap();
        let (out, batches) = mpsc::channel(4);
        let (logged, in_log) = watch::channel(begun.place.upto);
        let (stop, report) = (CancellationToken::new(), reader.report());
        let stopped = stop.clone();
        let task = tokio::spawn(async move {
            let last = in_log.clone();
            let result = tokio::select! {
                result = reader.run(out, stopped.clone()) => result,
                result = clerk.run(in_log, CancellationToken::new()) => result,
            };
            result?;
            let place = *last.borrow();
            clerk.save(place).await
        });
        Self {
            begun,
            report,
            batches,
            logged,
            stop,
            task,
            held: std::collections::VecDeque::new(),
            at: begun.place.at,
        }
    }

    /// A session that has read so many rows, which `writer` inserts into the table `t` at once.
    pub(crate) async fn that_has_read(writer: &Client, options: OutboxOptions, count: u32) -> Self {
        let mut session = Self::start(options, None).await;
        writer
            .batch_execute(&format!(
                "INSERT INTO t (body) SELECT 'x' FROM generate_series(1, {count})"
            ))
            .await
            .unwrap();
        for _ in 0..count {
            session.next().await;
        }
        session
    }

    /// The next item; everything that came before it counts as logged.
    pub(crate) async fn next(&mut self) -> (u64, Item) {
        let next = self.next_or_end().await;
        next.unwrap_or_else(|error| panic!("the session ended: {error:?}"))
    }

    /// The same, or how the session ended.
    pub(crate) async fn next_or_end(&mut self) -> Result<(u64, Item), OutboxError> {
        loop {
            if let Some(item) = self.held.pop_front() {
                return Ok(item);
            }
            let batch = tokio::time::timeout(SOON, self.batches.recv()).await;
            let Some(batch) = batch.expect("a batch in time") else {
                return Err((&mut self.task).await.unwrap().unwrap_err());
            };
            self.held.extend(batch.items);
            self.at = batch.at;
            self.logged.send_replace(batch.upto);
        }
    }

    /// Operation and row of the next change.
    pub(crate) async fn change(&mut self) -> (&'static str, String) {
        match self.next().await.1 {
            Item::Change(change) => {
                let row = change.row.or(change.old).unwrap_or_default();
                (change.op.as_str(), String::from_utf8(row.to_vec()).unwrap())
            }
            other => panic!("no change: {other:?}"),
        }
    }

    /// The place up to which everything was taken.
    pub(crate) fn place(&self) -> Place {
        Place {
            upto: *self.logged.borrow(),
            at: self.at,
            ..self.begun.place
        }
    }

    /// Ends in order.
    pub(crate) async fn stop(self) {
        self.stop.cancel();
        let ended = tokio::time::timeout(SOON, self.task).await.unwrap();
        ended.unwrap().unwrap();
    }

    /// How the session ended.
    pub(crate) async fn ended(self) -> OutboxError {
        let ended = tokio::time::timeout(SOON, self.task).await.unwrap();
        ended.unwrap().unwrap_err()
    }

    /// Ends as a kill would: without saving anything.
    pub(crate) fn kill(self) {
        self.task.abort();
    }

    /// Waits until the report says so.
    pub(crate) async fn reported(&mut self, holds: impl FnMut(&Report) -> bool) -> Report {
        let report = tokio::time::timeout(SOON, self.report.wait_for(holds)).await;
        report.unwrap().unwrap().clone()
    }
}
