//! A test's own database, created in milliseconds and dropped when the value goes.
//!
//! Drops happen on a thread of their own that lives as long as the process, because `Drop` cannot wait on the
//! runtime of a test which is about to end.

use std::{
    path::Path,
    sync::{
        OnceLock,
        atomic::{AtomicU64, Ordering},
        mpsc,
    },
};

use anyhow::Context;
use tokio::sync::mpsc::{UnboundedReceiver, unbounded_channel};
use tokio_postgres::{AsyncMessage, Client, NoTls};

use super::server::Server;

/// Connects without TLS and drives the connection on the caller's runtime until the client is dropped.
pub async fn connect(url: &str) -> anyhow::Result<Client> {
    let (client, connection) = tokio_postgres::connect(url, NoTls)
        .await
        .context("connecting to PostgreSQL")?;
    tokio::spawn(async move {
        // The client's next call reports what went wrong.
        let _ = connection.await;
    });
    Ok(client)
}

/// Listens on a channel; its payloads come until the receiver is dropped.
pub async fn notifications(url: &str, channel: &str) -> anyhow::Result<UnboundedReceiver<String>> {
    let (client, mut connection) = tokio_postgres::connect(url, NoTls)
        .await
        .context("connecting to PostgreSQL")?;
    let (sender, receiver) = unbounded_channel();
    tokio::spawn(async move {
        while let Some(Ok(message)) = std::future::poll_fn(|cx| connection.poll_message(cx)).await {
            if let AsyncMessage::Notification(note) = message
                && sender.send(note.payload().to_owned()).is_err()
            {
                return;
            }
        }
    });
    client.batch_execute(&format!("LISTEN \"{channel}\"")).await?;
    // The connection ends with its client, so it is kept for as long as the process lives.
    std::mem::forget(client);
    Ok(receiver)
}

/// A database of its own on a server.
#[derive(Debug)]
pub struct Database<'a> {
    server: &'a Server,
    name: String,
}

impl<'a> Database<'a> {
    /// Makes an empty database.
    pub async fn create(server: &'a Server) -> anyhow::Result<Self> {
        let name = unique("t");
        let admin = server.admin("postgres").await?;
        admin
            .batch_execute(&format!("CREATE DATABASE {name} TEMPLATE template0"))
            .await?;
        Ok(Self { server, name })
    }

    /// Its name.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// The server it lives on.
    pub fn server(&self) -> &'a Server {
        self.server
    }

    /// The superuser's URL by TCP.
    pub fn url(&self) -> String {
        self.url_as("postgres")
    }

    /// A role's URL by TCP.
    pub fn url_as(&self, role: &str) -> String {
        self.server.url_for(role, &self.name)
    }

    /// A superuser's connection.
    pub async fn client(&self) -> anyhow::Result<Client> {
        self.server.admin(&self.name).await
    }

    /// A role's connection, by TCP without TLS.
    pub async fn client_as(&self, role: &str) -> anyhow::Result<Client> {
        connect(&self.url_as(role)).await
    }

    /// Runs SQL, several statements if need be, as superuser.
    pub async fn execute(&self, sql: &str) -> anyhow::Result<()> {
        Ok(self.client().await?.batch_execute(sql).await?)
    }

    /// Runs a file of plain SQL (no `psql` commands) as superuser.
    pub async fn execute_file(&self, path: &Path) -> anyhow::Result<()> {
        let sql = std::fs::read_to_string(path).with_context(|| format!("reading {}", path.display()))?;
        self.execute(&sql)
            .await
            .with_context(|| format!("running {}", path.display()))
    }

    /// Makes a role that can log in and may do nothing yet. Roles belong to the whole server, so its name is unique.
    pub async fn create_role(&self, prefix: &str) -> anyhow::Result<String> {
        let role = unique(prefix);
        self.execute(&format!("CREATE ROLE {role} LOGIN PASSWORD '{role}'"))
            .await?;
        Ok(role)
    }
}

impl Drop for Database<'_> {
    fn drop(&mut self) {
        let _ = dropper().send(Doomed {
            url: self.server.socket_url("postgres", "postgres"),
            name: self.name.clone(),
        });
    }
}

struct Doomed {
    url: String,
    name: String,
}

fn dropper() -> &'static mpsc::Sender<Doomed> {
    static DROPPER: OnceLock<mpsc::Sender<Doomed>> = OnceLock::new();
    DROPPER.get_or_init(|| {
        let (sender, doomed) = mpsc::channel::<Doomed>();
        std::thread::spawn(move || {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
            let Ok(runtime) = runtime else { return };
            for database in doomed {
                // The server may be gone already, and then so is the database.
                let _ = runtime.block_on(drop_database(&database));
            }
        });
        sender
    })
}

async fn drop_database(doomed: &Doomed) -> anyhow::Result<()> {
    let admin = connect(&doomed.url).await?;
    Ok(admin
        .batch_execute(&format!("DROP DATABASE IF EXISTS {} WITH (FORCE)", doomed.name))
        .await?)
}

fn unique(prefix: &str) -> String {
    static NUMBER: AtomicU64 = AtomicU64::new(0);
    format!(
        "{prefix}_{}_{}",
        std::process::id(),
        NUMBER.fetch_add(1, Ordering::Relaxed)
    )
}
