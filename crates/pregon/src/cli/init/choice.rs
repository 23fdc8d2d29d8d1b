//! What goes into the file: answers, options, and what is proposed without either.

use std::collections::HashSet;

use pregon_capture::catalog::names::{spelt, split_qualified};
use pregon_capture::catalog::survey::{Survey, SurveyedTable};

use super::super::{Usage, settings::variable};
use super::{Args, ask};
use crate::route::rule::{CLIENTS, PUBLISH};

/// More tables than this are hardly all meant for screens, and nobody wants a trigger on each of a hundred by pressing return.
const PROPOSED: usize = 12;

/// Where the URL of the database comes from.
#[derive(Debug)]
pub(super) enum Url {
    /// It will be there for the next command as well, and stays out of the file.
    Environment(String),
    Written(String),
}

impl Url {
    pub(super) fn reveal(&self) -> &str {
        match self {
            Self::Environment(url) | Self::Written(url) => url,
        }
    }
}

/// How changes are captured.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub(super) enum Mode {
    Outbox,
    Wal,
    Notify,
}

impl Mode {
    /// The word of the configuration.
    pub(super) fn as_str(self) -> &'static str {
        match self {
            Self::Outbox => "outbox",
            Self::Wal => "wal",
            Self::Notify => "notify",
        }
    }
}

/// A table that is watched, under the name that its source and its channel have.
#[derive(Debug)]
pub(super) struct Watched {
    pub(super) name: String,
    pub(super) table: SurveyedTable,
}

/// All that the file says.
#[derive(Debug)]
pub(super) struct Choice {
    pub(super) url: Url,
    pub(super) survey: Survey,
    pub(super) watched: Vec<Watched>,
    pub(super) capture: Mode,
    pub(super) listen: String,
    pub(super) auth: Auth,
}

/// Who may connect.
#[derive(Debug)]
pub(super) enum Auth {
    /// Whoever reaches the port.
    Everyone,
    /// JWT_SECRET is set, and will be for the next command.
    Environment,
    /// A new secret, in the file.
    Secret(String),
}

impl Choice {
    pub(super) fn of(args: &Args, url: Url, survey: Survey, asks: bool) -> anyhow::Result<Self> {
        let chosen = if asks && args.tables.is_empty() && !args.all {
            ask::tables(&survey.tables, &proposed(&survey.tables))?
        } else {
            without_asking(args, &survey.tables)?
        };
        let capture = match args.capture {
            Some(mode) => mode,
            None if asks => ask::capture(&survey.wal_level)?,
            None => Mode::Outbox,
        };
        let everyone = args.without_token || asks && !ask::tokens()?;
        let auth = if everyone {
            Auth::Everyone
        } else if variable("JWT_SECRET").is_some() {
            Auth::Environment
        } else {
            Auth::Secret(secret()?)
        };
        Ok(Self {
            watched: named(&survey.tables, &chosen),
            url,
            survey,
            capture,
            listen: args.listen.clone(),
            auth,
        })
    }

    /// Whether the gateway may install what it needs by itself.
    pub(super) fn may_install(&self) -> bool {
        let triggers = self.capture == Mode::Wal || self.watched.iter().all(|one| one.table.may_trigger);
        self.survey.may_install && triggers
    }

    /// Whether others should not read the file.
    pub(super) fn holds_secret(&self) -> bool {
        matches!(self.auth, Auth::Secret(_)) || matches!(self.url, Url::Written(_))
    }
}

/// `table`, or `schema.table` outside of `public`, as the configuration spells it.
pub(super) fn spelling(table: &SurveyedTable) -> String {
    match table.schema.as_str() {
        "public" => spelt(&table.name),
        schema => format!("{}.{}", spelt(schema), spelt(&table.name)),
    }
}

fn without_asking(args: &Args, tables: &[SurveyedTable]) -> anyhow::Result<Vec<usize>> {
    if args.all {
        return Ok((0..tables.len()).collect());
    }
    if !args.tables.is_empty() {
        return args.tables.iter().map(|name| find(name, tables)).collect();
    }
    let proposed = proposed(tables);
    if proposed.is_empty() {
        return Err(Usage::error(format!(
            "the database has {} tables: name those that pages follow with --table, or add --all",
            tables.len()
        )));
    }
    Ok(proposed)
}

fn find(name: &str, tables: &[SurveyedTable]) -> anyhow::Result<usize> {
    let (schema, table) = split_qualified(name.trim());
    let schema = schema.unwrap_or_else(|| "public".into());
    let place = tables
        .iter()
        .position(|one| one.schema == schema && one.name == table);
    place.ok_or_else(|| {
        let known: Vec<String> = tables.iter().map(spelling).collect();
        Usage::error(format!(
            "there is no table {name}; there are {}",
            known.join(", ")
        ))
    })
}

/// The tables that are marked before anybody chose: all that look as if people worked with them, unless there are many.
fn proposed(tables: &[SurveyedTable]) -> Vec<usize> {
    let likely = |table: &SurveyedTable| !table.primary_key.is_empty() && !is_bookkeeping(&table.name);
    let found: Vec<usize> = tables
        .iter()
        .enumerate()
        .filter(|(_, table)| likely(table))
        .map(|(index, _)| index)
        .collect();
    match found.len() {
        0 if tables.len() <= PROPOSED => (0..tables.len()).collect(),
        count if count <= PROPOSED => found,
        _ => Vec::new(),
    }
}

/// What migration tools, frameworks and Socket.IO's adapter keep for themselves.
fn is_bookkeeping(name: &str) -> bool {
    let name = name.to_lowercase();
    [
        "migration",
        "flyway_",
        "alembic_version",
        "ar_internal_metadata",
        "databasechangelog",
        "django_",
        "socket_io_",
    ]
    .iter()
    .any(|part| name.contains(part))
}

/// Names for sources and channels: the table's, made safe for addresses and templates, and each one once.
fn named(tables: &[SurveyedTable], chosen: &[usize]) -> Vec<Watched> {
    let mut taken: HashSet<String> = [PUBLISH, CLIENTS].map(str::to_owned).into();
    let mut watched = Vec::new();
    let mut seen = HashSet::new();
    for table in chosen
        .iter()
        .filter(|place| seen.insert(**place))
        .filter_map(|place| tables.get(*place))
    {
        let plain = slug(&table.name);
        let qualified = slug(&format!("{}_{}", table.schema, table.name));
        let numbered = (2..).map(|number| format!("{qualified}_{number}"));
        let name = [plain, qualified.clone()]
            .into_iter()
            .chain(numbered)
            .find(|name| !taken.contains(name))
            .unwrap_or(qualified);
        taken.insert(name.clone());
        watched.push(Watched {
            name,
            table: table.clone(),
        });
    }
    watched
}

fn slug(name: &str) -> String {
    let safe = |c: char| if c.is_alphanumeric() || c == '-' { c } else { '_' };
    name.chars().map(safe).collect()
}

/// Columns that nobody should see on a screen, by their names. One too many is quickly put back; one too few may have been seen.
pub(super) fn private_columns(table: &SurveyedTable) -> Vec<&str> {
    const PARTS: [&str; 9] = [
        "password",
        "passwd",
        "passphrase",
        "contrasen",
        "contraseñ",
        "secret",
        "token",
        "apikey",
        "api_key",
    ];
    const WORDS: [&str; 5] = ["hash", "salt", "cvv", "ssn", "pwd"];
    let private = |column: &&str| {
        let name = column.to_lowercase();
        PARTS.iter().any(|part| name.contains(part)) || name.split('_').any(|word| WORDS.contains(&word))
    };
    let columns = table.columns.iter().map(String::as_str);
    let found: Vec<&str> = columns.filter(private).collect();
    // A table of nothing else is about them.
    if found.len() == table.columns.len() {
        Vec::new()
    } else {
        found
    }
}

/// 256 random bits.
fn secret() -> anyhow::Result<String> {
    let mut bytes = [0_u8; 32];
    aws_lc_rs::rand::fill(&mut bytes).map_err(|_| anyhow::anyhow!("the system gives no random numbers"))?;
    Ok(hex::encode(bytes))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::indexing_slicing)]
    use super::*;

    pub(in super::super) fn table(name: &str, key: &[&str]) -> SurveyedTable {
        SurveyedTable {
            schema: "public".into(),
            name: name.into(),
            rows: Some(10),
            bytes: 8192,
            primary_key: key.iter().map(|column| (*column).to_owned()).collect(),
            columns: vec!["id".into(), "total".into()],
            may_trigger: true,
        }
    }

    #[test]
    fn what_people_work_with_is_proposed_unless_it_is_much() {
        let mut tables = vec![
            table("ventas", &["id"]),
            table("schema_migrations", &["version"]),
            table("apuntes", &[]),
        ];
        assert_eq!(proposed(&tables), [0]);
        tables.extend((0..PROPOSED).map(|number| table(&format!("t{number}"), &["id"])));
        assert!(proposed(&tables).is_empty());
        assert_eq!(proposed(&[table("a", &[]), table("b", &[])]), [0, 1]);
    }

    #[test]
    fn every_name_is_safe_and_used_once() {
        let other = |schema: &str, name: &str| SurveyedTable {
            schema: schema.into(),
            ..table(name, &[])
        };
        let tables = [
            table("clients", &[]),
            table("con {espacio}", &[]),
            other("app", "con {espacio}"),
            other("app", "clients"),
            other("app_clients", "x"),
        ];
        let names: Vec<_> = named(&tables, &[0, 1, 2, 3, 4, 1])
            .into_iter()
            .map(|one| one.name)
            .collect();
        assert_eq!(
            names,
            [
                "public_clients",
                "con__espacio_",
                "app_con__espacio_",
                "app_clients",
                "x"
            ]
        );
    }

    #[test]
    fn what_looks_like_a_secret_is_left_out() {
        let mut users = table("users", &["id"]);
        users.columns = ["id", "classname", "Password", "pin_hash", "reset_token"]
            .map(Into::into)
            .into();
        assert_eq!(private_columns(&users), ["Password", "pin_hash", "reset_token"]);
    }
}
