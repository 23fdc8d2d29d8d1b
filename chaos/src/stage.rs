//! What the run is about: a PostgreSQL with fsync, the release binary with a log on the disk, and proxies before both.
//!
//! The stage owns the servers; only the director changes their state.

use std::path::Path;

use anyhow::Context;
use pregon_testkit::{Node, NodeOptions, Proxy, Server, postgres};

use crate::check::Truth;
use crate::client::{MARKED_ROW, MARKER};
use crate::clock::Clock;
use crate::disk::Disk;
use crate::writer::{CONTENDED, ROOMS};

/// Signs the clients' tokens.
pub(crate) const SECRET: &str = "chaos-secret-of-this-run-and-no-other";

const SCHEMA: &str = "CREATE TABLE facts (id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY, room int NOT NULL, writer int NOT NULL, \
    n bigint NOT NULL, pad text NOT NULL DEFAULT '');
    CREATE TABLE contended (id int PRIMARY KEY, version bigint NOT NULL);";

/// Which capture the gateway uses.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub(crate) enum Capture {
    Outbox,
    Wal,
    Notify,
}

impl Capture {
    pub(crate) fn as_str(self) -> &'static str {
        match self {
            Self::Outbox => "outbox",
            Self::Wal => "wal",
            Self::Notify => "notify",
        }
    }
}

/// See the module.
pub(crate) struct Stage {
    pub(crate) server: Server,
    /// For writers: not through the proxy, so that what they are told of a COMMIT is true.
    pub(crate) url: String,
    pub(crate) to_postgres: Proxy,
    pub(crate) node: Node,
    pub(crate) to_node: Proxy,
    /// Where the gateway's log lies, if that could be mounted.
    pub(crate) disk: Option<Disk>,
    /// The gateway's, if it could be given one of its own.
    pub(crate) clock: Option<Clock>,
}

impl Stage {
    /// Starts everything.
    pub(crate) async fn build(binary: &Path, capture: Capture) -> anyhow::Result<Self> {
        let mut options = postgres::Options {
            fsync: true,
            ..postgres::Options::default()
        };
        options.settings = vec![
            ("wal_level".into(), "logical".into()),
            ("deadlock_timeout".into(), "100ms".into()),
        ];
        let server = Server::start(options).await?;
        let admin = postgres::connect(&server.superuser_url()).await?;
        admin.batch_execute("CREATE DATABASE chaos").await?;
        let url = server.url_for("postgres", "chaos");
        let database = postgres::connect(&url).await?;
        database.batch_execute(SCHEMA).await?;
        let rows = format!(
            "INSERT INTO contended SELECT g, 0 FROM generate_series(0, {}) g; INSERT INTO contended VALUES ({MARKED_ROW}, 0)",
            CONTENDED - 1
        );
        database.batch_execute(&rows).await?;
        let to_postgres = Proxy::start(server.address()).await?;
        let gateway = server.url_at(to_postgres.port(), "postgres", "chaos");
        let disk = Disk::mount();
        let mut options = NodeOptions::text(config(capture))
            .binary(binary)
            .env("DATABASE_URL", gateway)
            .env("JWT_SECRET", SECRET);
        if let Some(disk) = &disk {
            options = options.env("PREGON_DATA", disk.path().join("log").to_string_lossy());
        }
        let clock = Clock::find();
        if let Some(clock) = &clock {
            options = clock.given_to(options);
        }
        let node = Node::spawn(options);
        let node = node.await.context("the gateway")?;
        let to_node = Proxy::start(node.address()).await?;
        Ok(Self {
            server,
            url,
            to_postgres,
            node,
            to_node,
            disk,
            clock,
        })
    }

    /// Writes a mark on every channel.
    pub(crate) async fn mark(&self, number: usize) -> anyhow::Result<()> {
        let database = postgres::connect(&self.url).await?;
        let sql = format!(
            "INSERT INTO facts (room, writer, n) SELECT g, {MARKER}, {number} FROM generate_series(0, {}) g; \
             UPDATE contended SET version = {number} WHERE id = {MARKED_ROW}",
            ROOMS - 1
        );
        Ok(database.batch_execute(&sql).await?)
    }

    /// What was committed.
    pub(crate) async fn truth(&self) -> anyhow::Result<Truth> {
        let database = postgres::connect(&self.url).await?;
        let mut truth = Truth::default();
        let sql = format!("SELECT room, writer, n FROM facts WHERE writer <> {MARKER}");
        for row in database.query(&sql, &[]).await? {
            let (room, writer): (i32, i32) = (row.get(0), row.get(1));
            let line = (u32::try_from(room)?, u32::try_from(writer)?);
            truth.facts.entry(line).or_default().insert(row.get(2));
        }
        let sql = format!("SELECT id, version FROM contended WHERE id <> {MARKED_ROW}");
        for row in database.query(&sql, &[]).await? {
            truth
                .rows
                .insert(u32::try_from(row.get::<_, i32>(0))?, row.get(1));
        }
        Ok(truth)
    }
}

fn config(capture: Capture) -> String {
    format!(
        r#"
[server]
drain = "500ms"
ping = "2s"
pong_timeout = "1s"
[postgres]
capture = "{}"
apply = "auto"
[log]
kind = "disk"
window = "4MiB"
[auth]
required = true
[limits]
history = 1000000
queue = "4MiB"
[socketio]
recovery = true
[[watch]]
table = "facts"
operations = ["insert"]
[[watch]]
table = "contended"
operations = ["update"]
[[route]]
from = "facts"
to = "room_{{room}}"
event = "fact"
fields = ["room", "writer", "n", "pad"]
[[route]]
from = "contended"
to = "rows"
event = "row"
[[channel]]
name = "room_{{id}}"
subscribe = "claims.rooms.exists(room, string(room) == channel.id)"
[[channel]]
name = "rows"
subscribe = "claims.rows"
"#,
        capture.as_str()
    )
}
