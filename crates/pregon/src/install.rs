//! From the configuration's watches to what is installed in the database.

use anyhow::Context as _;
use pregon_capture::catalog::names::{fingerprint, split_qualified};
use pregon_capture::change::Op;
use pregon_capture::connect::Settings;
use pregon_capture::install::{Mode, Target, WatchSpec};

use crate::config::{Capture, Config, LogKind, Postgres, Secret};

/// The watches as the installer and the listener want them.
pub(crate) fn specs(config: &Config) -> Vec<WatchSpec> {
    config.watch.iter().map(spec).collect()
}

fn spec(watch: &crate::config::Watch) -> WatchSpec {
    let (schema, table) = split(&watch.table);
    let mut spec = WatchSpec::new(watch.name.clone(), schema, table);
    spec.operations = watch.operations.iter().copied().map(Op::from).collect();
    spec.condition = watch.condition.clone();
    spec.columns = watch.columns.clone();
    spec.old = watch.old;
    spec.function = watch.function.clone();
    spec.trigger = watch.trigger.clone();
    spec.adopt = watch.adopt;
    spec
}

/// `schema.table`, each part plain or in double quotes (doubled inside them); without a schema it is `public`.
fn split(table: &str) -> (String, String) {
    let (schema, table) = split_qualified(table);
    let schema = schema.filter(|schema| !schema.is_empty());
    (schema.unwrap_or_else(|| "public".into()), table)
}

/// The own connection of a gateway or a router.
pub(crate) fn settings(config: &Config) -> anyhow::Result<Settings> {
    let url = config
        .postgres
        .as_ref()
        .and_then(|postgres| postgres.url.as_ref());
    let url = url.context("no database is configured: add [postgres] with url, or set DATABASE_URL")?;
    Ok(Settings::parse(url.reveal())?)
}

/// Everything that shall be in the database. The gateway's role is the user of its own connection.
pub(crate) fn target(config: &Config) -> anyhow::Result<Target> {
    let settings = |url: fn(&Postgres) -> Option<&Secret>| {
        let url = config.postgres.as_ref().and_then(url);
        url.map(|url| Settings::parse(url.reveal())).transpose()
    };
    let user = |settings: &Option<Settings>| settings.as_ref()?.user().map(str::to_owned);
    let gateway = settings(|postgres| postgres.url.as_ref())?;
    let replication = settings(Postgres::replication)?;
    let database = replication
        .as_ref()
        .and_then(Settings::database)
        .unwrap_or_default();
    Ok(Target {
        watches: specs(config),
        gateway_role: user(&gateway),
        mode: mode(config),
        log: config.log.kind == LogKind::Postgres,
        slot: match config
            .postgres
            .as_ref()
            .and_then(|postgres| postgres.slot.clone())
        {
            Some(slot) => slot,
            None => slot_of(database),
        },
        replication_role: user(&replication),
        queries: queries(config),
        ..Target::default()
    })
}

/// The queries of rights and enrichment.
fn queries(config: &Config) -> Vec<String> {
    let rights = config
        .channel
        .iter()
        .filter_map(|channel| channel.allow_sql.clone());
    let enrichments = config
        .route
        .iter()
        .filter_map(|route| route.enrich.as_ref().map(|enrich| enrich.sql.clone()));
    rights.chain(enrichments).collect()
}

/// How changes leave the database. Without a watch nothing has to be kept there: `pregon.publish` notifies whoever listens.
pub(crate) fn mode(config: &Config) -> Mode {
    match config.postgres.as_ref().map(|postgres| postgres.capture) {
        Some(Capture::Outbox) if !config.watch.is_empty() => Mode::Outbox,
        Some(Capture::Wal) => Mode::Wal,
        _ => Mode::Notify,
    }
}

/// Slots belong to the whole server, so a default name has to tell databases apart.
fn slot_of(database: &str) -> String {
    let plain = database
        .chars()
        .all(|c| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '_');
    if plain && database.len() <= 50 {
        return format!("pregon_{database}");
    }
    format!("pregon_{}", fingerprint(database).to_lowercase())
}

#[cfg(test)]
mod tests {
    use super::split;

    #[test]
    fn tables_are_split_outside_of_quotes() {
        assert_eq!(split("ventas"), ("public".into(), "ventas".into()));
        assert_eq!(split("app.ventas"), ("app".into(), "ventas".into()));
        assert_eq!(
            split("\"My.App\".\"Ventas 1\""),
            ("My.App".into(), "Ventas 1".into())
        );
        assert_eq!(split("\"a\"\"b\""), ("public".into(), "a\"b".into()));
        assert_eq!(split("\"s\"\".\".\"\"\"t\""), ("s\".".into(), "\"t".into()));
    }
}
