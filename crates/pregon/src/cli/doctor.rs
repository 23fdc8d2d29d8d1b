//! `pregon doctor`: the configuration, the connection, LISTEN through it, and the named checks of the database.

use std::process::ExitCode;
use std::time::Duration;

use pregon_capture::attachment::Attachments;
use pregon_capture::connect::{ConnectError, Settings};
use pregon_capture::doctor::{self, CheckStatus, DoctorInput};
use pregon_capture::query::NamedSql;
use serde::Serialize;

use super::settings::File;
use super::{block_on, doctor_log, output};
use crate::config::{Config, Emitter, Problems};
use crate::limits::descriptors;

/// Examine configuration, log, database and Redis: named checks, each with its remedy
///
/// Uses the gateway's own connection, so that it finds what that role may not do. Exit code 1 when a check fails.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  pregon doctor
  pregon doctor --json | jq '.[] | select(.status == \"fail\")'")]
pub(super) struct Args {
    /// Print one JSON list of {"id", "name", "status", "detail", "remedy"}
    #[arg(long)]
    pub(super) json: bool,

    /// How long writes are counted for check N4
    #[arg(long, value_name = "TIME", default_value = "1s", value_parser = humantime::parse_duration)]
    sample: Duration,
}

/// A finding of ours or of the database's checks.
#[derive(Debug, Serialize)]
pub(super) struct Finding {
    id: String,
    name: String,
    pub(super) status: CheckStatus,
    detail: String,
    remedy: String,
}

impl Finding {
    pub(super) fn new(
        id: &str,
        name: &str,
        status: CheckStatus,
        detail: impl ToString,
        remedy: &str,
    ) -> Self {
        Self {
            id: id.into(),
            name: name.into(),
            status,
            detail: detail.to_string(),
            remedy: remedy.into(),
        }
    }
}

impl From<doctor::Check> for Finding {
    fn from(check: doctor::Check) -> Self {
        Self {
            id: check.id.into(),
            name: check.name.into(),
            status: check.status,
            detail: check.detail,
            remedy: check.remedy,
        }
    }
}

pub(super) fn run(args: &Args, file: &File) -> anyhow::Result<ExitCode> {
    let findings = match file.load() {
        Err(problems) => configuration(&problems),
        Ok(config) => block_on(examine(&config, file, args.sample))?,
    };
    if args.json {
        output::json(&findings)?;
    } else {
        print(&findings)?;
    }
    let failed = findings.iter().any(|finding| finding.status == CheckStatus::Fail);
    Ok(if failed {
        ExitCode::FAILURE
    } else {
        ExitCode::SUCCESS
    })
}

fn configuration(problems: &Problems) -> Vec<Finding> {
    let told = |problem: &crate::config::Problem| {
        let detail = crate::config::Problem {
            remedy: String::new(),
            ..problem.clone()
        };
        Finding::new("F1", "configuration", CheckStatus::Fail, detail, &problem.remedy)
    };
    problems.0.iter().map(told).collect()
}

async fn examine(config: &Config, file: &File, sample: Duration) -> anyhow::Result<Vec<Finding>> {
    let mut findings = vec![Finding::new(
        "F1",
        "configuration",
        CheckStatus::Ok,
        "no problem found",
        "",
    )];
    if let Some(redis) = &config.redis {
        findings.push(redis_connection(redis).await);
    }
    database(config, file, sample, &mut findings).await?;
    findings.push(open_files(config));
    findings.extend(doctor_log::examine(config));
    Ok(findings)
}

/// Whether as many clients can come as are allowed to.
fn open_files(config: &Config) -> Finding {
    let limit = descriptors::highest();
    let shortage = descriptors::shortage(config.limits.connections, limit);
    let (id, name) = ("F5", "file descriptors");
    match (shortage, limit) {
        (Some(shortage), _) => {
            let remedy = "raise the limit of open files, or lower [limits] connections";
            Finding::new(id, name, CheckStatus::Warn, shortage, remedy)
        }
        (None, Some(limit)) => {
            let room = descriptors::connections(config.limits.connections, Some(limit));
            let detail = format!("{limit} for this user, enough for {room} connections");
            Finding::new(id, name, CheckStatus::Ok, detail, "")
        }
        (None, None) => Finding::new(id, name, CheckStatus::Ok, "no limit", ""),
    }
}

async fn database(
    config: &Config,
    file: &File,
    sample: Duration,
    findings: &mut Vec<Finding>,
) -> anyhow::Result<()> {
    let Some(postgres) = &config.postgres else {
        findings.push(Finding::new(
            "F2",
            "connection",
            CheckStatus::Skip,
            "no [postgres] section",
            "",
        ));
        return Ok(());
    };
    let Some(session) = connection(config, findings).await? else {
        return Ok(());
    };
    let settings = crate::install::settings(config)?;
    let input = DoctorInput {
        target: crate::install::target(config)?,
        listen: config
            .listen
            .iter()
            .map(|listen| listen.channel.clone())
            .chain(config.socketio().postgres_channels().map(|(channel, _)| channel))
            .collect(),
        statements: statements(config),
        settings: Some(settings),
        replication: postgres
            .replication()
            .map(|url| Settings::parse(url.reveal()))
            .transpose()?,
        heartbeat: *postgres.heartbeat,
        sample,
    };
    findings.extend(doctor::run(&session, &input).await.into_iter().map(Finding::from));
    findings.extend(names(&session, config, file).await);
    admin(config, findings).await;
    Ok(())
}

/// Compares the columns that the configuration names, and its time zone, with the database.
async fn names(session: &pregon_capture::connect::Session, config: &Config, file: &File) -> Vec<Finding> {
    let finding = |status, detail: String, remedy: &str| Finding::new("F5", "names", status, detail, remedy);
    let problems = match crate::columns::examine(session, config).await {
        Ok(wrong) => crate::columns::placed(&wrong, Some(file.path())),
        Err(error) => return vec![finding(CheckStatus::Skip, output::chain(&error.into()), "")],
    };
    if problems.0.is_empty() {
        let detail = "the database has the columns that routes name";
        return vec![finding(CheckStatus::Ok, detail.into(), "")];
    }
    let told = |problem: &crate::config::Problem| {
        let remedy = problem.remedy.clone();
        let detail = crate::config::Problem {
            remedy: String::new(),
            ..problem.clone()
        };
        finding(CheckStatus::Fail, detail.to_string(), &remedy)
    };
    problems.0.iter().map(told).collect()
}

/// Connects to Redis as the gateway would.
async fn redis_connection(redis: &crate::config::Redis) -> Finding {
    let (status, detail, remedy) = match crate::source::redis::answers(redis).await {
        Ok(host) => (CheckStatus::Ok, format!("{host} answers"), ""),
        Err(error) => (
            CheckStatus::Fail,
            output::chain(&error),
            "correct [redis] url or REDIS_URL, its password and its TLS, or start the server",
        ),
    };
    Finding::new("F4", "redis", status, detail, remedy)
}

/// The queries that the gateway runs itself. One that cannot be read was a problem of the configuration.
fn statements(config: &Config) -> Vec<(String, String)> {
    let channels = config.channel.iter().enumerate().filter_map(|(index, channel)| {
        Some((
            format!("channel[{index}].allow_sql"),
            channel.allow_sql.as_deref()?,
        ))
    });
    let routes = config.route.iter().enumerate().filter_map(|(index, route)| {
        Some((
            format!("route[{index}].enrich.sql"),
            route.enrich.as_ref()?.sql.as_str(),
        ))
    });
    let attachments = config.socketio().hears(Emitter::Postgres).then(|| {
        Attachments::new(&config.socketio().postgres_table)
            .sql()
            .to_owned()
    });
    channels
        .chain(routes)
        .filter_map(|(key, sql)| Some((key, NamedSql::select(sql).ok()?.numbered())))
        .chain(attachments.map(|sql| ("socketio.postgres_table".to_owned(), sql)))
        .collect()
}

/// Connects as the gateway would; without that nothing else can be examined.
async fn connection(
    config: &Config,
    findings: &mut Vec<Finding>,
) -> anyhow::Result<Option<pregon_capture::connect::Session>> {
    let settings = match crate::install::settings(config) {
        Ok(settings) => settings,
        Err(error) => {
            let remedy = "correct [postgres] url or DATABASE_URL";
            findings.push(Finding::new(
                "F2",
                "connection",
                CheckStatus::Fail,
                output::chain(&error),
                remedy,
            ));
            return Ok(None);
        }
    };
    match settings.with_name("doctor").open().await {
        Ok(session) => {
            let detail = format!("{} (sslmode {})", settings.redacted(), settings.sslmode());
            findings.push(Finding::new("F2", "connection", CheckStatus::Ok, detail, ""));
            Ok(Some(session))
        }
        Err(error) => {
            findings.push(refused("F2", "connection", &settings, &error));
            Ok(None)
        }
    }
}

/// The connection for DDL, where it is another one.
async fn admin(config: &Config, findings: &mut Vec<Finding>) {
    let Some(url) = config
        .postgres
        .as_ref()
        .and_then(|postgres| postgres.admin_url.as_ref())
    else {
        return;
    };
    let finding = match Settings::parse(url.reveal()) {
        Err(error) => Finding::new(
            "F3",
            "admin connection",
            CheckStatus::Fail,
            error,
            "correct [postgres] admin_url",
        ),
        Ok(settings) => match settings.with_name("doctor").open().await {
            Ok(_) => Finding::new("F3", "admin connection", CheckStatus::Ok, settings.redacted(), ""),
            Err(error) => refused("F3", "admin connection", &settings, &error),
        },
    };
    findings.push(finding);
}

/// The error's text ends with its remedy; here that has a place of its own.
fn refused(id: &str, name: &str, settings: &Settings, error: &ConnectError) -> Finding {
    let text = error.to_string();
    let (what, remedy) = text.rsplit_once("; ").unwrap_or((&text, ""));
    Finding::new(
        id,
        name,
        CheckStatus::Fail,
        format!("{}: {what}", settings.redacted()),
        remedy,
    )
}

fn print(findings: &[Finding]) -> anyhow::Result<()> {
    for finding in findings {
        let Finding {
            id,
            name,
            status,
            detail,
            remedy,
        } = finding;
        output::line(format_args!("{:<4}  {id:<3} {name}: {detail}", status.as_str()))?;
        if !remedy.is_empty() {
            output::line(format_args!("          → {remedy}"))?;
        }
    }
    let count = |status: CheckStatus| findings.iter().filter(|finding| finding.status == status).count();
    let (fail, warn) = (count(CheckStatus::Fail), count(CheckStatus::Warn));
    output::line(format_args!(
        "{} checks: {fail} failed, {warn} warning(s), {} skipped",
        findings.len(),
        count(CheckStatus::Skip)
    ))
}
