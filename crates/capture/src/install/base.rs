//! What every installation has, whatever it watches: schema, sequence, tables and `pregon.publish`.

use crate::catalog::names::{ident, literal};

use super::found::{Found, FunctionFacts, RelationFacts};
use super::plan::{Step, StepKind, drop_function};
use super::roles::Owner;
use super::spec::{Mode, Target};
use super::watch::{FunctionSql, function_sql, mark};
use super::{MARK, Problem, SCHEMA, shared};

/// A function that belongs to every installation.
pub(crate) struct BaseFunction {
    pub(crate) name: &'static str,
    pub(super) arguments: &'static str,
    pub(super) result: &'static str,
    pub(super) definer: bool,
    pub(super) volatility: &'static str,
    pub(super) settings: &'static [&'static str],
    pub(crate) body: &'static str,
}

pub(super) const PATH: &[&str] = &["search_path=pg_catalog, pg_temp"];

const FIT: BaseFunction = BaseFunction {
    name: "fit",
    arguments: "head text, rest text, key text",
    result: "text",
    definer: false,
    volatility: "VOLATILE",
    settings: PATH,
    body: include_str!("../../sql/fit.sql"),
};

/// The gateway calls it too, and may not write into the outbox itself.
const TRIM: BaseFunction = BaseFunction {
    name: "trim",
    arguments: "at_most bigint",
    result: "bigint",
    definer: true,
    volatility: "VOLATILE",
    settings: PATH,
    body: include_str!("../../sql/trim.sql"),
};

/// The gateway asks it too.
const FLAW: BaseFunction = BaseFunction {
    name: "flaw",
    arguments: "moment timestamp with time zone",
    result: "text",
    definer: true,
    volatility: "IMMUTABLE",
    settings: PATH,
    body: include_str!("../../sql/flaw.sql"),
};

/// The gateway calls it too, and may not move the sequence itself.
const MEND: BaseFunction = BaseFunction {
    name: "mend",
    arguments: "",
    result: "boolean",
    definer: true,
    volatility: "VOLATILE",
    settings: PATH,
    body: include_str!("../../sql/mend.sql"),
};

const RING: BaseFunction = BaseFunction {
    name: "ring",
    arguments: "written bigint",
    result: "void",
    definer: false,
    volatility: "VOLATILE",
    settings: PATH,
    body: include_str!("../../sql/ring.sql"),
};

const PUBLISH: BaseFunction = BaseFunction {
    name: "publish",
    arguments: "channel text, event text, data jsonb",
    result: "void",
    definer: true,
    volatility: "VOLATILE",
    settings: PATH,
    body: concat!(
        "\n-- Publishes `data` as `event` on `channel`; whoever may execute this may publish on every channel.\n",
        "DECLARE\n  head text;\n  rest text;\n",
        include_str!("../../sql/publish_names.sql"),
        include_str!("../../sql/publish_notify.sql"),
    ),
};

const PUBLISH_TO_OUTBOX: BaseFunction = BaseFunction {
    body: concat!(
        "\n-- Publishes `data` as `event` on `channel`; whoever may execute this may publish on every channel.\n",
        include_str!("../../sql/publish_names.sql"),
        include_str!("../../sql/publish_outbox.sql"),
    ),
    ..PUBLISH
};

const PUBLISH_TO_WAL: BaseFunction = BaseFunction {
    body: concat!(
        "\n-- Publishes `data` as `event` on `channel`; whoever may execute this may publish on every channel.\n",
        "DECLARE\n  message text;\n",
        include_str!("../../sql/publish_names.sql"),
        include_str!("../../sql/publish_wal.sql"),
    ),
    ..PUBLISH
};

/// All names, whatever the mode: no watch may take one of them.
pub(crate) const NAMES: [&str; 10] = [
    "fit",
    "flaw",
    "log_append",
    "log_open",
    "log_prune",
    "log_renew",
    "mend",
    "publish",
    "ring",
    "trim",
];

/// In the order of creation: each after those that it calls.
pub(crate) fn wanted_functions(target: &Target) -> impl Iterator<Item = &'static BaseFunction> {
    let of_mode: &[BaseFunction] = match target.mode {
        Mode::Notify => const { &[FIT, PUBLISH] },
        Mode::Outbox => const { &[TRIM, MEND, RING, FLAW, PUBLISH_TO_OUTBOX] },
        Mode::Wal => const { &[PUBLISH_TO_WAL] },
    };
    let of_log: &[BaseFunction] = if target.log { &shared::FUNCTIONS } else { &[] };
    of_mode.iter().chain(of_log)
}

/// A table or sequence that belongs to every installation, or to those of one mode.
pub(crate) struct BaseRelation {
    pub(crate) name: &'static str,
    /// As `pg_class.relkind` says it.
    pub(crate) kind: &'static str,
    pub(crate) word: &'static str,
    pub(super) create: &'static str,
    pub(super) reason: &'static str,
}

/// In the order of creation.
const COMMON: [BaseRelation; 3] = [
    BaseRelation {
        name: "seq",
        kind: "S",
        word: "sequence",
        create: "CREATE SEQUENCE IF NOT EXISTS pregon.seq",
        reason: "numbers the payloads",
    },
    BaseRelation {
        name: "stored",
        kind: "r",
        word: "table",
        create: include_str!("../../sql/stored.sql"),
        reason: "keeps payloads too big for NOTIFY",
    },
    BaseRelation {
        name: "meta",
        kind: "r",
        word: "table",
        create: include_str!("../../sql/meta.sql"),
        reason: "remembers the installation",
    },
];

/// The outbox last: its creation resets the cursor.
const OUTBOX: [BaseRelation; 3] = [
    BaseRelation {
        name: "bell",
        kind: "r",
        word: "table",
        create: include_str!("../../sql/bell.sql"),
        reason: "says whether the gateway has to be woken",
    },
    BaseRelation {
        name: "cursor",
        kind: "r",
        word: "table",
        create: include_str!("../../sql/cursor.sql"),
        reason: "remembers how far the outbox was read",
    },
    BaseRelation {
        name: "outbox",
        kind: "r",
        word: "table",
        create: include_str!("../../sql/outbox.sql"),
        reason: "keeps changes until they are in the log",
    },
];

impl BaseRelation {
    /// What a mode needs, and a shared log where there is one.
    pub(crate) fn wanted(mode: Mode, log: bool) -> impl Iterator<Item = &'static Self> {
        let of_mode: &[Self] = match mode {
            Mode::Notify | Mode::Wal => &[],
            Mode::Outbox => &OUTBOX,
        };
        let of_log: &[Self] = if log { &shared::RELATIONS } else { &[] };
        COMMON.iter().chain(of_mode).chain(of_log)
    }

    /// What any mode may have left, in the reverse of the order of creation.
    pub(crate) fn all() -> impl Iterator<Item = &'static Self> {
        COMMON.iter().chain(&OUTBOX).chain(&shared::RELATIONS).rev()
    }

    /// Whether a mode leaves it where it is: it needs it, or it is not for modes to decide.
    pub(crate) fn is_wanted(&self, mode: Mode) -> bool {
        Self::wanted(mode, true).any(|wanted| wanted.name == self.name)
    }

    /// Whether it belongs to a shared log.
    pub(crate) fn is_of_log(&self) -> bool {
        shared::RELATIONS.iter().any(|of_log| of_log.name == self.name)
    }

    /// The step that removes it.
    pub(crate) fn drop_step(&self, reason: &str) -> Step {
        Step {
            sql: format!(
                "DROP {} IF EXISTS {SCHEMA}.{}",
                self.word.to_uppercase(),
                self.name
            ),
            reason: reason.to_owned(),
            object: format!("{} {SCHEMA}.{}", self.word, self.name),
            kind: StepKind::Drop,
        }
    }
}

impl BaseFunction {
    fn signature(&self) -> String {
        format!("{SCHEMA}.{}({})", self.name, self.arguments)
    }

    fn sql(&self, owner: &str) -> String {
        function_sql(&FunctionSql {
            signature: self.signature(),
            result: self.result,
            definer: self.definer,
            volatility: self.volatility,
            settings: self.settings,
            body: self.body,
            owner,
            comment: &mark(self.body),
        })
    }
}

/// Steps for schema, sequence and tables.
pub(crate) fn relations(
    found: &Found,
    target: &Target,
    owner: &Owner,
    steps: &mut Vec<Step>,
    problems: &mut Vec<Problem>,
) {
    schema(found, owner, steps);
    let quoted = ident(&owner.name);
    for BaseRelation {
        name,
        kind,
        word,
        create,
        reason,
    } in BaseRelation::wanted(target.mode, target.log)
    {
        let hand_over = format!("ALTER {} {SCHEMA}.{name} OWNER TO {quoted}", word.to_uppercase());
        let step = |sql, reason: &str, kind| Step {
            sql,
            reason: reason.to_owned(),
            object: format!("{word} {SCHEMA}.{name}"),
            kind,
        };
        match found.relations.iter().find(|relation| relation.name == *name) {
            None => steps.push(step(
                format!("{};\n{hand_over}", create.trim_end()),
                reason,
                StepKind::Create,
            )),
            Some(relation) if relation.kind != *kind => problems.push(Problem::general(
                format!("{SCHEMA}.{name} exists and is not a {word}"),
                "rename or drop it",
            )),
            Some(relation) if owner.should_take(&relation.owner) => {
                steps.push(step(hand_over, "its owner differs", TIDY));
            }
            Some(_) => {}
        }
    }
}

/// Steps that remove what only another mode needs. After those of the watches: until then their functions use it.
pub(crate) fn stale(found: &Found, target: &Target, steps: &mut Vec<Step>) {
    // Functions of a shared log stay, as its tables do.
    let with_log = Target {
        log: true,
        ..target.clone()
    };
    let reason = "this way of capturing does not use it";
    for function in found
        .functions
        .iter()
        .filter(|one| one.is_ours() && one.schema == SCHEMA)
    {
        let wanted = |name: &str| wanted_functions(&with_log).any(|wanted| wanted.name == name);
        if NAMES.contains(&function.name.as_str()) && !wanted(&function.name) {
            steps.push(drop_function(function, reason));
        }
    }
    for relation in BaseRelation::all().filter(|relation| !relation.is_wanted(target.mode)) {
        let there = |found: &&RelationFacts| found.name == relation.name && found.kind == relation.kind;
        if found.relations.iter().any(|found| there(&found)) {
            steps.push(relation.drop_step(reason));
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
            TIDY,
        );
    }
    if schema.public_usage {
        let sql = format!("REVOKE ALL ON SCHEMA {SCHEMA} FROM PUBLIC");
        add(sql, "everybody has rights on the schema", TIDY);
    }
}

/// Steps for the functions that every installation has.
pub(crate) fn functions(
    found: &Found,
    target: &Target,
    owner: &Owner,
    steps: &mut Vec<Step>,
    problems: &mut Vec<Problem>,
) {
    for function in wanted_functions(target) {
        let existing = found.functions.iter().find(|other| {
            other.schema == SCHEMA && other.name == function.name && other.arguments == function.arguments
        });
        let Some(existing) = existing else {
            steps.push(step(function, owner, "it is missing", StepKind::Create));
            continue;
        };
        if !existing.is_ours() {
            problems.push(Problem::general(
                format!("function {} exists and is not ours", function.signature()),
                "rename or drop it".to_owned(),
            ));
            continue;
        }
        let differs = difference(
            existing,
            function.body,
            function.definer,
            function.settings,
            owner,
        );
        if let Some((reason, kind)) = differs {
            steps.push(step(function, owner, &reason, kind));
        }
    }
}

fn step(function: &BaseFunction, owner: &Owner, reason: &str, kind: StepKind) -> Step {
    Step {
        sql: function.sql(&owner.name),
        reason: reason.to_owned(),
        object: format!("function {SCHEMA}.{}", function.name),
        kind,
    }
}

/// Replaces what captures as well as what it is replaced by.
pub(crate) const TIDY: StepKind = StepKind::Tidy("replace");

/// Why a function is not what it should be, and whether that makes capture wrong.
pub(crate) fn difference(
    existing: &FunctionFacts,
    body: &str,
    definer: bool,
    settings: &[&str],
    owner: &Owner,
) -> Option<(String, StepKind)> {
    let (reason, kind) = if existing.body != body {
        ("its definition differs", StepKind::Replace)
    } else if existing.definer != definer {
        ("its security differs", StepKind::Replace)
    } else if existing.settings != settings {
        ("its settings differ", StepKind::Replace)
    } else if owner.should_take(&existing.owner) {
        ("its owner differs", TIDY)
    } else if existing.public_execute {
        ("everybody may execute it", TIDY)
    } else {
        return None;
    };
    Some((reason.to_owned(), kind))
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
        kind: if meta.is_empty() { StepKind::Create } else { TIDY },
    });
}
