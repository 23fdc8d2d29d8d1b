//! The configuration file as commands need it: always, or only if it is there; and the connections that it names.

use std::path::{Path, PathBuf};

use anyhow::Context as _;
use pregon_capture::connect::{Session, Settings};

use crate::config::{Config, Problems};

const DEFAULT: &str = "pregon.toml";

/// Which file was asked for.
pub(super) struct File {
    path: PathBuf,
    explicit: bool,
}

impl File {
    pub(super) fn new(path: Option<PathBuf>) -> Self {
        Self {
            explicit: path.is_some(),
            path: path.unwrap_or_else(|| DEFAULT.into()),
        }
    }

    pub(super) fn path(&self) -> &Path {
        &self.path
    }

    /// The configuration, with the environment over it.
    pub(super) fn load(&self) -> Result<Config, Problems> {
        Config::load(&self.path, &variable)
    }

    /// The same for commands that can do without: the defaults where nobody named a file and there is none.
    pub(super) fn load_if_there(&self) -> Result<Config, Problems> {
        if self.explicit || self.path.exists() {
            return self.load();
        }
        Config::parse("", "pregon.toml", Path::new("."), &variable)
    }
}

/// A variable of the environment; an empty one is none.
pub(super) fn variable(name: &str) -> Option<String> {
    std::env::var(name).ok().filter(|value| !value.is_empty())
}

/// The connection that may change the schema.
pub(super) async fn admin(config: &Config) -> anyhow::Result<Session> {
    let url = config.postgres.as_ref().and_then(|postgres| postgres.admin());
    let url = url.context(
        "no database is configured: add [postgres] with url or admin_url, or set PREGON_ADMIN_URL",
    )?;
    open(url.reveal(), "admin").await
}

/// The gateway's own connection.
pub(super) fn gateway(config: &Config) -> anyhow::Result<Settings> {
    let url = config
        .postgres
        .as_ref()
        .and_then(|postgres| postgres.url.as_ref());
    let url = url.context("no database is configured: add [postgres] with url, or set DATABASE_URL")?;
    Ok(Settings::parse(url.reveal())?)
}

async fn open(url: &str, name: &str) -> anyhow::Result<Session> {
    let settings = Settings::parse(url)?.with_name(name);
    settings
        .open()
        .await
        .with_context(|| format!("cannot connect to {}", settings.redacted()))
}
