//! A consumer group's commands: what is known of the stream, making the group, reading and confirming.

use std::collections::HashMap;
use std::time::Duration;

use redis::{RedisError, RedisResult, Value};

use super::connect::Keyed;
use super::entry::{Entry, Id, bytes, entries};
use super::retry::Lost;

/// Entries read, routed and appended together.
const BATCH: usize = 256;

/// Pending entries belong to a consumer: after a restart this one must find its own.
const CONSUMER: &str = "pregon";

/// A stream and one group of it.
pub(super) struct Group {
    pub(super) stream: String,
    pub(super) name: String,
}

/// What Redis knows of them.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(super) struct Info {
    /// Id of the newest entry that ever was.
    pub(super) newest: Id,
    /// Entries that ever were, and those that are not there any more; Redis 7 and newer.
    pub(super) added: Option<u64>,
    pub(super) removed: Option<u64>,
    /// The group, if there is one.
    pub(super) group: Option<GroupInfo>,
}

#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(super) struct GroupInfo {
    /// Id of the newest entry that the group has read.
    pub(super) last: Id,
    /// How many of the entries that ever were it has read; not always known.
    pub(super) read: Option<u64>,
}

impl Group {
    /// What is known; `None` without such a stream.
    pub(super) async fn info(&self, connection: &mut Keyed) -> Result<Option<Info>, Lost> {
        let mut pipe = redis::pipe();
        pipe.atomic();
        self.ask_info(&mut pipe);
        match pipe.query_async::<Vec<Value>>(connection).await {
            Ok(replies) => {
                let mut replies = replies.into_iter();
                Ok(Some(self.read_info(replies.next(), replies.next())?))
            }
            Err(error) if error.to_string().contains("no such key") => Ok(None),
            Err(error) => Err(error.into()),
        }
    }

    /// Makes the group, and the stream if need be; it reads what comes after `start`.
    pub(super) async fn make(&self, connection: &mut Keyed, start: &str) -> RedisResult<()> {
        let mut create = redis::cmd("XGROUP");
        create.arg("CREATE").arg(&self.stream).arg(&self.name);
        create.arg(start).arg("MKSTREAM");
        match create.exec_async(connection).await {
            // Somebody else was faster.
            Err(error) if error.code() == Some("BUSYGROUP") => Ok(()),
            done => done,
        }
    }

    /// Confirms entries, and in the same moment looks at the stream and reads on from `from`, so that nothing can be trimmed
    /// between looking and reading.
    pub(super) async fn step(
        &self,
        connection: &mut Keyed,
        confirmed: &[Id],
        from: &str,
    ) -> Result<(Info, Vec<Entry>), Lost> {
        let mut pipe = redis::pipe();
        pipe.atomic();
        if !confirmed.is_empty() {
            pipe.cmd("XACK").arg(&self.stream).arg(&self.name);
            for id in confirmed {
                pipe.arg(id.to_string());
            }
            pipe.ignore();
        }
        self.ask_info(&mut pipe);
        pipe.add_command(self.read(None, from));
        let replies = pipe.query_async::<Vec<Value>>(connection).await?;
        let mut replies = replies.into_iter();
        let info = self.read_info(replies.next(), replies.next())?;
        Ok((info, read_entries(replies.next().unwrap_or_default())?))
    }

    /// Waits for new entries.
    pub(super) async fn wait(&self, connection: &mut Keyed, longest: Duration) -> Result<Vec<Entry>, Lost> {
        read_entries(self.read(Some(longest), ">").query_async(connection).await?)
    }

    fn read(&self, block: Option<Duration>, from: &str) -> redis::Cmd {
        let mut read = redis::cmd("XREADGROUP");
        read.arg("GROUP").arg(&self.name).arg(CONSUMER);
        read.arg("COUNT").arg(BATCH);
        if let Some(block) = block {
            // Zero would be for ever.
            read.arg("BLOCK").arg(block.as_millis().max(1).to_string());
        }
        read.arg("STREAMS").arg(&self.stream).arg(from);
        read
    }

    fn ask_info(&self, pipe: &mut redis::Pipeline) {
        pipe.cmd("XINFO").arg("STREAM").arg(&self.stream);
        pipe.cmd("XINFO").arg("GROUPS").arg(&self.stream);
    }

    fn read_info(&self, stream: Option<Value>, groups: Option<Value>) -> Result<Info, Lost> {
        let stream = table(stream.unwrap_or_default())?;
        let groups: Vec<Value> = redis::from_redis_value(groups.unwrap_or_default())?;
        let mut group = None;
        for known in groups {
            let known = table(known)?;
            if text(&known, "name").as_deref() == Some(&*self.name) {
                group = Some(GroupInfo {
                    last: id(&known, "last-delivered-id"),
                    read: number(&known, "entries-read"),
                });
            }
        }
        let added = number(&stream, "entries-added");
        let length = number(&stream, "length").unwrap_or_default();
        Ok(Info {
            newest: id(&stream, "last-generated-id"),
            added,
            removed: added.map(|added| added.saturating_sub(length)),
            group,
        })
    }
}

fn read_entries(reply: Value) -> Result<Vec<Entry>, Lost> {
    entries(reply).ok_or_else(|| {
        let strange = "entries of a stream have an unknown form";
        RedisError::from((redis::ErrorKind::UnexpectedReturnType, strange)).into()
    })
}

fn table(value: Value) -> Result<HashMap<String, Value>, Lost> {
    Ok(redis::from_redis_value(value)?)
}

fn text(table: &HashMap<String, Value>, key: &str) -> Option<String> {
    String::from_utf8(bytes(table.get(key)?.clone())?).ok()
}

fn id(table: &HashMap<String, Value>, key: &str) -> Id {
    text(table, key)
        .and_then(|text| text.parse().ok())
        .unwrap_or_default()
}

fn number(table: &HashMap<String, Value>, key: &str) -> Option<u64> {
    match table.get(key)? {
        Value::Int(number) => u64::try_from(*number).ok(),
        _ => None,
    }
}
