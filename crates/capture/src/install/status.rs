//! What is installed, without a configuration to compare with: whether each object is as it was installed.

use serde::Serialize;
use tokio_postgres::Client;

use super::base::BaseRelation;
use super::found::{self, Found, FunctionFacts};
use super::spec::Mode;
use super::watch::SETTINGS;
use super::{InstallError, OWNER_ROLE, PUBLISHER_ROLE, SCHEMA};
use crate::catalog::names::fingerprint;

/// Whether an object is as it was installed.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(tag = "state", content = "detail", rename_all = "lowercase")]
pub enum State {
    Ok,
    Modified(String),
    Missing,
}

/// A function of ours.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct FunctionStatus {
    pub name: String,
    /// The watch that it captures; `None` for the functions that every installation has.
    pub watch: Option<String>,
    pub owner: String,
    #[serde(flatten)]
    pub state: State,
}

/// A trigger that runs a function of ours.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct TriggerStatus {
    pub name: String,
    pub table: String,
    pub function: String,
    pub watch: String,
    #[serde(flatten)]
    pub state: State,
}

/// A schema, table, sequence or role of ours.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct ObjectStatus {
    pub name: String,
    #[serde(flatten)]
    pub state: State,
}

/// Everything of ours in the database.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Status {
    /// The version that installed last; `None` when nothing is installed or it may not be read.
    pub version: Option<String>,
    /// Differs between two installations.
    pub epoch: Option<String>,
    pub schema: Vec<ObjectStatus>,
    pub roles: Vec<ObjectStatus>,
    pub functions: Vec<FunctionStatus>,
    pub triggers: Vec<TriggerStatus>,
}

impl Status {
    pub(crate) fn new(found: &Found) -> Self {
        let meta = |key: &str| {
            let mut rows = found.meta.iter().flatten();
            let row = rows.find(|(name, _)| name == key);
            row.map(|(_, value)| value.clone())
        };
        let ours = found.functions.iter().filter(|one| one.is_ours());
        Self {
            version: meta("version"),
            epoch: meta("epoch"),
            schema: objects(found),
            roles: roles(found),
            functions: ours.map(function).collect(),
            triggers: triggers(found),
        }
    }

    /// Whether anything of ours is there.
    pub fn is_installed(&self) -> bool {
        self.functions.iter().any(|one| one.state != State::Missing)
            || self.schema.iter().any(|object| object.state == State::Ok)
    }

    /// Whether all that is there is as it was installed.
    pub fn is_sound(&self) -> bool {
        let objects = self.schema.iter().chain(&self.roles).map(|object| &object.state);
        let functions = self.functions.iter().map(|function| &function.state);
        let triggers = self.triggers.iter().map(|trigger| &trigger.state);
        objects
            .chain(functions)
            .chain(triggers)
            .all(|state| *state == State::Ok)
    }
}

/// Reads what is installed. Works for any role.
pub async fn status(client: &Client) -> Result<Status, InstallError> {
    found::begin(client).await?;
    let found = found::read(client, &[], &[]).await.map_err(InstallError::from);
    let found = found::end(client, found).await?;
    Ok(Status::new(&found))
}

fn objects(found: &Found) -> Vec<ObjectStatus> {
    let present = |there: bool| if there { State::Ok } else { State::Missing };
    let schema = match &found.schema {
        None => State::Missing,
        Some(schema) if schema.public_usage => State::Modified("everybody has rights on it".into()),
        Some(_) => State::Ok,
    };
    let mut list = vec![ObjectStatus {
        name: format!("schema {SCHEMA}"),
        state: schema,
    }];
    let there = |name: &str| found.relations.iter().any(|relation| relation.name == name);
    // Without a configuration, what is there says how changes are captured.
    let of_outbox = |relation: &&BaseRelation| !relation.is_wanted(Mode::Notify);
    let log = BaseRelation::all().any(|relation| relation.is_of_log() && there(relation.name));
    let mode = if BaseRelation::all()
        .filter(of_outbox)
        .any(|relation| there(relation.name))
    {
        Mode::Outbox
    } else {
        Mode::Notify
    };
    list.extend(BaseRelation::wanted(mode, log).map(|relation| ObjectStatus {
        name: format!("{} {SCHEMA}.{}", relation.word, relation.name),
        state: present(there(relation.name)),
    }));
    list
}

fn roles(found: &Found) -> Vec<ObjectStatus> {
    [(OWNER_ROLE, &found.owner), (PUBLISHER_ROLE, &found.publisher)]
        .into_iter()
        .map(|(name, role)| ObjectStatus {
            name: name.to_owned(),
            state: match role {
                None => State::Missing,
                Some(role) if role.superuser => State::Modified("it is a superuser".into()),
                Some(_) => State::Ok,
            },
        })
        .collect()
}

fn function(function: &FunctionFacts) -> FunctionStatus {
    FunctionStatus {
        name: format!("{}.{}", function.schema, function.name),
        watch: function.watch().map(str::to_owned),
        owner: function.owner.clone(),
        state: function_state(function),
    }
}

fn function_state(function: &FunctionFacts) -> State {
    let changed = |what: &str| State::Modified(what.to_owned());
    if function.installed_fingerprint() != Some(fingerprint(&function.body).as_str()) {
        return changed("its definition was changed after it was installed");
    }
    if function.public_execute {
        return changed("everybody may execute it");
    }
    if function.returns_trigger && (!function.definer || function.settings != SETTINGS) {
        return changed("its settings were changed after it was installed");
    }
    State::Ok
}

fn triggers(found: &Found) -> Vec<TriggerStatus> {
    let mut list = Vec::new();
    for function in found
        .functions
        .iter()
        .filter(|one| one.is_ours() && one.returns_trigger)
    {
        let watch = function.watch().unwrap_or_default().to_owned();
        let name = format!("{}.{}", function.schema, function.name);
        let of_function = found
            .triggers
            .iter()
            .filter(|trigger| trigger.function_oid == function.oid);
        let before = list.len();
        list.extend(of_function.map(|trigger| TriggerStatus {
            name: trigger.name.clone(),
            table: format!("{}.{}", trigger.schema, trigger.table),
            function: name.clone(),
            watch: watch.clone(),
            state: match trigger.enabled.as_str() {
                "O" | "A" => State::Ok,
                "D" => State::Modified("it is disabled".into()),
                _ => State::Modified("it fires for replicated rows only".into()),
            },
        }));
        if list.len() == before {
            list.push(TriggerStatus {
                name: String::new(),
                table: String::new(),
                function: name,
                watch,
                state: State::Missing,
            });
        }
    }
    list
}
