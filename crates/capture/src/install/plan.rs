//! The plan: what is missing or different, as ordered steps of SQL. Reads only.

use std::fmt;

use tokio_postgres::Client;

use super::found::{self, Found, FunctionFacts};
use super::spec::{Target, WatchSpec};
use super::watch::{DesiredWatch, SETTINGS, function_name};
use super::{InstallError, Mode, Problem, base, beside, grants, remade, roles, triggers, validate, wal};
use crate::catalog::names::qualified;

/// The oldest server whose catalogue tells the triggers of partitions apart from those of their root.
const OLDEST: i32 = 130_000;

/// What a step does to its object.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum StepKind {
    Create,
    Replace,
    Drop,
    Grant,
    Revoke,
    /// Made after the transaction: it could not be made inside of one that has written.
    CreateSlot,
    /// Dropped before the transaction; no rollback brings it back.
    DropSlot,
    /// What is there is not as it would be installed, and captures as well: the word says what happens to it.
    Tidy(&'static str),
}

impl StepKind {
    /// The word for logs and tables.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Create | Self::CreateSlot => "create",
            Self::Replace => "replace",
            Self::Drop | Self::DropSlot => "drop",
            Self::Grant => "grant",
            Self::Revoke => "revoke",
            Self::Tidy(word) => word,
        }
    }

    /// Whether changes are captured as they should be without it, and whether the gateway can do its work.
    pub fn is_harmless(self) -> bool {
        matches!(self, Self::Revoke | Self::Tidy(_))
    }

    /// Whether it stands outside of the transaction.
    pub(crate) fn is_apart(self) -> bool {
        matches!(self, Self::CreateSlot | Self::DropSlot)
    }
}

/// One change: one or more statements without the closing semicolon.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Step {
    pub sql: String,
    /// Why it is needed.
    pub reason: String,
    /// What it is about, for example `trigger "x" on app.orders`.
    pub object: String,
    pub kind: StepKind,
}

/// Ordered steps; empty means that the database is as it should be.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Plan {
    pub steps: Vec<Step>,
    /// What works differently from what one might expect; nothing that prevents the installation.
    pub warnings: Vec<String>,
    /// What another configuration has installed for its watches and this one would replace or remove.
    pub unseats: Vec<String>,
}

impl Plan {
    pub fn is_empty(&self) -> bool {
        self.steps.is_empty()
    }

    /// Whether everything that is needed is there: what the steps take away or put in order does no harm.
    pub fn is_sufficient(&self) -> bool {
        self.steps.iter().all(|step| step.kind.is_harmless())
    }

    /// What is needed, by kinds: `schema pregon, 2 roles, 3 functions`.
    pub fn summary(&self) -> String {
        let mut kinds: Vec<(&str, Vec<&str>)> = Vec::new();
        for step in self.steps.iter().filter(|step| !step.kind.is_harmless()) {
            let kind = match step.kind {
                StepKind::Grant => "right",
                _ => step.object.split(' ').next().unwrap_or_default(),
            };
            match kinds.iter_mut().find(|(known, _)| *known == kind) {
                Some((_, objects)) => objects.push(&step.object),
                None => kinds.push((kind, vec![&step.object])),
            }
        }
        let told = |(kind, objects): &(&str, Vec<&str>)| match objects.as_slice() {
            [object] if *kind == "right" => format!("a right on {object}"),
            [object] => (*object).to_owned(),
            several => format!("{} {kind}s", several.len()),
        };
        kinds.iter().map(told).collect::<Vec<_>>().join(", ")
    }

    /// The exact script, ready for psql.
    pub fn sql(&self) -> String {
        if self.steps.is_empty() {
            return String::new();
        }
        let mut script = String::new();
        let add = |script: &mut String, wanted: fn(StepKind) -> bool| {
            for step in self.steps.iter().filter(|step| wanted(step.kind)) {
                script.push_str(&step.script());
            }
        };
        add(&mut script, |kind| kind == StepKind::DropSlot);
        if self.steps.iter().any(|step| !step.kind.is_apart()) {
            script.push_str(
                "BEGIN;\nSET LOCAL search_path = pg_catalog, pg_temp;\nSET LOCAL lock_timeout = '500ms';\n",
            );
            add(&mut script, |kind| !kind.is_apart());
            script.push_str("\nCOMMIT;\n");
        }
        add(&mut script, |kind| kind == StepKind::CreateSlot);
        script
    }
}

impl Step {
    fn script(&self) -> String {
        format!(
            "\n-- {} {}: {}\n{};\n",
            self.kind.as_str(),
            one_line(&self.object),
            one_line(&self.reason),
            self.sql
        )
    }
}

// A line break in a name must not end the comment.
fn one_line(text: &str) -> String {
    text.replace(['\n', '\r'], " ")
}

impl fmt::Display for Plan {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.sql())
    }
}

/// Compares the database with the target. Everything wrong with the target is reported at once.
pub async fn plan(client: &Client, target: &Target) -> Result<Plan, InstallError> {
    // Roles of ours may go while they are read (see `roles`).
    let mut left = roles::AGAIN;
    loop {
        let done = once(client, target).await;
        if !roles::went_meanwhile(&done, &mut left) {
            return done;
        }
    }
}

async fn once(client: &Client, target: &Target) -> Result<Plan, InstallError> {
    found::begin(client).await?;
    let plan = compare(client, target).await;
    found::end(client, plan).await
}

async fn compare(client: &Client, target: &Target) -> Result<Plan, InstallError> {
    let mut problems = validate::names(target);
    let mut warnings = Vec::new();
    let mut watches = Vec::new();
    for spec in &target.watches {
        watches.extend(desired(client, spec, target.mode, &mut problems, &mut warnings).await?);
    }
    let functions: Vec<_> = target.watches.iter().map(function_name).collect();
    let triggers = watches.iter().flat_map(|watch| &watch.triggers);
    let tables: Vec<u32> = triggers.map(|trigger| trigger.table_oid).collect();
    let found = found::read(client, &functions, &tables).await?;
    check_server(&found)?;
    validate::trigger_names_fit(&watches, &mut problems);
    let owner = roles::owner(&found)?;

    let mut steps = Vec::new();
    let mut owner_warnings = Vec::new();
    roles::roles(&found, &owner, &mut steps, &mut owner_warnings);
    base::relations(&found, target, &owner, &mut steps, &mut problems);
    base::functions(&found, target, &owner, &mut steps, &mut problems);
    let triggered: &[DesiredWatch<'_>] = if target.mode == Mode::Wal { &[] } else { &watches };
    let unseats = unseats(&found, triggered, target.prune);
    if target.prune {
        drop_stale(&found, triggered, &mut steps);
    }
    for watch in triggered {
        function_step(&found, watch, &owner, &mut steps, &mut problems);
        triggers::steps(&found, watch, &mut steps, &mut problems);
        steps.extend(remade::gap_step(&found, watch, target.mode));
        beside::subscriptions(&found, watch, &mut warnings);
    }
    if target.prune {
        base::stale(&found, target, &mut steps);
    }
    warnings.extend(
        grants::steps(
            client,
            &found,
            &owner.name,
            target,
            &watches,
            &mut steps,
            &mut problems,
        )
        .await?,
    );
    base::meta(&found, &mut steps);
    wal::steps(client, target, &watches, &mut steps, &mut problems, &mut warnings).await?;
    if !problems.is_empty() {
        return Err(InstallError::Invalid(problems));
    }
    if !steps.is_empty() {
        warnings.extend(owner_warnings);
    }
    Ok(Plan {
        steps,
        warnings,
        unseats,
    })
}

/// What a watch needs, if its table can be watched.
async fn desired<'a>(
    client: &Client,
    spec: &'a WatchSpec,
    mode: Mode,
    problems: &mut Vec<Problem>,
    warnings: &mut Vec<String>,
) -> Result<Option<DesiredWatch<'a>>, InstallError> {
    let Some(table) = validate::table(client, spec, mode, problems, warnings).await? else {
        return Ok(None);
    };
    validate::condition(client, spec, &table, problems, warnings).await?;
    if mode != Mode::Wal {
        beside::warnings(spec, &table, warnings);
    }
    Ok(Some(DesiredWatch::new(spec, table, mode)))
}

pub(crate) fn check_server(found: &Found) -> Result<(), InstallError> {
    if found.version < OLDEST {
        return Err(InstallError::TooOld(found.version_text.clone()));
    }
    if found.standby {
        return Err(InstallError::Standby);
    }
    Ok(())
}

/// Functions that are somebody else's, as their comments say, and that the steps replace or remove.
fn unseats(found: &Found, watches: &[DesiredWatch<'_>], prune: bool) -> Vec<String> {
    let ours = found
        .functions
        .iter()
        .filter(|function| function.is_ours() && function.returns_trigger);
    let other = ours.filter(|function| {
        let mut wanted = watches.iter();
        let wanted = wanted
            .find(|watch| watch.function_schema == function.schema && watch.function_name == function.name);
        match (wanted, function.identity()) {
            (Some(watch), Some(identity)) => watch.identity != identity,
            // What an earlier version has installed says nothing of whose it is.
            (Some(_), None) => false,
            (None, _) => prune,
        }
    });
    other
        .map(|function| format!("{}.{}", function.schema, function.name))
        .collect()
}

/// Removes functions of watches that are gone, with their triggers, and triggers whose name or table has changed.
fn drop_stale(found: &Found, watches: &[DesiredWatch<'_>], steps: &mut Vec<Step>) {
    for function in found
        .functions
        .iter()
        .filter(|function| function.is_ours() && function.returns_trigger)
    {
        let wanted = watches
            .iter()
            .find(|watch| watch.function_schema == function.schema && watch.function_name == function.name);
        let Some(watch) = wanted else {
            // It captures what nobody asks for, and harms nothing that somebody does.
            let kind = StepKind::Tidy("drop");
            steps.push(Step {
                kind,
                ..drop_function(function, "no watch uses it any more")
            });
            continue;
        };
        triggers::stale(found, function, watch, steps);
    }
}

pub(crate) fn drop_function(function: &FunctionFacts, reason: &str) -> Step {
    let name = qualified(&function.schema, &function.name);
    Step {
        sql: format!("DROP FUNCTION IF EXISTS {name}({}) CASCADE", function.arguments),
        reason: reason.to_owned(),
        object: format!("function {}.{}", function.schema, function.name),
        kind: StepKind::Drop,
    }
}

fn function_step(
    found: &Found,
    watch: &DesiredWatch<'_>,
    owner: &roles::Owner,
    steps: &mut Vec<Step>,
    problems: &mut Vec<Problem>,
) {
    let existing = found.functions.iter().find(|function| {
        function.schema == watch.function_schema
            && function.name == watch.function_name
            && function.arguments.is_empty()
    });
    let step = |reason: String, kind| Step {
        sql: watch.function_sql(&owner.name),
        reason,
        object: format!("function {}.{}", watch.function_schema, watch.function_name),
        kind,
    };
    let Some(existing) = existing else {
        steps.push(step("it is missing".into(), StepKind::Create));
        return;
    };
    if !existing.is_ours() {
        match adoption(found, watch, existing) {
            Err(problem) => problems.push(problem),
            Ok(()) => {
                if !existing.returns_trigger {
                    steps.push(drop_function(
                        existing,
                        "it is not a trigger function and is replaced by ours",
                    ));
                }
                steps.push(step("it is adopted".into(), StepKind::Replace));
            }
        }
    } else if let Some((reason, kind)) = base::difference(existing, &watch.body, true, &SETTINGS, owner) {
        steps.push(step(reason, kind));
    } else if existing.watch() != Some(watch.spec.name.as_str()) {
        steps.push(step("it was another watch's".into(), StepKind::Replace));
    } else if existing.identity() != Some(watch.identity.as_str()) {
        let reason = "its comment is not about this configuration";
        steps.push(step(reason.into(), base::TIDY));
    }
}

/// Whether a function that is not ours may be replaced.
fn adoption(found: &Found, watch: &DesiredWatch<'_>, existing: &FunctionFacts) -> Result<(), Problem> {
    let name = format!("{}.{}", existing.schema, existing.name);
    if !watch.spec.adopt {
        return Err(Problem::new(
            &watch.spec.name,
            format!("function {name} exists and is not ours"),
            "choose another name, or set adopt = true to have it replaced",
        ));
    }
    let other = found.triggers.iter().find(|trigger| {
        trigger.function_oid == existing.oid && !watch.triggers.iter().any(|want| want.is_at(trigger))
    });
    match other {
        None => Ok(()),
        Some(other) => Err(Problem::new(
            &watch.spec.name,
            format!(
                "function {name} is also used by trigger {} on {}.{}, which would notify too",
                other.name, other.schema, other.table
            ),
            "drop that trigger, or name it as the watch's trigger",
        )),
    }
}
