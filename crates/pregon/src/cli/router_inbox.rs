//! `pregon router inbox`: what waits and what was given up, to look at and to try again.

use std::process::ExitCode;

use pregon_capture::query::Pool;
use serde_json::Value;

use super::{Usage, output};
use crate::config::Config;
use crate::whatsapp::database;

/// Look at items that wait or were given up, and try them again
#[derive(Debug, clap::Subcommand)]
pub(super) enum Command {
    /// List dead letters, or what waits
    #[command(after_help = "\
Examples:
  pregon router inbox list
  pregon router inbox list --waiting --json")]
    List {
        /// What waits or is to be tried again, instead of dead letters
        #[arg(long)]
        waiting: bool,
        /// Most lines
        #[arg(long, default_value_t = 100)]
        limit: u32,
        /// Print one JSON object per line
        #[arg(long)]
        json: bool,
    },
    /// Print an item with its error and its delivery
    #[command(after_help = "\
Examples:
  pregon router inbox show 42")]
    Show {
        /// The item's number
        item: i64,
    },
    /// Give dead letters back to the router
    #[command(after_help = "\
Examples:
  pregon router inbox retry 42 43
  pregon router inbox retry --all")]
    Retry {
        /// The items' numbers
        items: Vec<i64>,
        /// All dead letters
        #[arg(long, conflicts_with = "items")]
        all: bool,
        /// Print one JSON object
        #[arg(long)]
        json: bool,
    },
}

impl Command {
    pub(super) fn wants_json(&self) -> bool {
        match self {
            Self::Show { .. } => true,
            // A list is a stream of lines.
            Self::List { .. } => false,
            Self::Retry { json, .. } => *json,
        }
    }
}

const COLUMNS: &str =
    "id, delivery, lane, item ->> 'kind' AS kind, item ->> 'numero' AS numero, item ->> 'wamid' AS wamid,
    received, attempts, error";

const SHOW: &str = "
    SELECT row_to_json(q)::text FROM (
      SELECT i.*, convert_from(b.body, 'UTF8') AS body FROM (
        SELECT id, delivery, lane, item, received, attempts, error, due, false AS dead FROM pregon_router.work
        UNION ALL
        SELECT id, delivery, lane, item, received, attempts, error, NULL, true FROM pregon_router.dead_letter) AS i
        LEFT JOIN pregon_router.inbox AS b ON b.id = i.delivery
       WHERE i.id = $1::bigint) AS q";

const RETRY: &str = "
    WITH back AS (
      DELETE FROM pregon_router.dead_letter WHERE $2::boolean OR id = ANY ($1::bigint[]) RETURNING *
    ), work AS (
      INSERT INTO pregon_router.work (id, delivery, lane, who, item, received)
      SELECT id, delivery, lane, who, item, received FROM back RETURNING 1)
    SELECT count(*)::text FROM work";

pub(super) async fn run(command: &Command, config: &Config) -> anyhow::Result<ExitCode> {
    let pool = database::pool(config, "inbox", 1)?;
    match command {
        Command::List { waiting, limit, json } => list(&pool, *waiting, *limit, *json).await?,
        Command::Show { item } => show(&pool, *item).await?,
        Command::Retry { items, all, json } => {
            if items.is_empty() && !all {
                return Err(Usage::error("name the items, or give --all"));
            }
            retry(&pool, items, *all, *json).await?;
        }
    }
    Ok(ExitCode::SUCCESS)
}

async fn list(pool: &Pool, waiting: bool, limit: u32, json: bool) -> anyhow::Result<()> {
    let table = if waiting { "work" } else { "dead_letter" };
    let sql = format!(
        "SELECT row_to_json(q)::text FROM (SELECT {COLUMNS} FROM pregon_router.{table} ORDER BY id LIMIT $1::int) AS q"
    );
    let rows = pool.query_texts(&sql, &[Some(&limit.to_string())]).await?;
    for row in rows.into_iter().flatten().flatten() {
        output::line(if json { row } else { line(&row) })?;
    }
    Ok(())
}

async fn show(pool: &Pool, item: i64) -> anyhow::Result<()> {
    let number = item.to_string();
    let rows = match pool.query_texts(SHOW, &[Some(&number)]).await {
        Ok(rows) => rows,
        // A body that is no text is shown as bytes.
        Err(_) => {
            let bytes = SHOW.replace("convert_from(b.body, 'UTF8')", "encode(b.body, 'hex')");
            pool.query_texts(&bytes, &[Some(&number)]).await?
        }
    };
    let Some(row) = rows.into_iter().flatten().flatten().next() else {
        anyhow::bail!("there is no item {item}: `pregon router inbox list` names them");
    };
    output::json(&serde_json::from_str::<Value>(&row)?)
}

async fn retry(pool: &Pool, items: &[i64], all: bool, json: bool) -> anyhow::Result<()> {
    let list: Vec<String> = items.iter().map(ToString::to_string).collect();
    let list = format!("{{{}}}", list.join(","));
    let all = if all { "true" } else { "false" };
    let count = pool.query_text_value(RETRY, &[Some(&list), Some(all)]).await?;
    if json {
        return output::json(&serde_json::json!({ "retried": count.parse::<u64>().unwrap_or(0) }));
    }
    output::line(format_args!("{count} given back to the router"))
}

fn line(row: &str) -> String {
    let row: Value = serde_json::from_str(row).unwrap_or_default();
    let text = |key: &str| match row.get(key) {
        Some(Value::String(text)) => text.clone(),
        None | Some(Value::Null) => "-".to_owned(),
        Some(other) => other.to_string(),
    };
    let fields = ["id", "received", "kind", "numero", "wamid", "attempts", "error"].map(text);
    fields.join("  ")
}
