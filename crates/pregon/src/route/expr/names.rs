//! Which columns and variables an expression names, so that they can be compared with a table before any row comes.

use cel::IdedExpr;
use cel::common::ast::{EntryExpr, Expr as Node, LiteralValue, operators};

use super::Expr;

/// What an expression names.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Named {
    /// Fields of `row` and `old`.
    pub columns: Vec<String>,
    /// Fields that a `has(…)` asks for: they need not be there.
    pub asked: Vec<String>,
    /// Variables whose fields are not asked for, or that have none; those that macros bind are none.
    pub variables: Vec<String>,
}

impl Expr {
    /// The columns and variables in it.
    pub(crate) fn names(&self) -> Named {
        let mut named = Named::default();
        collect(&self.tree, &mut named);
        let mut bound = Vec::new();
        super::bound_names(&self.tree, &mut bound);
        named.variables.retain(|name| !bound.contains(&name.as_str()));
        named.columns.retain(|column| !named.asked.contains(column));
        named
    }
}

impl Expr {
    /// The captures of the channel's name that it looks at; `None` if it may look at all of them.
    pub(crate) fn captures(&self) -> Option<Vec<String>> {
        let mut captures = Some(Vec::new());
        look(&self.tree, &mut captures);
        captures
    }
}

fn look(node: &IdedExpr, captures: &mut Option<Vec<String>>) {
    match field_of(node, &["channel"]) {
        Some((capture, _)) => captures
            .iter_mut()
            .for_each(|captures| captures.push(capture.clone())),
        // A variable that a macro binds may have this name too: then it is taken for the channel, which costs nothing but caution.
        None if matches!(&node.expr, Node::Ident(name) if name == "channel") => *captures = None,
        None => parts(node, &mut |part| look(part, captures)),
    }
}

fn collect(node: &IdedExpr, named: &mut Named) {
    if let Some((column, is_asked)) = column(node) {
        let list = if is_asked {
            &mut named.asked
        } else {
            &mut named.columns
        };
        if !list.contains(&column) {
            list.push(column);
        }
        return;
    }
    if let Node::Ident(name) = &node.expr
        && !named.variables.contains(name)
    {
        named.variables.push(name.clone());
    }
    parts(node, &mut |part| collect(part, named));
}

/// `row.x`, `row["x"]` or `has(row.x)`, of the old row too.
fn column(node: &IdedExpr) -> Option<(String, bool)> {
    field_of(node, &["row", "old"])
}

/// A field of one of these variables, and whether it is only asked for.
fn field_of(node: &IdedExpr, variables: &[&str]) -> Option<(String, bool)> {
    let is_row =
        |node: &IdedExpr| matches!(&node.expr, Node::Ident(name) if variables.contains(&name.as_str()));
    match &node.expr {
        Node::Select(select) if is_row(&select.operand) => Some((select.field.clone(), select.test)),
        Node::Call(call) if call.func_name == operators::INDEX => match call.args.as_slice() {
            [row, key] if is_row(row) => match &key.expr {
                Node::Literal(LiteralValue::String(key)) => Some((key.inner().to_owned(), false)),
                _ => None,
            },
            _ => None,
        },
        _ => None,
    }
}

/// Every part of a node.
fn parts<'t>(node: &'t IdedExpr, visit: &mut dyn FnMut(&'t IdedExpr)) {
    match &node.expr {
        Node::Call(call) => call.args.iter().chain(call.target.as_deref()).for_each(visit),
        Node::Comprehension(it) => {
            for part in [
                &it.iter_range,
                &it.accu_init,
                &it.loop_cond,
                &it.loop_step,
                &it.result,
            ] {
                visit(part);
            }
        }
        Node::List(list) => list.elements.iter().for_each(visit),
        Node::Select(select) => visit(&select.operand),
        Node::Map(map) => map
            .entries
            .iter()
            .for_each(|entry| entry_parts(&entry.expr, visit)),
        Node::Struct(object) => object
            .entries
            .iter()
            .for_each(|entry| entry_parts(&entry.expr, visit)),
        Node::Ident(_) | Node::Literal(_) | Node::Unspecified => {}
    }
}

fn entry_parts<'t>(entry: &'t EntryExpr, visit: &mut dyn FnMut(&'t IdedExpr)) {
    match entry {
        EntryExpr::StructField(field) => visit(&field.value),
        EntryExpr::MapEntry(item) => {
            visit(&item.key);
            visit(&item.value);
        }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::super::Kind;
    use super::*;

    fn names(text: &str) -> Named {
        Expr::compile(text, Kind::Event).unwrap().names()
    }

    #[test]
    fn columns_are_found_wherever_they_stand() {
        let named = names(
            "row.a == 1 && [old.b, {'k': row['c d']}].exists(t, t == row.e.f) && size(row.g) > 0 && op == 'x'",
        );
        assert_eq!(named.columns, ["a", "b", "c d", "e", "g"]);
        assert!(named.variables.contains(&"op".to_owned()));
        assert!(!named.variables.contains(&"row".to_owned()));
    }

    #[test]
    fn captures_are_named_or_may_be_any() {
        let captures = |text: &str| Expr::compile(text, Kind::Client).unwrap().captures();
        let named = captures("channel.t == claims.sub && (channel['id'] in claims.ids || has(channel.x))");
        assert_eq!(named.unwrap(), ["t", "id", "x"]);
        assert_eq!(captures("claims.channel == 'channel'").unwrap(), [""; 0]);
        assert_eq!(captures("channel[claims.part] == claims.sub"), None);
        assert_eq!(
            captures("channel.exists(name, channel[name] == claims.sub)"),
            None
        );
    }

    #[test]
    fn one_that_is_asked_for_need_not_be_there() {
        let named = names("has(row.a) && row.a == 1 && row.b == 2");
        assert_eq!(
            (named.columns, named.asked),
            (vec!["b".to_owned()], vec!["a".to_owned()])
        );
    }
}
