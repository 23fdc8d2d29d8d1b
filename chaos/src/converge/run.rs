//! Runs a plan: a database with the schema twice, one watched and one as a control, a gateway, and a client.
//!
//! Every statement runs in both schemas. What fails in the watched one alone failed because of pregón. At a quiet point
//! a mark is written; everything before it has been told once the mark arrives.

use std::path::Path;
use std::time::Duration;

use anyhow::Context;
use pregon_testkit::{Database, Node, NodeOptions, Server, WsClient, http};
use serde_json::value::RawValue;
use tokio_postgres::Client;

use super::follower::{Collection, Fact, Naive, columns};
use super::plan::{Plan, Step, Watch};

/// For what should happen at once, on a loaded machine.
const PATIENCE: Duration = Duration::from_secs(20);
/// How long a gap may take that is owed: two heartbeats of half a second, and the look at the catalogue.
const GAP: Duration = Duration::from_secs(4);
/// The SQLSTATE of a statement that took longer than it may.
const CANCELLED: &str = "57014";
/// The application's role, which owns its schemas and nothing of ours.
const APPLICATION: &str = "convergence_app";
/// The gateway's role.
const GATEWAY: &str = "convergence_gateway";

/// What came of a run.
#[derive(Debug, Default, Clone)]
pub struct Outcome {
    /// What is wrong; `None` is what is wanted.
    pub fault: Option<String>,
    /// Statements that ran in both schemas.
    pub statements: usize,
    /// Of these, statements that failed in both.
    pub refused: usize,
    /// Quiet points at which everything was compared.
    pub quiet: usize,
    /// Events that arrived.
    pub events: usize,
    /// Gaps that were told.
    pub gaps: usize,
    /// Its triggers wrote without end in the control too: the rest of it was left out.
    pub endless: bool,
}

/// Makes the roles that every run uses; once for each server.
pub async fn prepare(server: &Server) -> anyhow::Result<()> {
    let admin = server.admin("postgres").await?;
    let sql = format!(
        "CREATE ROLE {APPLICATION} LOGIN; GRANT pg_execute_server_program TO {APPLICATION}; CREATE ROLE {GATEWAY} LOGIN"
    );
    Ok(admin.batch_execute(&sql).await?)
}

/// Runs a plan on a server that was [`prepare`]d. An error is one of the run, not of the gateway.
pub async fn run(
    plan: &Plan,
    server: &Server,
    binary: &Path,
    naive: Option<Naive>,
) -> anyhow::Result<Outcome> {
    let database = Database::create(server).await?;
    let sessions = Sessions::open(plan, &database).await?;
    let options = NodeOptions::text(plan.config())
        .binary(binary)
        .env("DATABASE_URL", database.url_as(GATEWAY))
        .env("PREGON_ADMIN_URL", database.url());
    let mut node = match Node::spawn(options).await {
        Ok(node) => node,
        Err(error) => {
            let fault = Some(format!("the gateway does not start: {error:#}"));
            return Ok(Outcome {
                fault,
                ..Outcome::default()
            });
        }
    };
    let mut run = Run::begin(plan, sessions, &node, naive).await?;
    let ended = run.steps(plan, &node).await;
    let mut outcome = run.outcome;
    if let Err(error) = ended {
        outcome.fault = Some(format!("{error:#}"));
    }
    if outcome.fault.is_some() {
        let log = node.lines();
        let last = log.iter().skip(log.len().saturating_sub(25)).map(String::as_str);
        let last: Vec<&str> = last.collect();
        let fault = outcome.fault.take().unwrap_or_default();
        outcome.fault = Some(format!(
            "{fault}\n  the gateway's last lines:\n    {}",
            last.join("\n    ")
        ));
    }
    node.kill9().await?;
    drop_slots(&database).await?;
    Ok(outcome)
}

/// A database with a slot cannot be dropped.
async fn drop_slots(database: &Database<'_>) -> anyhow::Result<()> {
    let admin = database.client().await?;
    pregon_testkit::eventually(PATIENCE, || async {
        let sql = "SELECT pg_drop_replication_slot(slot_name) FROM pg_replication_slots WHERE database = current_database()";
        admin.execute(sql, &[]).await
    })
    .await
    .map(drop)
}

/// Two sessions in each schema, and one that looks.
struct Sessions {
    watched: [Client; 2],
    control: [Client; 2],
    admin: Client,
}

impl Sessions {
    async fn open(plan: &Plan, database: &Database<'_>) -> anyhow::Result<Self> {
        let admin = database.client().await?;
        admin
            .batch_execute(&format!(
                "CREATE SCHEMA app AUTHORIZATION {APPLICATION}; CREATE SCHEMA control AUTHORIZATION {APPLICATION}; \
                 SET timezone = 'UTC'; SET datestyle = 'ISO'; SET intervalstyle = 'postgres'; SET bytea_output = 'hex'; \
                 SET extra_float_digits = 1; SET search_path = app"
            ))
            .await?;
        let session = async |schema: &str| -> anyhow::Result<Client> {
            let client = database.client_as(APPLICATION).await?;
            let settings = format!(
                "SET search_path = {schema}; SET timezone = 'America/Caracas'; SET lock_timeout = '400ms'; SET statement_timeout = '10s'"
            );
            client.batch_execute(&settings).await?;
            Ok(client)
        };
        let sessions = Self {
            watched: [session("app").await?, session("app").await?],
            control: [session("control").await?, session("control").await?],
            admin,
        };
        for sql in &plan.schema {
            for [client, _] in [&sessions.watched, &sessions.control] {
                client
                    .batch_execute(sql)
                    .await
                    .with_context(|| format!("the schema: {sql}"))?;
            }
        }
        let [first, _] = &sessions.watched;
        first
            .batch_execute("CREATE TABLE marks (n int PRIMARY KEY)")
            .await?;
        Ok(sessions)
    }
}

struct Run {
    sessions: Sessions,
    client: WsClient,
    collections: Vec<Collection>,
    outcome: Outcome,
    marks: usize,
    /// Whether the first session is in a transaction.
    inside: bool,
    /// Whether columns changed in the transaction that runs.
    shaped: bool,
    /// Rows of transactions before this one may have other columns.
    boundary: u64,
    /// Whether a gap may be told since the last quiet point.
    may_gap: bool,
}

impl Run {
    async fn begin(
        plan: &Plan,
        sessions: Sessions,
        node: &Node,
        naive: Option<Naive>,
    ) -> anyhow::Result<Self> {
        let mut client = WsClient::connect(&node.ws_url("/ws"), &[]).await?;
        client.next_of_type("welcome", PATIENCE).await?;
        client.subscribe("marks").await?;
        let mut collections = Vec::new();
        for watch in &plan.watches {
            client.subscribe(&watch.name).await?;
            collections.push(Collection::new(watch.clone(), naive));
        }
        let mut run = Self {
            sessions,
            client,
            collections,
            outcome: Outcome::default(),
            marks: 0,
            inside: false,
            shaped: false,
            boundary: 0,
            may_gap: plan.gaps,
        };
        run.reload().await?;
        Ok(run)
    }

    async fn steps(&mut self, plan: &Plan, node: &Node) -> anyhow::Result<()> {
        for (number, step) in plan.steps.iter().enumerate() {
            let done = self.step(step, node, plan).await;
            done.with_context(|| format!("step {} of {}: {step:?}", number + 1, plan.steps.len()))?;
            if self.outcome.endless {
                return Ok(());
            }
        }
        self.quiet(node, plan).await.context("at the end")
    }

    async fn step(&mut self, step: &Step, node: &Node, plan: &Plan) -> anyhow::Result<()> {
        match step {
            Step::Sql(sql) => self.sql(0, sql).await,
            Step::Other(sql) => self.sql(1, sql).await,
            Step::Shape(sql) => {
                self.shaped = true;
                self.sql(0, sql).await
            }
            Step::Reload(sql) => {
                self.quiet(node, plan).await?;
                self.may_gap = true;
                self.sql(0, sql).await?;
                self.reload().await
            }
            Step::Quiet => self.quiet(node, plan).await,
        }
    }

    /// A statement in both schemas, side by side.
    async fn sql(&mut self, session: usize, sql: &str) -> anyhow::Result<()> {
        let [watched, control] =
            [&self.sessions.watched, &self.sessions.control].map(|pair| pair.get(session));
        let (watched, control) = (watched.context("a session")?, control.context("a session")?);
        let (here, there) = tokio::join!(watched.batch_execute(sql), control.batch_execute(sql));
        self.outcome.statements += 1;
        self.outcome.refused += usize::from(there.is_err());
        let (here, there) = (outcome_of(here)?, outcome_of(there)?);
        if there.as_ref().is_some_and(|(code, _)| code == CANCELLED) {
            self.outcome.endless = true;
            return Ok(());
        }
        anyhow::ensure!(
            here.as_ref().map(|(code, _)| code) == there.as_ref().map(|(code, _)| code),
            "the watched schema answered {}, the control {}",
            said(here.as_ref()),
            said(there.as_ref())
        );
        if session == 0 {
            self.follow_transaction(sql, here.is_some()).await?;
        }
        Ok(())
    }

    /// Keeps the boundary between rows of earlier columns and others.
    async fn follow_transaction(&mut self, sql: &str, failed: bool) -> anyhow::Result<()> {
        if sql.starts_with("BEGIN") && !sql.contains("COMMIT") {
            self.inside = !failed;
        } else if sql.starts_with("COMMIT") || sql == "ROLLBACK" {
            self.inside = false;
        }
        if self.shaped && !self.inside {
            let row = self
                .sessions
                .admin
                .query_one("SELECT txid_current()::text", &[])
                .await?;
            self.boundary = row.get::<_, String>(0).parse()?;
            self.shaped = false;
        }
        Ok(())
    }

    /// The table as it is, as the gateway renders it.
    async fn table(&self, watch: &Watch) -> anyhow::Result<Vec<Fact>> {
        let rows = self.sessions.admin.query(&watch.query(), &[]).await?;
        let fact = |row: &tokio_postgres::Row| -> anyhow::Result<Fact> {
            let writer: u64 = row.get::<_, String>(1).parse()?;
            Ok(Fact {
                row: columns(row.get(0))?.context("a row")?,
                older: writer < self.boundary,
            })
        };
        rows.iter().map(fact).collect()
    }

    async fn reload(&mut self) -> anyhow::Result<()> {
        for at in 0..self.collections.len() {
            let Some(watch) = self.collections.get(at).map(|one| one.watch().clone()) else {
                continue;
            };
            let table = self.table(&watch).await?;
            if let Some(collection) = self.collections.get_mut(at) {
                collection.load(table)?;
            }
        }
        Ok(())
    }

    /// Ends transactions, waits for a mark, and compares everything.
    async fn quiet(&mut self, node: &Node, plan: &Plan) -> anyhow::Result<()> {
        for client in self.sessions.watched.iter().chain(&self.sessions.control) {
            client.batch_execute("ROLLBACK").await?;
        }
        self.follow_transaction("ROLLBACK", false).await?;
        self.marks += 1;
        let [writer, _] = &self.sessions.watched;
        writer
            .batch_execute(&format!("INSERT INTO marks VALUES ({})", self.marks))
            .await
            .context("the mark")?;
        self.until_mark(node).await?;
        self.outcome.quiet += 1;
        for at in 0..self.collections.len() {
            self.compare(at, node).await?;
        }
        self.may_gap = plan.gaps;
        Ok(())
    }

    async fn compare(&mut self, at: usize, node: &Node) -> anyhow::Result<()> {
        let watch = self.collections.get(at).context("a collection")?.watch().clone();
        let table = self.table(&watch).await?;
        let different = |run: &Self| -> anyhow::Result<Option<String>> {
            run.collections
                .get(at)
                .map_or(Ok(None), |one| one.difference(&table))
        };
        let unsure = |run: &Self| run.collections.get(at).is_some_and(Collection::unsure);
        let mut difference = different(self)?;
        let deadline = tokio::time::Instant::now() + GAP;
        while difference.is_some() && !unsure(self) {
            let left = deadline.saturating_duration_since(tokio::time::Instant::now());
            let Ok(text) = self.client.next_text(left).await else {
                break;
            };
            self.message(&text)?;
        }
        if let Some(told) = difference.take()
            && !unsure(self)
        {
            anyhow::bail!(
                "the collection is not the table, and no gap was told\n  {told}\n  /readyz: {}",
                ready(node).await
            );
        }
        let collection = self.collections.get_mut(at).context("a collection")?;
        if collection.unsure() {
            return collection.load(table);
        }
        collection.agreed();
        Ok(())
    }

    async fn until_mark(&mut self, node: &Node) -> anyhow::Result<()> {
        let mark = format!("{{\"n\":{}}}", self.marks);
        let deadline = tokio::time::Instant::now() + PATIENCE;
        loop {
            let left = deadline.saturating_duration_since(tokio::time::Instant::now());
            let text = match self.client.next_text(left).await {
                Ok(text) => text,
                Err(error) => anyhow::bail!(
                    "mark {} has not arrived: {error:#}; /readyz: {}",
                    self.marks,
                    ready(node).await
                ),
            };
            if self.message(&text)?.as_deref() == Some(mark.as_str()) {
                return Ok(());
            }
        }
    }

    /// Takes a message; answers the data of a mark.
    fn message(&mut self, text: &str) -> anyhow::Result<Option<String>> {
        let message: std::collections::BTreeMap<String, Box<RawValue>> =
            serde_json::from_str(text).with_context(|| format!("a message: {text}"))?;
        let word = |name: &str| -> Option<String> { serde_json::from_str(message.get(name)?.get()).ok()? };
        let channel = word("channel");
        match word("type").as_deref() {
            Some("gap") => {
                self.outcome.gaps += 1;
                let reason = word("reason").unwrap_or_default();
                anyhow::ensure!(self.may_gap, "a gap that nothing asks for: {text}");
                for collection in &mut self.collections {
                    if channel
                        .as_ref()
                        .is_none_or(|channel| *channel == collection.watch().name)
                    {
                        collection.gap(&reason);
                    }
                }
            }
            Some("event") => {
                let data = message.get("data").map(AsRef::as_ref);
                if channel.as_deref() == Some("marks") {
                    return Ok(data.map(|data| data.get().to_owned()));
                }
                self.outcome.events += 1;
                let of = |one: &&mut Collection| Some(&one.watch().name) == channel.as_ref();
                let collection = self.collections.iter_mut().find(of);
                collection
                    .with_context(|| format!("an event of a channel that nobody follows: {text}"))?
                    .apply(&word("event").unwrap_or_default(), data)?;
            }
            _ => {}
        }
        Ok(None)
    }
}

async fn ready(node: &Node) -> String {
    match http::get(&node.url("/readyz")).await {
        Ok(answer) => format!("{} {}", answer.status(), answer.body.trim()),
        Err(error) => format!("{error:#}"),
    }
}

/// The SQLSTATE and the words of an error; a connection that broke is one of the run.
fn outcome_of(result: Result<(), tokio_postgres::Error>) -> anyhow::Result<Option<(String, String)>> {
    let Err(error) = result else {
        return Ok(None);
    };
    match error.as_db_error() {
        Some(said) => {
            let context = said
                .where_()
                .map(|context| format!(" ({context})"))
                .unwrap_or_default();
            Ok(Some((
                said.code().code().to_owned(),
                format!("{}{context}", said.message()),
            )))
        }
        None => Err(error).context("a session of the application broke"),
    }
}

fn said(error: Option<&(String, String)>) -> String {
    match error {
        None => "that all is well".to_owned(),
        Some((code, message)) => format!("{code} {message}"),
    }
}
