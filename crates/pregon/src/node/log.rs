//! The log of a node: which kind, where it lies, and who hears how it is.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use anyhow::Context as _;
use pregon_capture::connect::Settings;
use pregon_capture::frames::Frames;

use super::lead::Shared;
use crate::config::{Config, LogKind};
use crate::hub;
use crate::log::disk::{DiskLog, Keeping, OpenError, Watcher};
use crate::log::memory::MemoryLog;
use crate::log::shared::{Options, PostgresEngine, SharedLog};
use crate::log::window::Retention;
use crate::log::{Log, Open};
use crate::metrics::Metrics;
use crate::pipeline::decrypt::Opener;
use crate::session::recovery::{Sessions, Store};
use crate::source::Attached;

/// Folder of the logs that nobody gave a place to.
const DEFAULT: &str = "pregon-data";

/// Nodes of one configuration that take any free port, side by side in one working folder.
const SIBLINGS: u32 = 64;

/// A log, the sessions beside it, and whether it can be written.
pub(super) struct Opened {
    pub(super) log: Arc<dyn Log>,
    pub(super) kept: Arc<Sessions>,
    /// Clients that may come back without a position.
    pub(super) returns: Arc<Sessions>,
    pub(super) up: Attached,
    /// Where it lies, on a disk.
    pub(super) folder: Option<PathBuf>,
    /// How the node meets the others that share it.
    pub(super) shared: Option<Shared>,
}

/// Opens the log that the configuration asks for. Reading what is on the disk takes a moment, away from the runtime's threads.
pub(super) async fn open(
    config: &Config,
    settings: &hub::Settings,
    opener: &Arc<Opener>,
    metrics: &Arc<Metrics>,
) -> anyhow::Result<Opened> {
    let opener = Arc::clone(opener) as Arc<dyn Open>;
    if config.log.kind.is_shared() {
        return open_shared(config, settings, opener, metrics).await;
    }
    let (config, metrics, namespaces) = (config.clone(), Arc::clone(metrics), settings.namespaces.clone());
    let opening = tokio::task::spawn_blocking(move || {
        let up = Attached::default();
        up.set(true);
        let (log, folder) = open_log(&config, &opener, &metrics, &up)?;
        let kept = sessions(&config, &namespaces, folder.as_deref(), &metrics)?;
        let kept = Arc::new(kept);
        let returns = Arc::new(returns(&config, folder.as_deref(), &metrics)?);
        Ok(Opened {
            log,
            kept,
            returns,
            up,
            folder,
            shared: None,
        })
    });
    opening.await.context("opening the log")?
}

/// Opens the log that nodes share, and follows it.
async fn open_shared(
    config: &Config,
    settings: &hub::Settings,
    opener: Arc<dyn Open>,
    metrics: &Arc<Metrics>,
) -> anyhow::Result<Opened> {
    let (log, cluster) = (&config.log, &config.cluster);
    let node = cluster.node.clone().unwrap_or_else(|| default_node(config));
    let frames = Frames::new(&crate::install::settings(config)?, &node, &cluster.name);
    let up = Attached::default();
    up.set(true);
    let told = up.clone();
    let options = Options {
        window: retention(config),
        size: log.size.0,
        incarnation: format!("{node}-{:016x}", rand::random::<u64>()),
        up: Box::new(move |reason| {
            told.set(reason.is_none());
            told.explain(reason.unwrap_or_default().to_owned());
        }),
    };
    let engine = Arc::new(PostgresEngine::new(frames.clone()));
    let log = SharedLog::open(engine, opener, options).await?;
    let window = log.window();
    tracing::info!(
        log = cluster.name,
        node,
        oldest = window.oldest(),
        newest = window.head(),
        "the shared log is open"
    );
    let log = Arc::new(log);
    Ok(Opened {
        log: Arc::clone(&log) as Arc<dyn Log>,
        kept: Arc::new(sessions(config, &settings.namespaces, None, metrics)?),
        returns: Arc::new(returns(config, None, metrics)?),
        up,
        folder: None,
        shared: Some(Shared { frames, log, node }),
    })
}

/// The host and the port: two nodes of one host have different ones.
fn default_node(config: &Config) -> String {
    let uname = rustix::system::uname();
    let host: String = uname.nodename().to_string_lossy().chars().take(32).collect();
    format!("{host}:{}", port(config))
}

fn retention(config: &Config) -> Retention {
    Retention {
        bytes: config.log.window.bytes(),
        age: config.log.age.0,
    }
}

/// What was appended and kept becomes durable. Nobody appends any more.
pub(super) async fn close(log: &Arc<dyn Log>, kept: &[Arc<Sessions>]) {
    let (log, kept) = (Arc::clone(log), kept.to_vec());
    let closing = tokio::task::spawn_blocking(move || {
        kept.iter().for_each(|kept| kept.close());
        log.close();
    });
    if closing.await.is_err() {
        tracing::error!("the log could not be closed");
    }
}

fn open_log(
    config: &Config,
    opener: &Arc<dyn Open>,
    metrics: &Arc<Metrics>,
    up: &Attached,
) -> anyhow::Result<(Arc<dyn Log>, Option<PathBuf>)> {
    let window = retention(config);
    match config.log.kind {
        LogKind::Memory => Ok((Arc::new(MemoryLog::new(window, Arc::clone(opener))), None)),
        LogKind::Disk => {
            let (log, folder) = open_on_disk(config, window, opener, metrics, up)?;
            Ok((Arc::new(log), Some(folder)))
        }
        LogKind::Postgres => anyhow::bail!("a log that nodes share is not opened as one of this machine"),
    }
}

/// Opens the disk log in the first place that no other node holds.
fn open_on_disk(
    config: &Config,
    window: Retention,
    opener: &Arc<dyn Open>,
    metrics: &Arc<Metrics>,
    up: &Attached,
) -> anyhow::Result<(DiskLog, PathBuf)> {
    let log = &config.log;
    let keeping = Keeping {
        window,
        size: log.size.0,
        segment: log.segment.0,
    };
    let mut found = None;
    for folder in places(config)? {
        let told = up.clone();
        let watcher = Watcher {
            metrics: Arc::clone(metrics),
            up: Box::new(move |up| told.set(up)),
        };
        match DiskLog::open(&folder, keeping, Arc::clone(opener), watcher) {
            // Only where there is another place to try.
            Err(error @ OpenError::Locked { .. }) => found = Some(Err(error)),
            opened => {
                found = Some(opened.map(|log| (log, folder)));
                break;
            }
        }
    }
    let (log, folder) = found.context("the log has no place")??;
    let window = log.window();
    tracing::info!(path = %folder.display(), oldest = window.oldest(), newest = window.head(), "the log is open");
    Ok((log, folder))
}

/// The folder that a node of this configuration takes first.
pub(crate) fn folder(config: &Config) -> anyhow::Result<PathBuf> {
    places(config)?.into_iter().next().context("the log has no place")
}

/// The sessions that may come back: beside a log that outlives the process, otherwise in memory.
fn sessions(
    config: &Config,
    namespaces: &[String],
    folder: Option<&Path>,
    metrics: &Arc<Metrics>,
) -> anyhow::Result<Sessions> {
    let socketio = config.socketio();
    let (window, room) = (socketio.recovery_window.0, config.limits.recovery.bytes());
    let Some(folder) = folder.filter(|_| socketio.recovery) else {
        return Ok(Sessions::new(window, room));
    };
    let path = folder.join("sessions.redb");
    let store = Store::open(&path, namespaces).with_context(|| {
        let path = path.display();
        format!("the sessions in {path} cannot be opened: remove the file, and clients begin anew")
    })?;
    Sessions::stored(window, room, store, metrics.recovery_unsaved.clone())
}

/// Clients that may come back without a position: as long as the log keeps entries, beside a log that outlives the process.
fn returns(config: &Config, folder: Option<&Path>, metrics: &Metrics) -> anyhow::Result<Sessions> {
    let (window, room) = (config.log.age.0, config.limits.recovery.bytes());
    let Some(folder) = folder else {
        return Ok(Sessions::new(window, room));
    };
    let path = folder.join("resume.redb");
    let store = Store::open(&path, &[]).with_context(|| {
        let path = path.display();
        format!("the clients in {path} cannot be opened: remove the file, and those that name no position begin anew")
    })?;
    Sessions::stored(window, room, store, metrics.resume_unsaved.clone())
}

/// Where the log may lie: where the configuration says, otherwise in a folder of its own for each port and database, so that a log is never
/// taken for that of another node or of other data.
fn places(config: &Config) -> anyhow::Result<Vec<PathBuf>> {
    if let Some(path) = &config.log.path {
        return Ok(vec![path.into()]);
    }
    let name = default_name(config);
    let folder = std::path::absolute(DEFAULT)?;
    // With port 0 nothing tells siblings apart: each takes the first folder that is free.
    let siblings = if port(config) == "0" { SIBLINGS } else { 1 };
    let numbered = |number: u32| match number {
        0 => folder.join(&name),
        number => folder.join(format!("{name}-{number}")),
    };
    Ok((0..siblings).map(numbered).collect())
}

fn port(config: &Config) -> &str {
    let listen = config.server.listen.rsplit_once(':');
    listen.map_or("0", |(_, port)| port)
}

fn default_name(config: &Config) -> String {
    let postgres = config.postgres.as_ref().and_then(|postgres| {
        let settings = Settings::parse(postgres.url.as_ref()?.reveal()).ok()?;
        Some(settings.redacted())
    });
    let mut name = port(config).to_owned();
    if let Some(leads_to) = postgres {
        // A digest, because it holds characters that no file name may have.
        let digest = crc32fast::hash(leads_to.as_bytes());
        name.push_str(&format!("-{digest:08x}"));
    }
    name
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::indexing_slicing)]
    use super::*;
    use crate::config::{Postgres, Secret};

    fn at(listen: &str, url: Option<&str>) -> Config {
        let mut config = Config::default();
        config.server.listen = listen.into();
        config.postgres = url.map(|url| Postgres {
            url: Some(Secret::new(url)),
            ..Postgres::default()
        });
        config
    }

    #[test]
    fn ports_and_databases_have_folders_of_their_own_and_passwords_do_not() {
        let name = |listen, url| default_name(&at(listen, url));
        let shop = Some("postgres://a:secret@localhost/shop");
        assert_eq!(name("127.0.0.1:8000", None), "8000");
        assert_eq!(name("[::]:8000", shop), name("127.0.0.1:8000", shop));
        let other = Some("postgres://a:changed@localhost/shop");
        assert_eq!(name("[::]:8000", shop), name("[::]:8000", other));
        assert_ne!(name("[::]:8000", shop), name("[::]:8001", shop));
        let stock = Some("postgres://a:secret@localhost/stock");
        assert_ne!(name("[::]:8000", shop), name("[::]:8000", stock));
    }

    #[test]
    fn what_the_configuration_says_is_the_only_place() {
        let mut config = at("127.0.0.1:0", None);
        assert_eq!(places(&config).unwrap().len(), SIBLINGS as usize);
        config.log.path = Some("/var/lib/pregon".into());
        assert_eq!(places(&config).unwrap(), [PathBuf::from("/var/lib/pregon")]);
    }
}
