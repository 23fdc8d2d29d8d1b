//! What is installed, compared with what a configuration wants: what should be there and is not, or is different.

use tokio_postgres::Client;

use super::base;
use super::found::{self, Found};
use super::plan::StepKind;
use super::spec::Target;
use super::status::{FunctionStatus, ObjectStatus, State, Status, TriggerStatus};
use super::triggers::difference as trigger_difference;
use super::wal::{self, WalFacts};
use super::watch::{DesiredTrigger, DesiredWatch, function_name};
use super::{InstallError, Mode, SCHEMA, validate};

/// Like [`super::status`], and what the target wants beyond that. A table that is missing is no error here: what its watch
/// needs is missing with it.
pub async fn status_of(client: &Client, target: &Target) -> Result<Status, InstallError> {
    found::begin(client).await?;
    let status = compare(client, target).await;
    found::end(client, status).await
}

async fn compare(client: &Client, target: &Target) -> Result<Status, InstallError> {
    let (mut problems, mut warnings) = (Vec::new(), Vec::new());
    let mut watches = Vec::new();
    for spec in &target.watches {
        if let Some(table) = validate::table(client, spec, target.mode, &mut problems, &mut warnings).await? {
            watches.push(DesiredWatch::new(spec, table, target.mode));
        }
    }
    let mut names: Vec<_> = target.watches.iter().map(function_name).collect();
    let found = found::read(client, &names, &[]).await?;
    let mut status = Status::new(&found);
    if !status.is_installed() {
        return Ok(status);
    }
    for function in base::wanted_functions(target) {
        let wanted = Wanted::new(SCHEMA, function.name, None, Some(function.body));
        wanted.compare(&found, &mut status);
    }
    if target.mode == Mode::Wal {
        wal(client, target, &watches, &mut status).await?;
        watches.clear();
        names.clear();
    }
    let triggered = target.watches.iter().filter(|_| target.mode != Mode::Wal);
    for spec in triggered {
        let (schema, name) = function_name(spec);
        let body = watches.iter().find(|watch| watch.spec.name == spec.name);
        let body = body.map(|watch| watch.body.as_str());
        Wanted::new(&schema, &name, Some(&spec.name), body).compare(&found, &mut status);
    }
    for watch in &watches {
        triggers(&found, watch, &mut status);
    }
    if target.prune {
        unwanted(&names, &watches, &mut status);
    }
    Ok(status)
}

/// Publication and slot of the target, and whatever else its plan would do or refuse: status and plan never say different things.
async fn wal(
    client: &Client,
    target: &Target,
    watches: &[DesiredWatch<'_>],
    status: &mut Status,
) -> Result<(), InstallError> {
    let (mut steps, mut problems, mut warnings) = (Vec::new(), Vec::new(), Vec::new());
    wal::steps(client, target, watches, &mut steps, &mut problems, &mut warnings).await?;
    let mut told: Vec<ObjectStatus> = Vec::new();
    let mut tell = |name: String, state: State| {
        if !told.iter().any(|one| one.name == name) {
            told.push(ObjectStatus { name, state });
        }
    };
    for step in steps {
        let state = match step.kind {
            StepKind::Create | StepKind::CreateSlot => State::Missing,
            _ => State::Modified(step.reason),
        };
        tell(step.object, state);
    }
    for problem in problems {
        let name = problem
            .watch
            .map_or("capture".to_owned(), |watch| format!("watch {watch}"));
        tell(name, State::Modified(problem.message));
    }
    let name = &target.slot;
    let facts = WalFacts::read(client, name).await?;
    if facts.publication(name).is_some_and(|one| one.ours) {
        tell(format!("publication {name}"), State::Ok);
    }
    if facts.slots.iter().any(|one| one.name == *name) {
        tell(format!("slot {name}"), State::Ok);
    }
    for one in told {
        match status.schema.iter_mut().find(|known| known.name == one.name) {
            Some(known) => known.state = one.state,
            None => status.schema.push(one),
        }
    }
    Ok(())
}

/// A function that should be there; without a body when nobody can say which.
struct Wanted<'a> {
    schema: &'a str,
    name: &'a str,
    watch: Option<&'a str>,
    body: Option<&'a str>,
}

impl<'a> Wanted<'a> {
    fn new(schema: &'a str, name: &'a str, watch: Option<&'a str>, body: Option<&'a str>) -> Self {
        Self {
            schema,
            name,
            watch,
            body,
        }
    }

    fn compare(&self, found: &Found, status: &mut Status) {
        let name = format!("{}.{}", self.schema, self.name);
        let Some(told) = status.functions.iter_mut().find(|told| told.name == name) else {
            status.functions.push(FunctionStatus {
                name,
                watch: self.watch.map(str::to_owned),
                owner: String::new(),
                state: State::Missing,
            });
            return;
        };
        let found = found
            .functions
            .iter()
            .find(|function| function.schema == self.schema && function.name == self.name);
        let differs = found.is_some_and(|found| self.body.is_some_and(|body| body != found.body));
        if told.state == State::Ok && differs {
            told.state = State::Modified("it is not what this version and configuration install".into());
        }
    }
}

fn triggers(found: &Found, watch: &DesiredWatch<'_>, status: &mut Status) {
    let function = format!("{}.{}", watch.function_schema, watch.function_name);
    // What stood for all triggers of the watch is said one by one.
    status
        .triggers
        .retain(|told| !(told.name.is_empty() && told.function == function));
    for want in &watch.triggers {
        let Some(told) = status.triggers.iter_mut().find(|told| stands_for(told, want)) else {
            status.triggers.push(TriggerStatus {
                name: want.name.clone(),
                table: want.plain_table(),
                function: function.clone(),
                watch: watch.spec.name.clone(),
                state: State::Missing,
            });
            continue;
        };
        let existing = found.triggers.iter().find(|trigger| want.is_at(trigger));
        let difference = existing
            .and_then(|existing| trigger_difference(existing, want, watch, told.function == function));
        if let (State::Ok, Some((reason, _))) = (&told.state, difference) {
            told.state = State::Modified(reason.to_owned());
        }
    }
}

fn stands_for(told: &TriggerStatus, want: &DesiredTrigger) -> bool {
    told.name == want.name && told.table == want.plain_table()
}

fn unwanted(functions: &[(String, String)], watches: &[DesiredWatch<'_>], status: &mut Status) {
    let reason = || State::Modified("the configuration has no watch for it".into());
    for told in status.functions.iter_mut().filter(|told| told.watch.is_some()) {
        let wanted = functions
            .iter()
            .any(|(schema, name)| told.name == format!("{schema}.{name}"));
        if told.state == State::Ok && !wanted {
            told.state = reason();
        }
    }
    for told in status.triggers.iter_mut().filter(|told| told.state == State::Ok) {
        let mut wanted = watches.iter().flat_map(|watch| &watch.triggers);
        if !wanted.any(|want| stands_for(told, want)) {
            told.state = reason();
        }
    }
}
