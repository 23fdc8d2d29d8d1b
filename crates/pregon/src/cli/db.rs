//! `pregon db`: shows, installs, compares and removes what the configuration's watches need in the database.

use std::io::{self, BufRead, IsTerminal};
use std::process::ExitCode;

use pregon_capture::install::{self, InstallError, Plan, State, Status, Step};
use serde_json::{Value, json};

use super::settings::{self, File};
use super::{block_on, output};
use crate::config::Config;

/// Show, install, compare or remove what the watches need in the database
///
/// Connects with [postgres] admin_url (PREGON_ADMIN_URL), otherwise with url (DATABASE_URL).
#[derive(Debug, clap::Subcommand)]
pub(super) enum Command {
    /// Print the exact SQL that `apply` would run, with the reason of each step; changes nothing
    ///
    /// Exit code 0 when there is nothing to do and 1 when there is, so that a pipeline can stop on it.
    #[command(after_help = "\
Examples:
  pregon db plan
  pregon db plan | psql \"$PREGON_ADMIN_URL\"      have somebody else run it
  pregon db plan --json | jq '.steps[].object'")]
    Plan(Json),
    /// Install what is missing or different, in one transaction
    #[command(after_help = "\
Examples:
  pregon db apply
  PREGON_ADMIN_URL=postgres://owner@db/shop pregon db apply")]
    Apply {
        #[command(flatten)]
        json: Json,
        /// Replace what another configuration has installed for its watches, even while its gateway runs
        #[arg(long)]
        takeover: bool,
    },
    /// List functions, triggers and roles of ours and whether they are as the configuration wants them
    ///
    /// Exit code 1 when something is missing or was modified.
    #[command(after_help = "\
Examples:
  pregon db status
  pregon db status --json")]
    Status(Json),
    /// Remove everything of ours; tables and rows of the application stay
    ///
    /// Asks first on a terminal.
    #[command(after_help = "\
Examples:
  pregon db drop
  pregon db drop --yes")]
    Drop {
        #[command(flatten)]
        json: Json,
        /// Do not ask
        #[arg(long, short)]
        yes: bool,
    },
}

#[derive(Debug, clap::Args)]
pub(super) struct Json {
    /// Print one JSON object
    #[arg(long)]
    json: bool,
}

impl Json {
    pub(super) fn wanted(&self) -> bool {
        self.json
    }
}

impl Command {
    pub(super) fn wants_json(&self) -> bool {
        match self {
            Self::Plan(args)
            | Self::Apply { json: args, .. }
            | Self::Status(args)
            | Self::Drop { json: args, .. } => args.json,
        }
    }
}

pub(super) fn run(command: &Command, file: &File) -> anyhow::Result<ExitCode> {
    let config = file.load()?;
    block_on(async {
        match command {
            Command::Plan(args) => plan(&config, args.json).await,
            Command::Apply { json, takeover } => apply(&config, json.json, *takeover).await,
            Command::Status(args) => status(&config, args.json).await,
            Command::Drop { json, yes } => drop(&config, json.json, *yes).await,
        }
    })
}

async fn plan(config: &Config, json: bool) -> anyhow::Result<ExitCode> {
    let session = settings::admin(config).await?;
    let plan = install::plan(&session, &crate::install::target(config)?).await?;
    show(&plan, json)
}

fn show(plan: &Plan, json: bool) -> anyhow::Result<ExitCode> {
    if json {
        output::json(&as_json(plan))?;
    } else {
        for warning in &plan.warnings {
            output::line(format_args!("-- note: {}", warning.replace('\n', " ")))?;
        }
        let sql = if plan.is_empty() {
            "-- nothing to do: the database is as the configuration wants it\n".into()
        } else {
            plan.sql()
        };
        output::bytes(sql.as_bytes())?;
    }
    Ok(if plan.is_empty() {
        ExitCode::SUCCESS
    } else {
        ExitCode::FAILURE
    })
}

async fn apply(config: &Config, json: bool, takeover: bool) -> anyhow::Result<ExitCode> {
    let session = settings::admin(config).await?;
    let plan = install::plan(&session, &crate::install::target(config)?).await?;
    if !takeover {
        crate::serve::installation::give_way(&session, &plan).await?;
    }
    carry_out(
        &session,
        &plan,
        json,
        "nothing to do: the database is as the configuration wants it",
    )
    .await?;
    if !json {
        print_active(&install::status_of(&session, &crate::install::target(config)?).await?)?;
    }
    Ok(ExitCode::SUCCESS)
}

async fn drop(config: &Config, json: bool, yes: bool) -> anyhow::Result<ExitCode> {
    let session = settings::admin(config).await?;
    let plan = install::drop(&session).await?;
    remove(&session, &plan, json, yes).await
}

/// The same three for what the router needs.
pub(super) async fn router_plan(config: &Config, json: bool) -> anyhow::Result<ExitCode> {
    let session = settings::admin(config).await?;
    let spec = crate::whatsapp::database::spec(config)?;
    show(&pregon_capture::router::plan(&session, &spec).await?, json)
}

pub(super) async fn router_apply(config: &Config, json: bool) -> anyhow::Result<ExitCode> {
    let session = settings::admin(config).await?;
    let spec = crate::whatsapp::database::spec(config)?;
    let plan = pregon_capture::router::plan(&session, &spec).await?;
    carry_out(
        &session,
        &plan,
        json,
        "nothing to do: the database is as the router needs it",
    )
    .await?;
    Ok(ExitCode::SUCCESS)
}

pub(super) async fn router_drop(config: &Config, json: bool, yes: bool) -> anyhow::Result<ExitCode> {
    let session = settings::admin(config).await?;
    let plan = pregon_capture::router::drop(&session).await?;
    remove(&session, &plan, json, yes).await
}

async fn remove(
    session: &pregon_capture::connect::Session,
    plan: &Plan,
    json: bool,
    yes: bool,
) -> anyhow::Result<ExitCode> {
    if !yes && !plan.is_empty() && io::stdin().is_terminal() && !agreed(plan)? {
        output::complain("nothing was removed");
        return Ok(ExitCode::FAILURE);
    }
    carry_out(session, plan, json, "nothing to do: nothing of ours is installed").await?;
    Ok(ExitCode::SUCCESS)
}

fn agreed(plan: &Plan) -> anyhow::Result<bool> {
    for warning in &plan.warnings {
        output::complain(format_args!("note: {warning}"));
    }
    for step in &plan.steps {
        output::complain(describe(step));
    }
    output::complain("Remove all of this? Type yes:");
    let mut answer = String::new();
    io::stdin().lock().read_line(&mut answer)?;
    Ok(matches!(answer.trim(), "yes" | "y"))
}

async fn carry_out(
    session: &pregon_capture::connect::Session,
    plan: &Plan,
    json: bool,
    nothing: &str,
) -> anyhow::Result<()> {
    install::apply(session, plan, &mut |_| {}).await?;
    if json {
        return output::json(&as_json(plan));
    }
    for warning in &plan.warnings {
        output::line(format_args!("note: {warning}"))?;
    }
    // Said after the commit: before it nothing has happened.
    for step in &plan.steps {
        output::line(describe(step))?;
    }
    if plan.is_empty() {
        output::line(nothing)
    } else {
        Ok(())
    }
}

fn describe(step: &Step) -> String {
    format!("{} {}: {}", step.kind.as_str(), step.object, step.reason)
}

fn as_json(plan: &Plan) -> Value {
    let step = |step: &Step| json!({ "kind": step.kind.as_str(), "object": step.object, "reason": step.reason, "sql": step.sql });
    json!({ "steps": plan.steps.iter().map(step).collect::<Vec<_>>(), "warnings": plan.warnings })
}

fn print_active(status: &Status) -> anyhow::Result<()> {
    for trigger in &status.triggers {
        output::line(format_args!(
            "active: trigger {} on {} calls {}",
            trigger.name, trigger.table, trigger.function
        ))?;
    }
    let read = |name: &str| name.starts_with("publication ") || name.starts_with("slot ");
    for object in status.schema.iter().filter(|object| read(&object.name)) {
        output::line(format_args!("active: {}", object.name))?;
    }
    Ok(())
}

async fn status(config: &Config, json: bool) -> anyhow::Result<ExitCode> {
    let session = settings::admin(config).await?;
    let target = crate::install::target(config)?;
    let status = install::status_of(&session, &target).await?;
    // What `plan` would do says more than the objects can: rights, owners, names. Both are never of two minds.
    let plan = match install::plan(&session, &target).await {
        Ok(plan) => Ok(plan),
        Err(InstallError::Invalid(problems)) => Err(problems),
        Err(error) => return Err(error.into()),
    };
    let planned = plan.as_ref().is_ok_and(Plan::is_empty);
    let fine = status.is_sound() && (status.is_installed() || config.watch.is_empty());
    if json {
        let mut value = serde_json::to_value(&status)?;
        if let (Some(object), Ok(plan)) = (value.as_object_mut(), &plan) {
            object.insert(
                "steps".into(),
                as_json(plan).get("steps").cloned().unwrap_or_default(),
            );
        }
        output::json(&value)?;
    } else {
        print_status(&status)?;
        for problem in plan.as_ref().err().into_iter().flatten() {
            output::line(problem)?;
        }
        if let Ok(plan) = &plan
            && status.is_installed()
        {
            print_steps(plan)?;
        }
    }
    Ok(if fine && (planned || !status.is_installed()) {
        ExitCode::SUCCESS
    } else {
        ExitCode::FAILURE
    })
}

fn print_steps(plan: &Plan) -> anyhow::Result<()> {
    for step in &plan.steps {
        let harm = if step.kind.is_harmless() {
            ", which does no harm"
        } else {
            ""
        };
        output::line(format_args!("differs{harm}: {}", describe(step)))?;
    }
    if !plan.is_empty() {
        output::line("`pregon db plan` shows the SQL and `pregon db apply` runs it")?;
    }
    Ok(())
}

fn print_status(status: &Status) -> anyhow::Result<()> {
    if !status.is_installed() {
        return output::line("nothing is installed: `pregon db plan` shows what would be");
    }
    output::line(format_args!(
        "installed by version {}",
        status.version.as_deref().unwrap_or("(may not be read)")
    ))?;
    for object in status.schema.iter().chain(&status.roles) {
        output::line(format_args!("{:<9} {}", word(&object.state), object.name))?;
    }
    for function in &status.functions {
        let watch = function
            .watch
            .as_deref()
            .map(|watch| format!(", watch {watch}"))
            .unwrap_or_default();
        output::line(format_args!(
            "{:<9} function {} (owner {}{watch})",
            word(&function.state),
            function.name,
            function.owner
        ))?;
    }
    for trigger in &status.triggers {
        let (state, name, table) = (word(&trigger.state), &trigger.name, &trigger.table);
        output::line(format_args!(
            "{state:<9} trigger {name} on {table} calls {} (watch {})",
            trigger.function, trigger.watch
        ))?;
    }
    for reason in reasons(status) {
        output::line(format_args!("{reason}: `pregon db plan` shows how to mend it"))?;
    }
    if lacks_something(status) {
        output::line("something is missing: `pregon db plan` shows the SQL and `pregon db apply` runs it")?;
    }
    Ok(())
}

fn lacks_something(status: &Status) -> bool {
    let functions = status.functions.iter().map(|one| &one.state);
    let triggers = status.triggers.iter().map(|one| &one.state);
    let objects = status.schema.iter().map(|one| &one.state);
    functions
        .chain(triggers)
        .chain(objects)
        .any(|state| *state == State::Missing)
}

fn word(state: &State) -> &'static str {
    match state {
        State::Ok => "ok",
        State::Modified(_) => "modified",
        State::Missing => "missing",
    }
}

fn reasons(status: &Status) -> Vec<String> {
    let functions = status
        .functions
        .iter()
        .map(|function| (&function.name, &function.state));
    let triggers = status
        .triggers
        .iter()
        .map(|trigger| (&trigger.name, &trigger.state));
    let told = functions.chain(triggers).filter_map(|(name, state)| match state {
        State::Modified(reason) => Some(format!("{name}: {reason}")),
        State::Ok | State::Missing => None,
    });
    told.collect()
}
