//! The roles of an installation: who owns our objects, and who may publish.
//!
//! They belong to the whole server, and the last database that removes its installation takes them with it: between the plan of another
//! database and its application they may go. What was planned for roles that were there then makes them again.

use tokio_postgres::Error;
use tokio_postgres::error::SqlState;

use crate::catalog::names::{ident, literal};

use super::found::Found;
use super::plan::{Plan, Step, StepKind};
use super::{InstallError, MARK, OWNER_ROLE, PUBLISHER_ROLE, Problem};

const OWNS: &str = "owns schema, functions and tables; cannot log in";
const PUBLISHES: &str = "its members may call pregon.publish";

/// Who owns our objects, and what has to be said about it.
pub(crate) struct Owner {
    pub(crate) name: String,
    pub(crate) warning: Option<String>,
    create: bool,
    join: bool,
}

impl Owner {
    /// Whether an object of that owner has to change hands: to `pregon_owner` always, to a makeshift owner never.
    pub(super) fn should_take(&self, present: &str) -> bool {
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
        steps.push(create_role(OWNER_ROLE, OWNS));
    }
    if owner.join {
        steps.push(Step {
            sql: format!("GRANT {OWNER_ROLE} TO {}", ident(&found.me.name)),
            reason: "only a member can make objects that the role owns".into(),
            object: format!("role {OWNER_ROLE}"),
            kind: StepKind::Tidy("grant"),
        });
    }
    if found.publisher.is_none() {
        if found.me.superuser || found.me.create_role {
            steps.push(create_role(PUBLISHER_ROLE, PUBLISHES));
        } else {
            warnings.push(format!(
                "role {} cannot create {PUBLISHER_ROLE}: only the owner may call pregon.publish",
                found.me.name
            ));
        }
    }
}

fn create_role(role: &str, reason: &str) -> Step {
    Step {
        sql: made(role, reason, ""),
        reason: reason.into(),
        object: format!("role {role}"),
        // Nothing needs it that is there already.
        kind: StepKind::Tidy("create"),
    }
}

/// What makes a role unless it is there. Roles belong to the whole cluster, so another database may be creating it at this moment.
fn made(role: &str, reason: &str, then: &str) -> String {
    format!(
        "DO $pregon$ BEGIN\n  CREATE ROLE {role} NOLOGIN;\n  COMMENT ON ROLE {role} IS {};\n{then}\
         EXCEPTION WHEN duplicate_object OR unique_violation THEN NULL;\nEND $pregon$",
        literal(&format!("{MARK}{reason}"))
    )
}

/// How often something is read again because a role went while it was read.
pub(super) const AGAIN: u32 = 5;

/// Whether something has to be read again because a role of ours went meanwhile; `left` counts down.
pub(super) fn went_meanwhile<T>(done: &Result<T, InstallError>, left: &mut u32) -> bool {
    let went = matches!(done, Err(InstallError::Database(error)) if *left > 0 && has_gone(error));
    *left -= u32::from(went);
    went
}

/// Whether a role of ours was there when something was planned, and is not any more.
pub(crate) fn has_gone(error: &Error) -> bool {
    let Some(db) = error.as_db_error() else {
        return false;
    };
    let says = |words: &str| db.message().contains(words);
    match *db.code() {
        // By its number where it went within the statement.
        SqlState::UNDEFINED_OBJECT => {
            says(OWNER_ROLE) || says(PUBLISHER_ROLE) || says("concurrently dropped") || says("role with OID")
        }
        SqlState::INTERNAL_ERROR => {
            says("cache lookup failed for role") || says("could not find tuple for role")
        }
        _ => false,
    }
}

/// What makes the roles again that the steps of a plan name; empty for one that removes them.
pub(crate) fn again(plan: &Plan) -> String {
    let mut sql = String::new();
    for (role, reason) in [(OWNER_ROLE, OWNS), (PUBLISHER_ROLE, PUBLISHES)] {
        let object = format!("role {role}");
        let goes = plan
            .steps
            .iter()
            .any(|step| step.object == object && step.kind == StepKind::Drop);
        if goes || !plan.steps.iter().any(|step| step.sql.contains(role)) {
            continue;
        }
        // Who makes a role is no member of it, and only a member makes objects that it owns.
        let join = "  IF NOT (SELECT rolsuper FROM pg_roles WHERE rolname = current_user) THEN\n    \
             EXECUTE format('GRANT {role} TO %I', current_user);\n  END IF;\n"
            .replace("{role}", role);
        let join = if role == OWNER_ROLE { &*join } else { "" };
        sql.push_str(&made(role, reason, join));
        sql.push_str(";\n");
    }
    sql
}
