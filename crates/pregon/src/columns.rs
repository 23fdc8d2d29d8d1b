//! Compares the names of the configuration with the database: columns of routes and of `[[decrypt]]`, and the router's time zone.
//!
//! Asked by `serve` when it starts and reloads, by `check --database` and by `doctor`. Nothing is refused for it at the start: an event
//! whose route does not look at the wrong name still goes its way.

use std::path::Path;

use pregon_capture::catalog::table_facts;
use pregon_capture::connect::{Session, Settings};
use pregon_capture::query::NamedSql;

use crate::check::names::{self, Carried, Wrong};
use crate::config::{Config, Enrich, Problems};

/// Everything that the configuration names and the database has not. A table that is missing is the installer's to name.
pub(crate) async fn examine(session: &Session, config: &Config) -> Result<Vec<Wrong>, tokio_postgres::Error> {
    let mut tables = Vec::new();
    for spec in crate::install::specs(config) {
        if let Some(facts) = table_facts(session, &spec.schema, &spec.table).await? {
            let carries = |name: &String| spec.columns.as_ref().is_none_or(|columns| columns.contains(name));
            tables.push(Carried {
                watch: spec.name.clone(),
                table: facts.plain_name(),
                columns: facts
                    .columns
                    .into_iter()
                    .map(|column| column.name)
                    .filter(carries)
                    .collect(),
            });
        }
    }
    let mut added = Vec::new();
    for enrich in config.route.iter().filter_map(|route| route.enrich.as_ref()) {
        added.push((enrich.sql.as_str(), columns_of(session, enrich).await));
    }
    let of = |enrich: &Enrich| added.iter().find(|(sql, _)| *sql == enrich.sql)?.1.clone();
    let mut wrong = names::wrong(config, &tables, &of);
    wrong.extend(time_zone(session, config).await?);
    Ok(wrong)
}

/// The columns that a query gives; `None` where the server cannot say, which `doctor` examines.
async fn columns_of(session: &Session, enrich: &Enrich) -> Option<Vec<String>> {
    let sql = NamedSql::select(&enrich.sql).ok()?;
    let statement = session.prepare(&sql.numbered()).await.ok()?;
    Some(
        statement
            .columns()
            .iter()
            .map(|column| column.name().to_owned())
            .collect(),
    )
}

/// A time zone of the router's rules that the server does not know.
pub(crate) async fn time_zone(
    session: &Session,
    config: &Config,
) -> Result<Option<Wrong>, tokio_postgres::Error> {
    let Some(router) = &config.router else {
        return Ok(None);
    };
    if knows_zone(session, &router.timezone).await? {
        return Ok(None);
    }
    Ok(Some(Wrong {
        key: "router.timezone".into(),
        value: Some(router.timezone.clone()),
        message: format!("the server knows no time zone `{}`", router.timezone),
        remedy: "take a name of `SELECT name FROM pg_timezone_names`; the old names of zones are not installed everywhere \
                 (Debian: package tzdata-legacy)"
            .into(),
    }))
}

/// Whether the server takes the text for a time zone.
async fn knows_zone(session: &Session, zone: &str) -> Result<bool, tokio_postgres::Error> {
    match session
        .query_one("SELECT now() AT TIME ZONE $1::text IS NOT NULL", &[&zone])
        .await
    {
        Ok(row) => row.try_get(0),
        // 22023: invalid_parameter_value, which is what an unknown zone is.
        Err(error) if error.code().is_some_and(|code| code.code() == "22023") => Ok(false),
        Err(error) => Err(error),
    }
}

/// The same with file and line.
pub(crate) fn placed(wrong: &[Wrong], path: Option<&Path>) -> Problems {
    let text = path
        .and_then(|path| std::fs::read_to_string(path).ok())
        .unwrap_or_default();
    let file = path.map_or_else(|| "configuration".into(), |path| path.display().to_string());
    names::place(&text, &file, wrong)
}

/// Says what is wrong; a database that does not answer is spoken of elsewhere.
pub(crate) async fn warn(config: &Config, path: Option<&Path>) {
    let Some(postgres) = config.postgres.as_ref().filter(|_| !config.watch.is_empty()) else {
        return;
    };
    let settings = postgres
        .admin()
        .and_then(|url| Settings::parse(url.reveal()).ok());
    let Some(settings) = settings else { return };
    let Ok(session) = settings.with_name("check").open().await else {
        return;
    };
    let wrong = match examine(&session, config).await {
        Ok(wrong) => wrong,
        Err(error) => {
            tracing::warn!(%error, "the columns of the routes could not be compared with the database");
            return;
        }
    };
    for problem in &placed(&wrong, path).0 {
        tracing::warn!(
            file = problem.file,
            line = problem.line,
            key = problem.key,
            value = problem.value,
            remedy = problem.remedy,
            "{}",
            problem.message
        );
    }
}
