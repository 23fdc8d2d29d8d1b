//! Users whose tokens count no more: those issued before the moment of the revocation, and those that do not say when they were.
//!
//! A small table in memory, written whole beside a log that outlives the process. Reading it is one load where nobody is revoked, which
//! is why shards may ask at every heartbeat.

use std::collections::HashMap;
use std::io::{self, Write as _};
use std::path::{Path, PathBuf};
use std::sync::{Arc, OnceLock};
use std::time::{SystemTime, UNIX_EPOCH};

use anyhow::Context as _;
use arc_swap::ArcSwap;
use futures_util::future::BoxFuture;
use parking_lot::Mutex;

use super::Claims;

/// Users that may be revoked at one time; the file stays small enough to be written whole.
const MOST: usize = 10_000;

/// When each was revoked, seconds since 1970.
type Users = HashMap<String, u64>;

/// Notes for the nodes that share the log that a user is revoked since then, or no longer.
pub(crate) type Note =
    Box<dyn Fn(String, Option<u64>) -> BoxFuture<'static, Result<(), String>> + Send + Sync>;

/// See the module.
#[derive(Default)]
pub(crate) struct Revoked {
    users: ArcSwap<Users>,
    /// Where they are kept, and the turn of whoever changes them.
    file: Mutex<Option<PathBuf>>,
    others: OnceLock<Note>,
}

/// Why a user could not be revoked.
#[derive(Debug, thiserror::Error)]
pub(crate) enum RevokeError {
    #[error(
        "{} users are revoked already: take the secret out of use, or restore some",
        MOST
    )]
    Full,
    #[error("it holds until the node stops, but could not be kept: {0}")]
    Unkept(#[from] io::Error),
}

impl Revoked {
    /// Reads what was kept in `folder`; without one nothing outlives the process.
    pub(crate) fn open(folder: Option<&Path>) -> anyhow::Result<Self> {
        let Some(path) = folder.map(|folder| folder.join("revoked.json")) else {
            return Ok(Self::default());
        };
        let users: Users = match std::fs::read(&path) {
            Ok(text) => serde_json::from_slice(&text).with_context(|| {
                let path = path.display();
                format!("{path} cannot be read: correct it, or remove it and nobody is revoked any more")
            })?,
            Err(error) if error.kind() == io::ErrorKind::NotFound => Users::default(),
            Err(error) => return Err(error).with_context(|| format!("{} cannot be read", path.display())),
        };
        Ok(Self {
            users: ArcSwap::from_pointee(users),
            file: Mutex::new(Some(path)),
            others: OnceLock::new(),
        })
    }

    /// From now on other nodes are told, and keep it.
    pub(crate) fn share(&self, note: Note) {
        // A node has one log, and its others are told by that.
        let _ = self.others.set(note);
    }

    /// Tells the other nodes, if there are some.
    pub(crate) async fn tell_others(&self, user: &str, since: Option<u64>) -> Result<(), String> {
        match self.others.get() {
            Some(note) => note(user.to_owned(), since).await,
            None => Ok(()),
        }
    }

    /// Another node has revoked a user then, or taken it back.
    pub(crate) fn hear(&self, user: &str, since: Option<u64>) {
        let _turn = self.file.lock();
        let mut users = Users::clone(&self.users.load());
        match since {
            Some(since) => users.insert(user.to_owned(), since),
            None => users.remove(user),
        };
        self.users.store(Arc::new(users));
    }

    /// Takes over what nodes have noted; an unreadable note is nobody's.
    pub(crate) fn take_over(&self, note: Option<&[u8]>) {
        self.users.store(Arc::new(noted(note)));
    }

    /// What is noted once a user is revoked then, or no longer.
    pub(crate) fn changed(note: Option<&[u8]>, user: &str, since: Option<u64>) -> Vec<u8> {
        let mut users = noted(note);
        match since {
            Some(since) => users.insert(user.to_owned(), since),
            None => users.remove(user),
        };
        serde_json::to_vec(&users).unwrap_or_default()
    }

    /// Whether claims are of a revoked user, and not issued after that.
    pub(crate) fn refuses(&self, claims: &Claims) -> bool {
        let users = self.users.load();
        if users.is_empty() {
            return false;
        }
        let since = claims.subject().and_then(|user| users.get(&*user).copied());
        let issued = claims
            .value()
            .and_then(|value| value.get("iat")?.as_f64())
            .unwrap_or(0.0);
        // Whole seconds: a token of the same second may have been before.
        #[allow(clippy::cast_precision_loss)]
        since.is_some_and(|since| issued < since as f64 + 1.0)
    }

    /// Refuses all tokens of `user` that exist by now; returns the moment, seconds since 1970.
    pub(crate) fn revoke(&self, user: &str) -> Result<u64, RevokeError> {
        let now = SystemTime::now()
            .duration_since(UNIX_EPOCH)
            .map_or(0, |since| since.as_secs());
        let file = self.file.lock();
        let mut users = Users::clone(&self.users.load());
        if users.len() >= MOST && !users.contains_key(user) {
            return Err(RevokeError::Full);
        }
        users.insert(user.to_owned(), now);
        self.store(users, file.as_deref())?;
        Ok(now)
    }

    /// Takes it back: the user's old tokens count again. Whether there was something to take back.
    pub(crate) fn restore(&self, user: &str) -> Result<bool, RevokeError> {
        let file = self.file.lock();
        let mut users = Users::clone(&self.users.load());
        let was = users.remove(user).is_some();
        if was {
            self.store(users, file.as_deref())?;
        }
        Ok(was)
    }

    /// All revoked users with the moments, by name.
    pub(crate) fn list(&self) -> Vec<(String, u64)> {
        let users = self.users.load();
        let mut list: Vec<_> = users.iter().map(|(user, at)| (user.clone(), *at)).collect();
        list.sort_unstable();
        list
    }

    /// It holds at once; then it is kept.
    fn store(&self, users: Users, file: Option<&Path>) -> io::Result<()> {
        let text = serde_json::to_vec(&users)?;
        self.users.store(Arc::new(users));
        match file {
            Some(path) => replace(path, &text),
            None => Ok(()),
        }
    }
}

fn noted(note: Option<&[u8]>) -> Users {
    note.and_then(|note| serde_json::from_slice(note).ok())
        .unwrap_or_default()
}

/// Writes a file so that a crash leaves the old one or the new one.
fn replace(path: &Path, text: &[u8]) -> io::Result<()> {
    let fresh = path.with_extension("new");
    let mut file = std::fs::File::create(&fresh)?;
    file.write_all(text)?;
    file.sync_all()?;
    std::fs::rename(&fresh, path)?;
    match path.parent() {
        Some(folder) => std::fs::File::open(folder)?.sync_all(),
        None => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use serde_json::json;

    fn claims(value: serde_json::Value) -> Claims {
        Claims::new(value.as_object().unwrap().clone(), None)
    }

    #[test]
    fn old_tokens_are_refused_newer_ones_and_other_users_are_not() {
        let revoked = Revoked::default();
        let now = revoked.revoke("7").unwrap();
        for old in [
            json!({"sub": 7}),
            json!({"sub": "7", "iat": now}),
            json!({"sub": 7, "iat": "9e9"}),
        ] {
            assert!(revoked.refuses(&claims(old.clone())), "{old}");
        }
        for good in [json!({"sub": 7, "iat": now + 1}), json!({"sub": 8}), json!({})] {
            assert!(!revoked.refuses(&claims(good.clone())), "{good}");
        }
        assert!(!revoked.refuses(&Claims::default()));
        assert!(revoked.restore("7").unwrap() && !revoked.restore("7").unwrap());
        assert!(!revoked.refuses(&claims(json!({"sub": 7}))));
    }

    #[test]
    fn what_was_revoked_is_there_after_a_restart() {
        let folder = tempfile::tempdir().unwrap();
        let open = || Revoked::open(Some(folder.path())).unwrap();
        let first = open();
        first.revoke("ana").unwrap();
        first.revoke("luis").unwrap();
        first.restore("luis").unwrap();
        let again = open();
        assert_eq!(again.list(), first.list());
        assert!(
            again.refuses(&claims(json!({"sub": "ana"}))) && !again.refuses(&claims(json!({"sub": "luis"})))
        );
        std::fs::write(folder.path().join("revoked.json"), "{").unwrap();
        assert!(
            Revoked::open(Some(folder.path())).is_err(),
            "a damaged file must not set everybody free"
        );
    }
}
