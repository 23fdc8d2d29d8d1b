//! `pregon types`: the events of the configuration as TypeScript, for clients that know what they get.

mod events;
mod typescript;

use std::process::ExitCode;

use anyhow::Context as _;
use pregon_capture::catalog::shape::{self, Field};
use pregon_capture::catalog::table_facts;
use pregon_capture::connect::Session;
use pregon_capture::install::WatchSpec;

use super::settings::{self, File};
use super::{block_on, output};
use crate::config::Config;

/// Print TypeScript types of the events: what the routes publish, and the tables that are watched
///
/// Reads the columns of watched tables from the database; without a watch it connects to nothing.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  pregon types > src/events.d.ts
  DATABASE_URL=postgres://gateway@localhost/shop pregon types --config shop.toml")]
pub(super) struct Args {}

/// A watched table.
struct Table {
    /// Name of the watch.
    watch: String,
    /// `schema.table`, for people.
    title: String,
    fields: Vec<Field>,
}

pub(super) fn run(_: &Args, file: &File) -> anyhow::Result<ExitCode> {
    let config = file.load()?;
    let tables = block_on(tables(&config))?;
    let text = typescript::render(&tables, &events::of(&config, &tables));
    output::bytes(text.as_bytes())?;
    Ok(ExitCode::SUCCESS)
}

async fn tables(config: &Config) -> anyhow::Result<Vec<Table>> {
    let specs = crate::install::specs(config);
    if specs.is_empty() {
        return Ok(Vec::new());
    }
    let session = settings::admin(config).await?;
    let mut tables = Vec::with_capacity(specs.len());
    for spec in &specs {
        tables.push(table(&session, spec).await?);
    }
    Ok(tables)
}

async fn table(session: &Session, spec: &WatchSpec) -> anyhow::Result<Table> {
    let facts = table_facts(session, &spec.schema, &spec.table).await?;
    let facts = facts.with_context(|| {
        format!(
            "watch {}: the database has no table {}.{}; create it, or correct `table`",
            spec.name, spec.schema, spec.table
        )
    })?;
    let mut fields = shape::fields(session, facts.oid).await?;
    if let Some(columns) = &spec.columns {
        fields.retain(|field| columns.contains(&field.name));
    }
    Ok(Table {
        watch: spec.name.clone(),
        title: facts.plain_name(),
        fields,
    })
}
