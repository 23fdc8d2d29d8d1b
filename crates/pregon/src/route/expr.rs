//! The expression language (CEL) of conditions and built payloads.
//!
//! Expressions are compiled when the configuration is read and evaluated once per event and rule, never per client. Nothing in
//! them can loop for ever or reach outside its scope. An error while evaluating (a missing key, a wrong type) is returned; callers
//! treat it as "no" and count it.

mod names;

use std::fmt;
use std::sync::Arc;

use cel::common::ast::{EntryExpr, Expr as Node, LiteralValue, operators};
use cel::common::types::CelBool;
use cel::{Context, ExecutionError, IdedExpr, Program, Value};

use super::scope::Scope;

/// What an expression is about; decides which variables it may use.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Kind {
    /// A route: `row`, `old`, `op`, `message`, `channel`.
    Event,
    /// A route of what clients emit: `message`, `event`, `claims`.
    Emit,
    /// A right: `claims`, `channel`.
    Client,
}

impl Kind {
    /// The variables that an expression of this kind may use.
    pub(crate) fn variables(self) -> &'static [&'static str] {
        match self {
            Self::Event => &["row", "old", "op", "message", "channel"],
            Self::Emit => &["message", "event", "claims"],
            Self::Client => &["claims", "channel"],
        }
    }
}

/// Why a text is no expression, or why an expression gave no answer.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(crate) enum ExprError {
    #[error("the expression is empty")]
    Empty,
    #[error("the expression is longer than {MAX_LENGTH} bytes")]
    TooLong,
    #[error("{message} (character {column} of the expression)")]
    Syntax { message: String, column: usize },
    #[error("`{name}` is not known here; there are {known}")]
    UnknownVariable { name: String, known: String },
    #[error("`{0}` is not a function; the functions are {list}", list = FUNCTIONS.join(", "))]
    UnknownFunction(String),
    #[error("the expression gave {0} and not true or false")]
    NotBool(String),
    #[error("{0}")]
    Evaluation(String),
}

/// Longer than any rule that a person writes; keeps the parser's work small.
const MAX_LENGTH: usize = 16 * 1024;
/// The parser recurses; in a debug build deep input needs more than a thread's usual 2 MiB.
const PARSER_STACK: usize = 16 * 1024 * 1024;
/// How `==` is spelt inside once numbers and texts may be equal; no outside name can contain it.
const SAME: &str = "pregon_same";
const WITHIN: &str = "pregon_within";

/// A compiled expression.
#[derive(Clone)]
pub(crate) struct Expr {
    source: Arc<str>,
    tree: Arc<IdedExpr>,
    functions: Arc<Context<'static, 'static>>,
}

impl Expr {
    /// Compiles an expression and checks the names in it.
    pub(crate) fn compile(text: &str, kind: Kind) -> Result<Self, ExprError> {
        if text.trim().is_empty() {
            return Err(ExprError::Empty);
        }
        if text.len() > MAX_LENGTH {
            return Err(ExprError::TooLong);
        }
        let owned = text.to_owned();
        let parse = move || {
            let program = Program::compile(&owned).map_err(|errors| syntax(&errors))?;
            check_names(&program, kind)?;
            let mut tree = program.expression().clone();
            if kind == Kind::Client {
                loosen(&mut tree);
            }
            Ok(tree)
        };
        let thread = std::thread::Builder::new()
            .name("expression".into())
            .stack_size(PARSER_STACK)
            .spawn(parse);
        let tree = thread
            .map_err(|error| ExprError::Evaluation(error.to_string()))?
            .join()
            .unwrap_or_else(|_| Err(ExprError::Evaluation("the parser failed".into())))?;
        Ok(Self {
            source: text.into(),
            tree: Arc::new(tree),
            functions: Arc::new(functions()),
        })
    }

    /// As it was written.
    pub(crate) fn source(&self) -> &str {
        &self.source
    }

    /// The path, if the expression is nothing but one (`row.total`): such values are copied as the database wrote them.
    pub(crate) fn path(&self) -> Option<Vec<&str>> {
        let mut path = Vec::new();
        let mut node = &self.tree.expr;
        loop {
            match node {
                Node::Ident(name) => {
                    path.push(name.as_str());
                    path.reverse();
                    return Some(path);
                }
                Node::Select(select) if !select.test => {
                    path.push(select.field.as_str());
                    node = &select.operand.expr;
                }
                _ => return None,
            }
        }
    }

    /// Whether the expression looks at this field of a row or message, or takes the whole of one; `has(row.field)` does not.
    pub(crate) fn looks_at(&self, field: &str) -> bool {
        looks_at(&self.tree, field)
    }

    /// Whether the expression is a copy of this field and nothing else.
    pub(crate) fn copies(&self, field: &str) -> bool {
        matches!(self.path().as_deref(), Some([root, name]) if ROWS.contains(root) && *name == field)
    }

    /// Evaluates a condition.
    pub(crate) fn eval_bool(&self, scope: &Scope<'_>) -> Result<bool, ExprError> {
        let mut context = self.functions.new_inner_scope();
        context.set_variable_resolver(scope);
        let value = Value::resolve_val(&self.tree, &context).map_err(|error| self.failed(&error))?;
        match value.as_ref().downcast_ref::<CelBool>() {
            Some(value) => Ok(*value.inner()),
            None => Err(ExprError::NotBool(value.get_type().name().to_owned())),
        }
    }

    /// Evaluates to a JSON value.
    pub(crate) fn eval_json(&self, scope: &Scope<'_>) -> Result<serde_json::Value, ExprError> {
        let mut context = self.functions.new_inner_scope();
        context.set_variable_resolver(scope);
        let value = Value::resolve(&self.tree, &context).map_err(|error| self.failed(&error))?;
        value
            .json()
            .map_err(|_| ExprError::Evaluation("the value cannot be written as JSON".into()))
    }

    /// An error as it may be shown: the library's own words quote the values.
    fn failed(&self, error: &ExecutionError) -> ExprError {
        tracing::debug!(expression = &*self.source, %error, "why an expression gave no value");
        ExprError::Evaluation(without_values(error, &self.source))
    }
}

impl fmt::Debug for Expr {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Expr").field(&self.source).finish()
    }
}

impl PartialEq for Expr {
    fn eq(&self, other: &Self) -> bool {
        self.source == other.source
    }
}

/// What went wrong with an expression, by types and by names that stand in it.
fn without_values(error: &ExecutionError, source: &str) -> String {
    use ExecutionError as E;
    match error {
        // A key may come from a row; one that the expression names does not.
        E::NoSuchKey(key) if !source.contains(key.as_str()) => "No such key".into(),
        E::NoSuchKey(_)
        | E::NoSuchOverload(_)
        | E::UndeclaredReference(_)
        | E::InvalidArgumentCount { .. }
        | E::MissingArgumentOrTarget => error.to_string(),
        E::ValuesNotComparable(a, b) => {
            format!("{} can not be compared to {}", a.type_of(), b.type_of())
        }
        E::UnsupportedIndex(a, b) => format!("Cannot use {} to index {}", a.type_of(), b.type_of()),
        E::UnsupportedTargetType { target } => format!("Invalid argument type: {}", target.type_of()),
        E::NotSupportedAsMethod { method, target } => {
            format!("Method '{method}' not supported on type '{}'", target.type_of())
        }
        E::UnexpectedType { want, .. } => format!("Unexpected type: want '{want}'"),
        E::FunctionError { function, .. } => format!("Error executing function '{function}'"),
        E::DivisionByZero(_) | E::RemainderByZero(_) => "Division by zero".into(),
        E::Overflow(operator, ..) => format!("Overflow from binary operator '{operator}'"),
        E::IndexOutOfBounds(_) => "Index out of bounds".into(),
        _ => "a value cannot be used so".into(),
    }
}

/// The standard functions and our comparisons. Made once per expression: it takes 20 µs, an evaluation 0.3.
fn functions() -> Context<'static, 'static> {
    let mut context = Context::default();
    // Neither name is declared by the standard library, which is the only way that these can fail.
    let _ = context.add_function(SAME, |a: Value, b: Value| same(&a, &b));
    let _ = context.add_function(WITHIN, |a: Value, b: Value| match &b {
        Value::List(items) => items.iter().any(|item| same(&a, item)),
        Value::Map(map) => map.map.keys().any(|key| same(&a, &Value::from(key))),
        _ => false,
    });
    context
}

/// Whether two values are equal where the text of a number counts as the number: a token may carry `sub` as 123 or "123",
/// and what a channel's name captured is always text.
fn same(a: &Value, b: &Value) -> bool {
    match (a, b) {
        (Value::String(text), number) | (number, Value::String(text)) => match number {
            Value::Int(number) => **text == number.to_string(),
            Value::UInt(number) => **text == number.to_string(),
            _ => a == b,
        },
        _ => a == b,
    }
}

/// Puts our comparisons in the place of `==`, `!=` and `in`.
fn loosen(node: &mut IdedExpr) {
    match &mut node.expr {
        Node::Call(call) => {
            call.args
                .iter_mut()
                .chain(call.target.as_deref_mut())
                .for_each(loosen);
            match call.func_name.as_str() {
                operators::EQUALS => call.func_name = SAME.into(),
                operators::IN => call.func_name = WITHIN.into(),
                operators::NOT_EQUALS => {
                    call.func_name = SAME.into();
                    let equal = IdedExpr {
                        id: node.id,
                        expr: std::mem::take(&mut node.expr),
                    };
                    let not = cel::common::ast::CallExpr {
                        func_name: operators::LOGICAL_NOT.into(),
                        target: None,
                        args: vec![equal],
                    };
                    node.expr = Node::Call(not);
                }
                _ => {}
            }
        }
        Node::Comprehension(it) => {
            for part in [
                &mut it.iter_range,
                &mut it.accu_init,
                &mut it.loop_cond,
                &mut it.loop_step,
                &mut it.result,
            ] {
                loosen(part);
            }
        }
        Node::List(list) => list.elements.iter_mut().for_each(loosen),
        Node::Select(select) => loosen(&mut select.operand),
        Node::Map(map) => map.entries.iter_mut().for_each(loosen_entry),
        Node::Struct(object) => object.entries.iter_mut().for_each(loosen_entry),
        Node::Ident(_) | Node::Literal(_) | Node::Unspecified => {}
    }
}

/// The variables of an event that have fields.
const ROWS: [&str; 3] = ["row", "old", "message"];

fn looks_at(node: &IdedExpr, field: &str) -> bool {
    let row = |node: &IdedExpr| matches!(&node.expr, Node::Ident(name) if ROWS.contains(&name.as_str()));
    let any = |nodes: &[IdedExpr]| nodes.iter().any(|node| looks_at(node, field));
    match &node.expr {
        Node::Ident(_) => row(node),
        Node::Select(select) if row(&select.operand) => select.field == field && !select.test,
        Node::Select(select) => looks_at(&select.operand, field),
        Node::Call(call) => match call.args.as_slice() {
            [
                whole,
                IdedExpr {
                    expr: Node::Literal(LiteralValue::String(key)),
                    ..
                },
            ] if call.func_name == operators::INDEX && row(whole) => key.inner() == field,
            args => {
                any(args)
                    || call
                        .target
                        .as_deref()
                        .is_some_and(|target| looks_at(target, field))
            }
        },
        Node::List(list) => any(&list.elements),
        Node::Map(map) => map.entries.iter().any(|entry| match &entry.expr {
            EntryExpr::StructField(part) => looks_at(&part.value, field),
            EntryExpr::MapEntry(part) => looks_at(&part.key, field) || looks_at(&part.value, field),
        }),
        Node::Struct(object) => object.entries.iter().any(|entry| match &entry.expr {
            EntryExpr::StructField(part) => looks_at(&part.value, field),
            EntryExpr::MapEntry(part) => looks_at(&part.key, field) || looks_at(&part.value, field),
        }),
        Node::Comprehension(it) => [
            &it.iter_range,
            &it.accu_init,
            &it.loop_cond,
            &it.loop_step,
            &it.result,
        ]
        .into_iter()
        .any(|part| looks_at(part, field)),
        Node::Literal(_) | Node::Unspecified => false,
    }
}

fn loosen_entry(entry: &mut cel::common::ast::IdedEntryExpr) {
    match &mut entry.expr {
        EntryExpr::StructField(field) => loosen(&mut field.value),
        EntryExpr::MapEntry(item) => {
            loosen(&mut item.key);
            loosen(&mut item.value);
        }
    }
}

fn syntax(errors: &cel::ParseErrors) -> ExprError {
    let Some(first) = errors.errors.first() else {
        return ExprError::Syntax {
            message: errors.to_string(),
            column: 1,
        };
    };
    let column = usize::try_from(first.pos.1).unwrap_or(0).max(1);
    let message = first.msg.lines().next().unwrap_or("").replace("<EOF>", "the end");
    ExprError::Syntax { message, column }
}

fn check_names(program: &Program, kind: Kind) -> Result<(), ExprError> {
    let references = program.references();
    let mut bound = Vec::new();
    bound_names(program.expression(), &mut bound);
    let known = kind.variables();
    let mut unknown = references.variables();
    unknown.sort_unstable();
    let name = unknown.into_iter().find(|name| {
        !known.contains(name) && !bound.contains(name) && !name.starts_with('@') && !is_type(name)
    });
    if let Some(name) = name {
        return Err(ExprError::UnknownVariable {
            name: name.to_owned(),
            known: known.join(", "),
        });
    }
    check_functions(&references)
}

/// The names that macros such as `exists(x, …)` bind.
fn bound_names<'t>(node: &'t IdedExpr, names: &mut Vec<&'t str>) {
    match &node.expr {
        Node::Comprehension(it) => {
            names.push(&it.iter_var);
            names.extend(it.iter_var2.as_deref());
            names.push(&it.accu_var);
            for part in [
                &it.iter_range,
                &it.accu_init,
                &it.loop_cond,
                &it.loop_step,
                &it.result,
            ] {
                bound_names(part, names);
            }
        }
        Node::Call(call) => call
            .args
            .iter()
            .chain(call.target.as_deref())
            .for_each(|part| bound_names(part, names)),
        Node::List(list) => list.elements.iter().for_each(|part| bound_names(part, names)),
        Node::Select(select) => bound_names(&select.operand, names),
        Node::Map(map) => {
            for entry in &map.entries {
                if let EntryExpr::MapEntry(item) = &entry.expr {
                    bound_names(&item.key, names);
                    bound_names(&item.value, names);
                }
            }
        }
        Node::Struct(_) | Node::Ident(_) | Node::Literal(_) | Node::Unspecified => {}
    }
}

fn check_functions(references: &cel::parser::ExpressionReferences<'_>) -> Result<(), ExprError> {
    let plain = |name: &&str| {
        name.chars().all(|c| c.is_ascii_alphanumeric() || c == '_')
            && name.starts_with(|c: char| c.is_ascii_alphabetic())
    };
    let mut called: Vec<&str> = references.functions().into_iter().filter(plain).collect();
    called.sort_unstable();
    match called.into_iter().find(|name| !FUNCTIONS.contains(name)) {
        Some(name) => Err(ExprError::UnknownFunction(name.to_owned())),
        None => Ok(()),
    }
}

/// The functions of the standard library; the macros (`has`, `all`, `exists`, …) are gone once an expression is parsed.
const FUNCTIONS: &[&str] = &[
    "bool",
    "bytes",
    "contains",
    "double",
    "dyn",
    "endsWith",
    "int",
    "size",
    "startsWith",
    "string",
    "type",
    "uint",
];

fn is_type(name: &str) -> bool {
    [
        "bool",
        "bytes",
        "double",
        "int",
        "list",
        "map",
        "null_type",
        "string",
        "type",
        "uint",
    ]
    .contains(&name)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::indexing_slicing, clippy::panic)]

    use bytes::Bytes;

    use super::*;
    use crate::event::{Event, What};
    use pregon_capture::change::Op;

    fn event(row: &str) -> Event {
        let what = What::Row {
            op: Op::Insert,
            new: Some(Bytes::copy_from_slice(row.as_bytes())),
            old: None,
        };
        Event::new("t".into(), what)
    }

    fn on_row(text: &str, row: &str) -> Result<bool, ExprError> {
        Expr::compile(text, Kind::Event)?.eval_bool(&Scope::event(&event(row)))
    }

    fn on_client(text: &str, claims: &str, captured: &[(&str, &str)]) -> Result<bool, ExprError> {
        Expr::compile(text, Kind::Client)?.eval_bool(&Scope::client(Some(claims.as_bytes()), captured))
    }

    #[test]
    fn conditions_look_at_rows() {
        let row = r#"{"tipo":"miembro","total":12.5,"n":3,"nada":null,"tags":["a","b"],"big":18446744073709551615}"#;
        for yes in [
            "row.tipo == 'miembro' && op == 'insert'",
            "row.total > 12 && row.n < 4.5 && row.n == 3",
            "row.nada == null && old == null",
            "'a' in row.tags && row.tags.exists(t, t == 'b') && size(row.tags) == 2",
            "has(row.tipo) && !has(row.otro)",
            "row.tipo.startsWith('mi') && row.tipo.contains('emb')",
            "row.big > 5",
            "type(row.n) == int && string(row.n) == '3'",
        ] {
            assert_eq!(on_row(yes, row), Ok(true), "{yes}");
        }
        assert_eq!(on_row("row.tipo == 'otro'", row), Ok(false));
        assert_eq!(
            on_row("row.n == '3'", row),
            Ok(false),
            "rows have types and are compared by them"
        );
    }

    #[test]
    fn a_missing_key_or_a_wrong_type_is_an_error_and_not_a_yes() {
        assert!(matches!(
            on_row("row.otro == 1", "{}"),
            Err(ExprError::Evaluation(_))
        ));
        assert!(matches!(
            on_row("row.a > 1", r#"{"a":"x"}"#),
            Err(ExprError::Evaluation(_))
        ));
        assert!(matches!(
            on_row("row.a", r#"{"a":"x"}"#),
            Err(ExprError::NotBool(_))
        ));
    }

    #[test]
    fn claims_may_be_numbers_or_texts() {
        let id = [("id", "123")];
        for claims in [
            r#"{"sub":123,"rooms":[123,"x"]}"#,
            r#"{"sub":"123","rooms":["123"]}"#,
        ] {
            for yes in [
                "claims.sub == channel.id",
                "channel.id == claims.sub",
                "channel.id in claims.rooms",
                "claims.sub == 123",
                "claims.sub != '124'",
                "claims.rooms.exists(r, r == channel.id)",
                "!(claims.sub != channel.id)",
            ] {
                assert_eq!(on_client(yes, claims, &id), Ok(true), "{yes} with {claims}");
            }
            assert_eq!(on_client("claims.sub == '0123'", claims, &id), Ok(false));
            assert_eq!(on_client("'12' in claims.rooms", claims, &id), Ok(false));
        }
        assert!(on_client("claims.sub == channel.id", "{}", &id).is_err());
        assert!(
            on_client("channel.id in claims.rooms", r#"{"rooms":null}"#, &id).is_ok_and(|allowed| !allowed)
        );
    }

    #[test]
    fn wrong_texts_are_refused_when_they_are_compiled() {
        let error = |text: &str| Expr::compile(text, Kind::Event).unwrap_err();
        assert_eq!(error("  "), ExprError::Empty);
        assert!(matches!(error("row.a =="), ExprError::Syntax { .. }));
        assert!(
            matches!(error("claims.sub == 1"), ExprError::UnknownVariable { name, .. } if name == "claims")
        );
        assert_eq!(
            error("lower(row.a) == 'x'"),
            ExprError::UnknownFunction("lower".into())
        );
        assert!(matches!(
            error(&format!("{}1{}", "(".repeat(5000), ")".repeat(5000))),
            ExprError::Syntax { .. }
        ));
        assert_eq!(error(&" ".repeat(20_000)), ExprError::Empty);
        assert_eq!(error(&"1".repeat(20_000)), ExprError::TooLong);
    }

    #[test]
    fn paths_are_known_as_such() {
        let path = |text| {
            Expr::compile(text, Kind::Event)
                .unwrap()
                .path()
                .map(|path| path.join("."))
        };
        assert_eq!(path("row.a.b").as_deref(), Some("row.a.b"));
        assert_eq!(path("message").as_deref(), Some("message"));
        assert_eq!(path("row.a + 1"), None);
        assert_eq!(path("has(row.a)"), None);
    }
}
