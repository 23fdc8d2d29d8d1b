//! Sessions beside the log, so that any later process of the same log can give them back.
//!
//! A small database (redb); one thread writes what has changed, all of it in one step, as soon as the last step is done. A session
//! whose last change is lost is an older one to its client, or none: it then begins anew and knows it.

use std::path::Path;
use std::sync::Arc;
use std::thread::JoinHandle;
use std::time::{Duration, SystemTime};

use hashbrown::HashSet;
use parking_lot::{Condvar, Mutex};
use prometheus_client::metrics::gauge::Gauge;
use redb::{Builder, Database, ReadableDatabase, ReadableTable, TableDefinition};
use serde::{Deserialize, Serialize};

use super::{Follows, Kept};
use crate::log::Epoch;

/// Secrets of sessions, and what they stand for.
const SESSIONS: TableDefinition<'_, &str, &[u8]> = TableDefinition::new("sessions");
/// The namespaces that sessions name by their place.
const NAMESPACES: TableDefinition<'_, &str, &str> = TableDefinition::new("namespaces");

/// The database's own memory; it holds a few megabytes at most.
const CACHE: usize = 1 << 20;

/// Pause after a step that failed, for example because the disk is full.
const AGAIN: Duration = Duration::from_secs(1);

/// A session as it is stored.
#[derive(Debug, Serialize, Deserialize)]
struct Stored {
    sid: String,
    namespace: u8,
    channels: Vec<String>,
    /// Where a client is that names no position: channels, each with a position.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    places: Vec<(String, String)>,
    /// When its connection went, milliseconds since 1970; absent while it was there.
    left: Option<u64>,
}

/// A session that was found.
pub(super) struct Found {
    pub(super) pid: Arc<str>,
    pub(super) kept: Kept,
    /// When its connection went; `None` if it was there when the process ended.
    pub(super) left: Option<SystemTime>,
}

/// What is to be stored of a session; `None` removes it.
pub(super) type Change = (Arc<str>, Option<(Kept, Option<SystemTime>)>);

/// See the module.
pub(crate) struct Store {
    database: Database,
}

impl Store {
    /// Opens the sessions in a file, or begins with none; those of other namespaces are forgotten.
    pub(crate) fn open(path: &Path, namespaces: &[String]) -> Result<Self, redb::Error> {
        let database = Builder::new().set_cache_size(CACHE).create(path)?;
        let store = Self { database };
        store.be_of(&namespaces.join("\n"))?;
        Ok(store)
    }

    fn be_of(&self, namespaces: &str) -> Result<(), redb::Error> {
        let step = self.database.begin_write()?;
        {
            let mut table = step.open_table(NAMESPACES)?;
            let same = table.get("all")?.is_some_and(|known| known.value() == namespaces);
            if !same {
                table.insert("all", namespaces)?;
                step.delete_table(SESSIONS)?;
            }
            step.open_table(SESSIONS)?;
        }
        Ok(step.commit()?)
    }

    /// All of them. What cannot be read is no session.
    pub(super) fn load(&self) -> Result<Vec<Found>, redb::Error> {
        let read = self.database.begin_read()?;
        let table = read.open_table(SESSIONS)?;
        let mut found = Vec::new();
        for row in table.iter()? {
            let (pid, value) = row?;
            let Ok(stored) = serde_json::from_slice::<Stored>(value.value()) else {
                continue;
            };
            let left = stored.left.map(Duration::from_millis);
            let follows = places(stored.places);
            found.push(Found {
                pid: pid.value().into(),
                kept: Kept {
                    sid: stored.sid.into(),
                    namespace: stored.namespace,
                    channels: stored.channels.into_iter().map(Arc::from).collect(),
                    follows,
                },
                left: left.and_then(|left| SystemTime::UNIX_EPOCH.checked_add(left)),
            });
        }
        Ok(found)
    }

    fn write(&self, changes: &[Change]) -> Result<(), redb::Error> {
        let step = self.database.begin_write()?;
        {
            let mut table = step.open_table(SESSIONS)?;
            for (pid, session) in changes {
                let Some((kept, left)) = session else {
                    table.remove(&**pid)?;
                    continue;
                };
                let left = left.and_then(|left| left.duration_since(SystemTime::UNIX_EPOCH).ok());
                let places = kept.places().into_iter();
                let places: Vec<_> = places
                    .map(|(name, at)| (name.to_string(), at.to_string()))
                    .collect();
                let stored = Stored {
                    sid: kept.sid.to_string(),
                    namespace: kept.namespace,
                    channels: match kept.follows {
                        // Their names stand with their places.
                        Some(_) => Vec::new(),
                        None => kept.channels.iter().map(ToString::to_string).collect(),
                    },
                    places,
                    left: left.and_then(|left| u64::try_from(left.as_millis()).ok()),
                };
                let value = serde_json::to_vec(&stored).unwrap_or_default();
                table.insert(&**pid, value.as_slice())?;
            }
        }
        Ok(step.commit()?)
    }
}

/// Places of a client as a later process knows them.
fn places(stored: Vec<(String, String)>) -> Option<Follows> {
    let place = |(channel, at): (String, String)| Some((channel.into(), at.parse().ok()?));
    let rest: Vec<_> = stored.into_iter().filter_map(place).collect();
    (!rest.is_empty()).then(|| Follows {
        epoch: Epoch(0),
        acked: Arc::default(),
        after: Vec::new(),
        rest,
    })
}

/// What the thread has to do. Bounded by the number of sessions: each is in it once.
pub(super) struct Saver {
    unsaved: Gauge,
    inner: Mutex<Inner>,
    wake: Condvar,
    thread: Mutex<Option<JoinHandle<()>>>,
}

#[derive(Default)]
struct Inner {
    changed: HashSet<Arc<str>>,
    /// How many are being stored now.
    writing: usize,
    closed: bool,
}

impl Saver {
    pub(super) fn new(unsaved: Gauge) -> Self {
        Self {
            unsaved,
            inner: Mutex::default(),
            wake: Condvar::new(),
            thread: Mutex::default(),
        }
    }

    /// Starts the thread; `look` says how a session is now.
    pub(super) fn start(
        self: &Arc<Self>,
        store: Store,
        look: impl Fn(HashSet<Arc<str>>) -> Vec<Change> + Send + 'static,
    ) -> std::io::Result<()> {
        let saver = Arc::clone(self);
        let thread = std::thread::Builder::new().name("sessions".into());
        let handle = thread.spawn(move || saver.run(&store, &look))?;
        *self.thread.lock() = Some(handle);
        Ok(())
    }

    /// A session is another than before.
    pub(super) fn changed(&self, pid: &Arc<str>) {
        let mut inner = self.inner.lock();
        inner.changed.insert(Arc::clone(pid));
        self.measure(&inner);
        drop(inner);
        self.wake.notify_one();
    }

    /// Sessions that are being stored count until they are.
    fn measure(&self, inner: &Inner) {
        let unsaved = inner.changed.len() + inner.writing;
        let unsaved = i64::try_from(unsaved).unwrap_or(i64::MAX);
        self.unsaved.set(unsaved);
    }

    /// Stores what is left to store, and ends the thread.
    pub(super) fn close(&self) {
        self.inner.lock().closed = true;
        self.wake.notify_one();
        if let Some(thread) = self.thread.lock().take()
            && thread.join().is_err()
        {
            tracing::error!("the thread that stores sessions panicked");
        }
    }

    fn run(&self, store: &Store, look: &dyn Fn(HashSet<Arc<str>>) -> Vec<Change>) {
        loop {
            let (changed, closed) = self.take();
            let changes = look(changed);
            let written = store.write(&changes);
            let mut inner = self.inner.lock();
            inner.writing = 0;
            if let Err(error) = &written {
                tracing::warn!(%error, sessions = changes.len(), "sessions that may come back could not be stored");
                inner.changed.extend(changes.into_iter().map(|(pid, _)| pid));
            }
            self.measure(&inner);
            if closed {
                return;
            }
            if written.is_err() {
                self.wake.wait_for(&mut inner, AGAIN);
            }
        }
    }

    fn take(&self) -> (HashSet<Arc<str>>, bool) {
        let mut inner = self.inner.lock();
        while inner.changed.is_empty() && !inner.closed {
            self.wake.wait(&mut inner);
        }
        let changed = std::mem::take(&mut inner.changed);
        inner.writing = changed.len();
        (changed, inner.closed)
    }
}
