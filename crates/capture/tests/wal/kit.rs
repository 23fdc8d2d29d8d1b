//! A database with a publication and a slot, and a reader that can be killed at any moment.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use pregon_capture::change::Change;
use pregon_capture::connect::Settings;
use pregon_capture::fetch::SEARCH_PATH;
use pregon_capture::install::{self, InstallError, Mode, Plan, Target, WatchSpec};
use pregon_capture::listen::Captured;
use pregon_capture::query::{Pool, PoolOptions};
use pregon_capture::wal::{Finisher, Kept, Known, Reader, Step, WalOptions};
use pregon_testkit::{Database, postgres};
use tokio::sync::{mpsc, watch};
use tokio::task::JoinHandle;
use tokio_postgres::Client;
use tokio_util::sync::CancellationToken;

pub(crate) const PATIENCE: Duration = Duration::from_secs(20);

pub(crate) fn target(database: &Database<'_>, watches: Vec<WatchSpec>) -> Target {
    target_of(&format!("pregon_{}", database.name()), watches)
}

/// The same with a slot of this name.
pub(crate) fn target_of(slot: &str, watches: Vec<WatchSpec>) -> Target {
    Target {
        watches,
        mode: Mode::Wal,
        slot: slot.to_owned(),
        ..Target::default()
    }
}

/// Plans and applies; returns the plan.
pub(crate) async fn install(client: &Client, target: &Target) -> Result<Plan, InstallError> {
    let plan = install::plan(client, target).await?;
    install::apply(client, &plan, &mut |_| {}).await?;
    Ok(plan)
}

/// A database with these tables, its owner, and what was installed for the watches.
pub(crate) async fn installed(schema: &str, watches: Vec<WatchSpec>) -> (Database<'static>, Client, Target) {
    let database = Database::create(postgres::shared().await).await.unwrap();
    let admin = database.client().await.unwrap();
    admin.batch_execute(schema).await.unwrap();
    let target = target(&database, watches);
    install(&admin, &target).await.unwrap();
    (database, admin, target)
}

/// What a log would remember.
pub(crate) type Memory = Arc<Mutex<Option<Known>>>;

/// A reader with its finisher.
pub(crate) struct Stream {
    steps: mpsc::Receiver<Step>,
    kept: watch::Sender<Kept>,
    _again: watch::Sender<u64>,
    finisher: Finisher,
    task: JoinHandle<()>,
    memory: Memory,
    epoch: u64,
    /// Reasons of gaps.
    pub(crate) gaps: Vec<&'static str>,
    /// Why there was no stream.
    pub(crate) losses: Vec<String>,
}

impl Drop for Stream {
    fn drop(&mut self) {
        self.task.abort();
    }
}

impl Stream {
    pub(crate) fn start(url: &str, target: &Target, memory: &Memory) -> Self {
        let settings = Settings::parse(url).unwrap();
        let mut options = PoolOptions::new(settings.clone());
        options.search_path = Some(SEARCH_PATH);
        let pool = Pool::new(options);
        let (sink, steps) = mpsc::channel(2);
        let (kept, kept_by_log) = watch::channel(Kept::default());
        let (again, asked) = watch::channel(0);
        let options = WalOptions {
            settings,
            pool: pool.clone(),
            slot: target.slot.clone(),
            watches: target.watches.clone(),
            repair: None,
            check: Duration::from_secs(60),
        };
        let reader = Reader::new(options, sink, kept_by_log, asked);
        Self {
            steps,
            kept,
            _again: again,
            finisher: Finisher::new(pool, target.watches.clone()),
            task: tokio::spawn(reader.run(CancellationToken::new())),
            memory: Arc::clone(memory),
            epoch: 0,
            gaps: Vec::new(),
            losses: Vec::new(),
        }
    }

    /// What the next batch captured; it is remembered and, if wished, confirmed.
    pub(crate) async fn next(&mut self, confirm: bool) -> Vec<Captured> {
        loop {
            let step = tokio::time::timeout(PATIENCE, self.steps.recv()).await;
            let step = step.unwrap_or_else(|_| {
                panic!("no step in time; losses {:?}, gaps {:?}", self.losses, self.gaps)
            });
            match step.expect("the reader runs") {
                Step::Attached { known, gap } => {
                    self.epoch = known.epoch;
                    self.gaps.extend(gap);
                    *self.memory.lock().unwrap() = Some(known);
                }
                Step::Resume(answer) => {
                    let _ = answer.send(*self.memory.lock().unwrap());
                }
                Step::Batch(mut batch) => {
                    let captured = self.finisher.finish(&mut batch).await.unwrap();
                    let place = batch.upto;
                    // As a log does it: the events and the place as one.
                    *self.memory.lock().unwrap() = Some(Known {
                        epoch: self.epoch,
                        place,
                    });
                    if let Some(lsn) = batch.confirm.filter(|_| confirm) {
                        let epoch = self.epoch;
                        self.kept.send_replace(Kept { epoch, lsn });
                    }
                    if !captured.is_empty() {
                        return captured;
                    }
                }
                Step::Lost { reason, .. } => self.losses.push(reason),
                Step::Health(_) => {}
            }
        }
    }

    /// So many changes.
    pub(crate) async fn changes(&mut self, count: usize) -> Vec<Change> {
        let mut changes = Vec::new();
        while changes.len() < count {
            for captured in self.next(true).await {
                match captured {
                    Captured::Change(change) => changes.push(change),
                    other => panic!("{other:?}"),
                }
            }
        }
        assert_eq!(changes.len(), count);
        changes
    }
}
