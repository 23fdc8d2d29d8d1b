//! The queue in Redis: a stream for each lane, which deliveries are added to before they are answered.
//!
//! Redis keeps no position. A lane is read from its beginning, the database keeps up to which entry it has stored it, in the transaction
//! that stores (`take.sql`), and what it has stored is trimmed. So a kill at any moment of any part repeats nothing and loses nothing.
//! The `era` is the identity of all streams: one that was emptied begins anew, whatever its clock says.

use std::collections::BTreeMap;
use std::time::SystemTime;

use anyhow::Context as _;
use bytes::Bytes;
use pregon_capture::router::LANES;
use redis::Pipeline;
use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;

use super::lanes::Set;
use super::payload::Item;
use crate::config;
use crate::source::redis::keys::Keys;

const READ: &str = include_str!("read.lua");
/// Bytes that are read at once: some deliveries of the largest kind.
const BYTES: usize = 8 << 20;

/// A connection to the queue.
pub(super) struct Stream {
    keys: Keys,
    prefix: String,
}

/// An entry of a lane.
#[derive(Debug)]
pub(super) struct Entry {
    pub(super) lane: u16,
    pub(super) id: (u64, u64),
    /// Milliseconds since 1970.
    pub(super) received: u64,
    /// The items, as JSON.
    pub(super) items: String,
    /// The body of the delivery, in the first of its entries.
    pub(super) body: Option<Vec<u8>>,
}

/// What was read.
#[derive(Debug, Default)]
pub(super) struct Read {
    pub(super) era: String,
    pub(super) entries: Vec<Entry>,
    /// Lanes that may have more.
    pub(super) more: Set,
}

/// An item in an entry.
#[derive(Debug, Serialize)]
struct Added<'i> {
    w: Option<i64>,
    i: &'i Item,
}

/// The same when it is read: nobody looks into it.
#[derive(Debug, Deserialize)]
pub(super) struct Waiting<'e> {
    pub(super) w: Option<i64>,
    #[serde(borrow)]
    pub(super) i: &'e RawValue,
}

impl Stream {
    /// Connects when it is used.
    pub(super) fn build(config: &config::Config, section: &config::Router) -> anyhow::Result<Self> {
        let redis = config
            .redis
            .as_ref()
            .context("the queue is in Redis: add [redis] with url, or set REDIS_URL")?;
        Ok(Self {
            keys: Keys::new(redis)?,
            prefix: section.queue.prefix.clone(),
        })
    }

    /// Braces, so that a cluster keeps all of them on one node: a delivery of many contacts is added as one.
    fn key(&self, name: impl std::fmt::Display) -> String {
        format!("{{{}}}:{name}", self.prefix)
    }

    /// Adds deliveries, all or none; gives the lanes that have work now.
    pub(super) async fn add(&mut self, parts: &[(&Bytes, &[Item])]) -> anyhow::Result<Set> {
        let mut touched = Set::default();
        let mut pipe = redis::pipe();
        pipe.atomic();
        let era = format!("{:016x}", rand::random::<u64>());
        pipe.cmd("SETNX").arg(self.key("era")).arg(era).ignore();
        let now = SystemTime::now()
            .duration_since(SystemTime::UNIX_EPOCH)
            .unwrap_or_default()
            .as_millis();
        for (body, items) in parts {
            let mut lanes: BTreeMap<u16, Vec<Added<'_>>> = BTreeMap::new();
            for item in *items {
                let w = item.who().map(u64::cast_signed);
                lanes.entry(item.lane()).or_default().push(Added { w, i: item });
            }
            let mut body = Some(body);
            for (lane, items) in lanes {
                touched.add(lane);
                pipe.cmd("XADD").arg(self.key(lane)).arg("*");
                pipe.arg("t").arg(now.to_string());
                pipe.arg("d").arg(serde_json::to_string(&items)?);
                if let Some(body) = body.take() {
                    pipe.arg("b").arg(body.as_ref());
                }
                pipe.ignore();
            }
        }
        self.keys.run::<()>(&pipe).await?;
        Ok(touched)
    }

    /// Reads some entries of lanes, `most` in all.
    pub(super) async fn read(&mut self, lanes: Set, most: usize) -> anyhow::Result<Read> {
        type Found = (usize, String, Vec<(String, Vec<u8>)>);
        let lanes: Vec<u16> = lanes.iter().collect();
        let each = most.div_ceil(lanes.len().max(1)).max(2);
        let mut pipe = redis::pipe();
        pipe.cmd("EVAL")
            .arg(READ)
            .arg(lanes.len() + 1)
            .arg(self.key("era"));
        for lane in &lanes {
            pipe.arg(self.key(lane));
        }
        pipe.arg(each).arg(BYTES);
        let ((era, found, rest),): ((String, Vec<Found>, Vec<usize>),) = self.keys.run(&pipe).await?;
        let mut read = Read {
            era,
            ..Read::default()
        };
        for lane in rest.iter().filter_map(|at| lanes.get(*at)) {
            read.more.add(*lane);
        }
        for (at, id, fields) in found {
            let Some(lane) = lanes.get(at) else { continue };
            if read.entries.len() == most {
                read.more.add(*lane);
                continue;
            }
            read.entries.push(entry(*lane, &id, fields)?);
        }
        Ok(read)
    }

    /// Removes what is stored: up to these entries, one of each lane at most.
    pub(super) async fn trim(&mut self, upto: &BTreeMap<u16, (u64, u64)>) -> anyhow::Result<()> {
        let mut pipe = redis::pipe();
        for (lane, (ms, seq)) in upto {
            let next = format!("{ms}-{}", seq.saturating_add(1));
            pipe.cmd("XTRIM")
                .arg(self.key(lane))
                .arg("MINID")
                .arg(next)
                .ignore();
        }
        self.keys.run::<()>(&pipe).await
    }

    /// How many entries wait, and in which lanes.
    pub(super) async fn waiting(&mut self) -> anyhow::Result<(u64, Set)> {
        let mut pipe = redis::pipe();
        for lane in 0..LANES {
            pipe.cmd("XLEN").arg(self.key(lane));
        }
        let lengths: Vec<u64> = self.keys.run(&pipe).await?;
        let mut lanes = Set::default();
        for (lane, _) in (0..LANES).zip(&lengths).filter(|(_, length)| **length > 0) {
            lanes.add(lane);
        }
        Ok((lengths.iter().sum(), lanes))
    }

    /// Whether this Redis keeps what it has confirmed. Gives what the operator should know although it does; an error where it does not.
    pub(super) async fn check(&mut self) -> Result<Vec<&'static str>, Unfit> {
        let mut pipe = redis::pipe();
        pipe.cmd("INFO").arg("persistence");
        let (info,): (String,) = self.keys.run(&pipe).await.map_err(Unfit::Away)?;
        if info.contains("aof_enabled:0") {
            return Err(Unfit::Forgets);
        }
        let mut warnings = Vec::new();
        match self.setting("appendfsync").await.as_deref() {
            Some("always") => {}
            Some(_) => warnings.push(
                "appendfsync of the Redis is not `always`: if its machine loses power, the last second of what was answered with 200 may be lost",
            ),
            None => warnings.push("the Redis does not tell its appendfsync: only `always` keeps everything if its machine loses power"),
        }
        let policy = self.setting("maxmemory-policy").await.unwrap_or_default();
        let limited = self.setting("maxmemory").await.is_some_and(|most| most != "0");
        if limited && policy.starts_with("allkeys") {
            return Err(Unfit::Evicts);
        }
        Ok(warnings)
    }

    /// A setting of the server; nothing where it may not be asked for.
    async fn setting(&mut self, name: &str) -> Option<String> {
        let mut pipe: Pipeline = redis::pipe();
        pipe.cmd("CONFIG").arg("GET").arg(name);
        let (pairs,): (BTreeMap<String, String>,) = self.keys.run(&pipe).await.ok()?;
        pairs.get(name).cloned()
    }
}

/// Why a Redis cannot keep deliveries.
#[derive(Debug, thiserror::Error)]
pub(super) enum Unfit {
    #[error("{0}")]
    Away(anyhow::Error),
    #[error(
        "the Redis of the queue forgets everything when it stops (appendonly is no): set `appendonly yes` and `appendfsync always` \
         there, or [router.queue] kind = \"postgres\""
    )]
    Forgets,
    #[error(
        "the Redis of the queue removes what it likes when it is full (maxmemory-policy allkeys-…): set `maxmemory-policy noeviction` \
         there, or [router.queue] kind = \"postgres\""
    )]
    Evicts,
}

fn entry(lane: u16, id: &str, fields: Vec<(String, Vec<u8>)>) -> anyhow::Result<Entry> {
    let strange = || format!("an entry of lane {lane} has the strange id {id}");
    let (ms, seq) = id.split_once('-').with_context(strange)?;
    let id = (
        ms.parse().with_context(strange)?,
        seq.parse().with_context(strange)?,
    );
    let mut entry = Entry {
        lane,
        id,
        received: id.0,
        items: String::new(),
        body: None,
    };
    for (name, value) in fields {
        match name.as_str() {
            "t" => {
                let at = std::str::from_utf8(&value)
                    .ok()
                    .and_then(|text| text.parse().ok());
                entry.received = at.unwrap_or(entry.received);
            }
            "d" => entry.items = String::from_utf8_lossy(&value).into_owned(),
            "b" => entry.body = Some(value),
            _ => {}
        }
    }
    Ok(entry)
}
