//! The configuration file as commands need it: always, or only if it is there; and the connections that it names.

use std::path::{Path, PathBuf};

use anyhow::Context as _;
use pregon_capture::connect::{Session, Settings};

use super::Usage;
use crate::config::{Auth, Config, Problems};

const DEFAULT: &str = "pregon.toml";

/// Which file was asked for.
pub(super) struct File {
    path: PathBuf,
    explicit: bool,
}

impl File {
    /// A file that was named and is not there is wrong usage, not a wrong configuration.
    pub(super) fn new(path: Option<PathBuf>) -> anyhow::Result<Self> {
        if let Some(path) = path
            .as_ref()
            .filter(|path| matches!(path.try_exists(), Ok(false)))
        {
            return Err(Usage::error(format!(
                "--config {}: there is no such file",
                path.display()
            )));
        }
        Ok(Self::to_write(path))
    }

    /// The same for one that is to be made.
    pub(super) fn to_write(path: Option<PathBuf>) -> Self {
        Self {
            explicit: path.is_some(),
            path: path.unwrap_or_else(|| DEFAULT.into()),
        }
    }

    /// What other commands have to be told to find it: nothing for the default.
    pub(super) fn option(&self) -> String {
        if self.path == Path::new(DEFAULT) {
            return String::new();
        }
        let text = self.path.display().to_string();
        let plain = |c: char| c.is_ascii_alphanumeric() || "/._-".contains(c);
        if text.chars().all(plain) {
            format!(" --config {text}")
        } else {
            format!(" --config '{}'", text.replace('\'', "'\\''"))
        }
    }

    pub(super) fn path(&self) -> &Path {
        &self.path
    }

    /// The configuration, with the environment over it.
    pub(super) fn load(&self) -> Result<Config, Problems> {
        crate::check::load(&self.path, &variable)
    }

    /// The same for commands that can do without: the defaults where nobody named a file and there is none.
    pub(super) fn load_if_there(&self) -> Result<Config, Problems> {
        if self.explicit || self.path.exists() {
            return self.load();
        }
        crate::check::parse("", "pregon.toml", Path::new("."), &variable)
    }
}

/// A variable of the environment; an empty one is none.
pub(super) fn variable(name: &str) -> Option<String> {
    std::env::var(name).ok().filter(|value| !value.is_empty())
}

/// What HS256 asks for at least, in bytes (RFC 7518, section 3.2): a shorter secret can be found by trying.
const SECRET: usize = 32;

/// A warning about a secret that is too short for the tokens that it signs.
pub(super) fn weakness(secret: &[u8]) -> Option<String> {
    (secret.len() < SECRET).then(|| {
        format!(
            "the secret for HS256 has {} bytes: use at least {SECRET} random ones, for example from `openssl rand -hex 32`",
            secret.len()
        )
    })
}

/// The shared secret that the configuration verifies with, if it does.
pub(super) fn shared_secret(auth: &Auth) -> anyhow::Result<Option<Vec<u8>>> {
    if let Some(secret) = &auth.secret {
        return Ok(Some(secret.reveal().as_bytes().to_vec()));
    }
    let Some(path) = &auth.secret_file else {
        return Ok(None);
    };
    let text = std::fs::read(path).with_context(|| format!("cannot read {path}"))?;
    // As the gateway reads it: one line end is not part of the secret.
    let text = text.strip_suffix(b"\n").unwrap_or(&text);
    Ok(Some(text.strip_suffix(b"\r").unwrap_or(text).to_vec()))
}

/// The connection that may change the schema.
pub(super) async fn admin(config: &Config) -> anyhow::Result<Session> {
    let url = config.postgres.as_ref().and_then(|postgres| postgres.admin());
    let url = url.context(
        "no database is configured: add [postgres] with url or admin_url, or set PREGON_ADMIN_URL",
    )?;
    open(url.reveal(), "admin").await
}

async fn open(url: &str, name: &str) -> anyhow::Result<Session> {
    let settings = Settings::parse(url)?.with_name(name);
    settings
        .open()
        .await
        .with_context(|| format!("cannot connect to {}", settings.redacted()))
}
