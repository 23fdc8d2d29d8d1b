//! What every installation has, whatever it watches: roles, schema, sequence, tables and `pregon.publish`.

use crate::catalog::names::{ident, literal};

use super::found::{Found, FunctionFacts};
use super::plan::{Step, StepKind};
use super::watch::{FunctionSql, function_sql, mark};
use super::{InstallError, MARK, Mode, OWNER_ROLE, PUBLISHER_ROLE, Problem, SCHEMA};

/// A function that belongs to every installation.
pub(crate) struct BaseFunction {
    pub(crate) name: &'static str,
    arguments: &'static str,
    result: &'static str,
    definer: bool,
    settings: &'static [&'static str],
    body: &'static str,
}

/// In the order of creation: `publish` calls `fit`.
pub(crate) const FUNCTIONS: [BaseFunction; 2] = [
    BaseFunction {
        name: "fit",
        arguments: "head text, rest text, key text",
        result: "text",
        definer: false,
        settings: &["search_path=pg_catalog, pg_temp"],
        body: include_str!("../../sql/fit.sql"),
    },
    BaseFunction {
        name: "publish",
        arguments: "channel text, event text, data jsonb",
        result: "void",
        definer: true,
        settings: &["search_path=pg_catalog, pg_temp"],
        body: include_str!("../../sql/publish.sql"),
    },
];

impl BaseFunction {
    /// What it does in this mode.
    pub(crate) fn body(&self, mode: Mode) -> &'static str {
        match (mode, self.name) {
            (Mode::Wal, "publish") => include_str!("../../sql/publish_wal.sql"),
            _ => self.body,
        }
    }

    fn signature(&self) -> String {
        format!("{SCHEMA}.{}({})", self.name, self.arguments)
    }

    fn sql(&self, owner: &str, body: &str) -> String {
        function_sql(&FunctionSql {
            signature: self.signature(),
            result: self.result,
            definer: self.definer,
            settings: self.settings,
            body,
            owner,
            comment: &mark(body),
        })
    }
}

/// Who owns our objects, and what has to be said about it.
pub(crate) struct Owner {
    pub(crate) name: String,
    pub(crate) warning: Option<String>,
    create: bool,
    join: bool,
}

impl Owner {
    /// Whether an object of that owner has to change hands: to `pregon_owner` always, to a makeshift owner never.
    fn should_take(&self, present: &str) -> bool {
        self.name == OWNER_ROLE && present != OWNER_ROLE
    }
}

/// `pregon_owner` where possible, otherwise the present role, unless that is a superuser.
pub(crate) fn owner(found: &Found) -> Result<Owner, InstallError> {
    let me = &found.me;
    let ours = |create, join| Owner {
        name: OWNER_ROLE.to_owned(),
        warning: None,
        create,
        join,
    };
    match &found.owner {
        Some(role) if role.superuser => Err(InstallError::Invalid(vec![Problem::general(
            format!("role {OWNER_ROLE} is a superuser, and trigger functions would run as it"),
            format!("ALTER ROLE {OWNER_ROLE} NOSUPERUSER"),
        )])),
        Some(role) if role.member || me.superuser => Ok(ours(false, false)),
        // Before 16 CREATEROLE may hand out any role that is not a superuser.
        Some(_) if me.create_role && found.version < 160_000 => Ok(ours(false, true)),
        None if me.superuser => Ok(ours(true, false)),
        None if me.create_role => Ok(ours(true, true)),
        _ => Ok(Owner {
            warning: Some(format!(
                "role {} can neither create {OWNER_ROLE} nor act as it: it owns the functions itself, so they run with its rights",
                me.name
            )),
            name: me.name.clone(),
            create: false,
            join: false,
        }),
    }
}

/// Steps for the roles.
pub(crate) fn roles(found: &Found, owner: &Owner, steps: &mut Vec<Step>, warnings: &mut Vec<String>) {
    warnings.extend(owner.warning.clone());
    if owner.create {
        steps.push(create_role(
            OWNER_ROLE,
            "owns schema, functions and tables; cannot log in",
        ));
    }
    if owner.join {
        steps.push(Step {
            sql: format!("GRANT {OWNER_ROLE} TO {}", ident(&found.me.name)),
            reason: "only a member can make objects that the role owns".into(),
            object: format!("role {OWNER_ROLE}"),
            kind: StepKind::Grant,
        });
    }
    if found.publisher.is_none() {
        if found.me.superuser || found.me.create_role {
            steps.push(create_role(PUBLISHER_ROLE, "its members may call pregon.publish"));
        } else {
            warnings.push(format!(
                "role {} cannot create {PUBLISHER_ROLE}: only the owner may call pregon.publish",
                found.me.name
            ));
        }
    }
}

// Roles belong to the whole cluster, so another database may be creating it at this moment.
fn create_role(role: &str, reason: &str) -> Step {
    Step {
        sql: format!(
            "DO $pregon$ BEGIN\n  CREATE ROLE {role} NOLOGIN;\n  COMMENT ON ROLE {role} IS {};\n\
             EXCEPTION WHEN duplicate_object OR unique_violation THEN NULL;\nEND $pregon$",
            literal(&format!("{MARK}{reason}"))
        ),
        reason: reason.into(),
        object: format!("role {role}"),
        kind: StepKind::Create,
    }
}

/// Steps for schema, sequence and tables.
pub(crate) fn relations(found: &Found, owner: &Owner, steps: &mut Vec<Step>, problems: &mut Vec<Problem>) {
    schema(found, owner, steps);
    let quoted = ident(&owner.name);
    let wanted = [
        (
            "seq",
            "S",
            "sequence",
            format!("CREATE SEQUENCE IF NOT EXISTS {SCHEMA}.seq"),
            "numbers the payloads",
        ),
        (
            "stored",
            "r",
            "table",
            trimmed(include_str!("../../sql/stored.sql")),
            "keeps payloads too big for NOTIFY",
        ),
        (
            "meta",
            "r",
            "table",
            trimmed(include_str!("../../sql/meta.sql")),
            "remembers the installation",
        ),
    ];
    for (name, kind, word, create, reason) in wanted {
        let hand_over = format!("ALTER {} {SCHEMA}.{name} OWNER TO {quoted}", word.to_uppercase());
        let step = |sql, reason: &str, kind| Step {
            sql,
            reason: reason.to_owned(),
            object: format!("{word} {SCHEMA}.{name}"),
            kind,
        };
        match found.relations.iter().find(|relation| relation.name == name) {
            None => steps.push(step(format!("{create};\n{hand_over}"), reason, StepKind::Create)),
            Some(relation) if relation.kind != kind => problems.push(Problem::general(
                format!("{SCHEMA}.{name} exists and is no {word}"),
                "rename or drop it",
            )),
            Some(relation) if owner.should_take(&relation.owner) => {
                steps.push(step(hand_over, "its owner differs", StepKind::Replace));
            }
            Some(_) => {}
        }
    }
}

fn schema(found: &Found, owner: &Owner, steps: &mut Vec<Step>) {
    let quoted = ident(&owner.name);
    let mut add = |sql, reason: &str, kind| {
        steps.push(Step {
            sql,
            reason: reason.to_owned(),
            object: format!("schema {SCHEMA}"),
            kind,
        });
    };
    let Some(schema) = &found.schema else {
        let comment = literal(&format!("{MARK}realtime capture"));
        add(
            format!(
                "CREATE SCHEMA IF NOT EXISTS {SCHEMA} AUTHORIZATION {quoted};\nCOMMENT ON SCHEMA {SCHEMA} IS {comment}"
            ),
            "holds everything that belongs to pregón",
            StepKind::Create,
        );
        return;
    };
    if owner.should_take(&schema.owner) {
        add(
            format!("ALTER SCHEMA {SCHEMA} OWNER TO {quoted}"),
            "its owner differs",
            StepKind::Replace,
        );
    }
    if schema.public_usage {
        let sql = format!("REVOKE ALL ON SCHEMA {SCHEMA} FROM PUBLIC");
        add(sql, "everybody has rights on the schema", StepKind::Replace);
    }
}

fn trimmed(sql: &str) -> String {
    sql.trim_end().to_owned()
}

/// Steps for the functions that every installation has.
pub(crate) fn functions(
    found: &Found,
    owner: &Owner,
    mode: Mode,
    steps: &mut Vec<Step>,
    problems: &mut Vec<Problem>,
) {
    for function in &FUNCTIONS {
        let body = function.body(mode);
        let existing = found.functions.iter().find(|other| {
            other.schema == SCHEMA && other.name == function.name && other.arguments == function.arguments
        });
        let Some(existing) = existing else {
            steps.push(step(function, body, owner, "it is missing", StepKind::Create));
            continue;
        };
        if !existing.is_ours() {
            problems.push(Problem::general(
                format!("function {} exists and is not ours", function.signature()),
                "rename or drop it".to_owned(),
            ));
            continue;
        }
        let differs = difference(existing, body, function.definer, function.settings, owner);
        if let Some(reason) = differs {
            steps.push(step(function, body, owner, &reason, StepKind::Replace));
        }
    }
}

fn step(function: &BaseFunction, body: &str, owner: &Owner, reason: &str, kind: StepKind) -> Step {
    Step {
        sql: function.sql(&owner.name, body),
        reason: reason.to_owned(),
        object: format!("function {SCHEMA}.{}", function.name),
        kind,
    }
}

/// Why a function is not what it should be.
pub(crate) fn difference(
    existing: &FunctionFacts,
    body: &str,
    definer: bool,
    settings: &[&str],
    owner: &Owner,
) -> Option<String> {
    let reason = if existing.body != body {
        "its definition differs"
    } else if existing.definer != definer {
        "its security differs"
    } else if existing.settings != settings {
        "its settings differ"
    } else if owner.should_take(&existing.owner) {
        "its owner differs"
    } else if existing.public_execute {
        "everybody may execute it"
    } else {
        return None;
    };
    Some(reason.to_owned())
}

/// The row of `pregon.meta` that says who installed, and the epoch that tells two installations apart.
pub(crate) fn meta(found: &Found, steps: &mut Vec<Step>) {
    let version = env!("CARGO_PKG_VERSION");
    let Some(meta) = &found.meta else {
        return;
    };
    let known = |key: &str| {
        meta.iter()
            .find(|(name, _)| name == key)
            .map(|(_, value)| value.as_str())
    };
    if known("version") == Some(version) && known("epoch").is_some() {
        return;
    }
    steps.push(Step {
        sql: format!(
            "INSERT INTO {SCHEMA}.meta (key, value) VALUES ('version', {}), ('epoch', gen_random_uuid()::text)\n\
             ON CONFLICT (key) DO UPDATE SET value = excluded.value WHERE meta.key = 'version'",
            literal(version)
        ),
        reason: "records the version that installed".into(),
        object: format!("table {SCHEMA}.meta"),
        kind: if meta.is_empty() { StepKind::Create } else { StepKind::Replace },
    });
}
