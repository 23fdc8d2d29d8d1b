//! Which columns the configuration names, where, and what is wrong with them on a table: compared with the database by whoever has it.

use crate::config::problem::{Problems, nearest};
use crate::config::tree::Tree;
use crate::config::{Config, Enrich, Route};
use crate::route::expr::{Expr, Kind};
use crate::route::rule::kind;
use crate::route::template::Template;
use pregon_capture::query::NamedSql;

/// A key of the configuration and something wrong with its value; where it stands in the file is found by [`place`].
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Wrong {
    pub key: String,
    pub value: Option<String>,
    pub message: String,
    pub remedy: String,
}

/// What a watch carries.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Carried {
    /// Name of the watch.
    pub watch: String,
    /// `schema.table`.
    pub table: String,
    pub columns: Vec<String>,
}

/// A column that a key names.
struct Mention {
    key: String,
    text: String,
    column: String,
    /// Plain in a template or parameter, where `op` is the operation.
    plain: bool,
    /// A query has put its columns over the row's.
    enriched: bool,
}

/// Names that no table has, and `op` where a table has it. `added` gives the columns that a query would add, if it is known.
pub fn wrong(
    config: &Config,
    tables: &[Carried],
    added: &dyn Fn(&Enrich) -> Option<Vec<String>>,
) -> Vec<Wrong> {
    let mut wrong = Vec::new();
    for (index, route) in config.route.iter().enumerate() {
        let Some(own) = rows_of(config, route, tables) else {
            continue;
        };
        let query = route.enrich.as_ref().map(added);
        for mention in route_mentions(route, &format!("route[{index}]")) {
            let more = match &query {
                Some(None) if mention.enriched => continue, // Unknown columns may have any name.
                Some(Some(columns)) if mention.enriched => columns.as_slice(),
                _ => &[],
            };
            wrong.extend(judge(mention, &own, more));
        }
    }
    for (index, section) in config.decrypt.iter().enumerate() {
        let own: Vec<&Carried> = section
            .from
            .iter()
            .filter_map(|name| of_watch(tables, name))
            .collect();
        if own.len() < section.from.len() || own.is_empty() {
            continue;
        }
        let key = format!("decrypt[{index}]");
        let fields = section.fields.iter().enumerate().map(|(place, field)| Mention {
            key: format!("{key}.fields[{place}]"),
            text: field.clone(),
            column: field.clone(),
            plain: false,
            enriched: false,
        });
        let aad = section
            .aad
            .iter()
            .flat_map(|text| in_template(text, &format!("{key}.aad"), false));
        wrong.extend(fields.chain(aad).filter_map(|mention| judge(mention, &own, &[])));
    }
    wrong
}

/// Says where in the file's text the keys stand that something else found wrong.
pub fn place(text: &str, file: &str, wrong: &[Wrong]) -> Problems {
    let mut tree = Tree::parse(text, file);
    for wrong in wrong {
        tree.report(
            &wrong.key,
            wrong.value.clone(),
            wrong.message.clone(),
            wrong.remedy.clone(),
        );
    }
    tree.into_problems()
}

fn of_watch<'t>(tables: &'t [Carried], watch: &str) -> Option<&'t Carried> {
    tables.iter().find(|table| table.watch == watch)
}

/// The tables of a route's watches; nothing if it has other sources, whose messages may have any field.
fn rows_of<'t>(config: &Config, route: &Route, tables: &'t [Carried]) -> Option<Vec<&'t Carried>> {
    let is_watch = |name: &String| config.watch.iter().any(|watch| watch.name == *name);
    if route.from.is_empty() || !route.from.iter().all(is_watch) {
        return None;
    }
    // A table that could not be read may have any column.
    route.from.iter().map(|name| of_watch(tables, name)).collect()
}

fn judge(mention: Mention, tables: &[&Carried], more: &[String]) -> Option<Wrong> {
    let has = |table: &&&Carried| table.columns.contains(&mention.column);
    let names = tables
        .iter()
        .map(|table| table.table.as_str())
        .collect::<Vec<_>>()
        .join(", ");
    if mention.plain && mention.column == "op" {
        let table = tables.iter().find(has)?;
        return Some(Wrong {
            key: mention.key,
            value: Some(mention.text),
            message: format!("`op` is the operation, and {} has a column `op` too", table.table),
            remedy: "write `row.op` for the column, or give the operation to a route of its own (`when = \"op == 'insert'\"`)".into(),
        });
    }
    if tables.iter().any(|table| has(&table)) || more.contains(&mention.column) {
        return None;
    }
    let known = || {
        tables
            .iter()
            .flat_map(|table| &table.columns)
            .chain(more)
            .map(String::as_str)
    };
    let remedy = match nearest(&mention.column, known()) {
        Some(near) => format!("did you mean `{near}`?"),
        None => format!("known are {}", known().collect::<Vec<_>>().join(", ")),
    };
    Some(Wrong {
        key: mention.key,
        value: Some(mention.text),
        message: format!(
            "{names} has no column `{}` that the watch carries",
            mention.column
        ),
        remedy,
    })
}

/// Everything that a route names, in the order in which it is used.
fn route_mentions(route: &Route, at: &str) -> Vec<Mention> {
    let mut all = Vec::new();
    let enriched = route.enrich.is_some();
    if let Some(when) = &route.when {
        all.extend(in_expression(when, kind(route), format!("{at}.when"), false));
    }
    if let Some(enrich) = &route.enrich
        && let Ok(sql) = NamedSql::select(&enrich.sql)
    {
        let key = format!("{at}.enrich.sql");
        all.extend(
            sql.names()
                .iter()
                .filter_map(|name| plain(name, &enrich.sql, &key, false)),
        );
    }
    for (place, text) in route.to.iter().enumerate() {
        all.extend(in_template(text, &format!("{at}.to[{place}]"), enriched));
    }
    if let Some(text) = &route.event {
        all.extend(in_template(text, &format!("{at}.event"), enriched));
    }
    for (place, name) in route.fields.iter().flatten().enumerate() {
        all.push(Mention {
            key: format!("{at}.fields[{place}]"),
            text: name.clone(),
            column: name.clone(),
            plain: false,
            enriched,
        });
    }
    let whole = route.payload.is_none() && route.fields.is_none();
    for (place, name) in route
        .as_text
        .iter()
        .enumerate()
        .filter(|(_, name)| whole && *name != "*")
    {
        all.push(Mention {
            key: format!("{at}.as_text[{place}]"),
            text: name.clone(),
            column: name.clone(),
            plain: false,
            enriched,
        });
    }
    for (name, text) in route.payload.iter().flatten() {
        all.extend(in_expression(
            text,
            kind(route),
            format!("{at}.payload.{name}"),
            enriched,
        ));
    }
    all
}

fn in_expression(text: &str, kind: Kind, key: String, enriched: bool) -> Vec<Mention> {
    let columns = Expr::compile(text, kind)
        .map(|expr| expr.names().columns)
        .unwrap_or_default();
    let mention = |column| Mention {
        key: key.clone(),
        text: text.to_owned(),
        column,
        plain: false,
        enriched,
    };
    columns.into_iter().map(mention).collect()
}

fn in_template(text: &str, key: &str, enriched: bool) -> Vec<Mention> {
    let template = Template::parse(text);
    let names = template.iter().flat_map(Template::names);
    names
        .filter_map(|name| plain(name, text, key, enriched))
        .collect()
}

/// The column of a name in a template or parameter: `id`, `row.id`, or the first part of a path into JSON.
fn plain(name: &str, text: &str, key: &str, enriched: bool) -> Option<Mention> {
    let mut path = name.split('.');
    let first = path.next()?;
    let (column, plain) = match (first, path.next()) {
        ("row" | "old", Some(column)) => (column, false),
        ("op", None) => ("op", true),
        _ => (first, false),
    };
    Some(Mention {
        key: key.to_owned(),
        text: text.to_owned(),
        column: column.to_owned(),
        plain,
        enriched,
    })
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::indexing_slicing)]

    use std::path::Path;

    use super::*;

    fn found(toml: &str, added: Option<Vec<String>>) -> Vec<(String, String)> {
        let url = "[postgres]\nurl = \"postgres://x@localhost/x\"\n[[watch]]\ntable = \"t\"\n";
        let config =
            crate::check::parse(&format!("{url}{toml}"), "pregon.toml", Path::new("."), &|_| None).unwrap();
        let columns = ["id", "kind", "op", "channel", "data"]
            .map(str::to_owned)
            .to_vec();
        let table = Carried {
            watch: "t".into(),
            table: "public.t".into(),
            columns,
        };
        let wrong = wrong(&config, &[table], &|_| added.clone());
        wrong
            .into_iter()
            .map(|wrong| (wrong.key, wrong.message))
            .collect()
    }

    fn keys(toml: &str) -> Vec<String> {
        found(toml, None).into_iter().map(|(key, _)| key).collect()
    }

    #[test]
    fn misspelt_columns_are_named_wherever_they_stand() {
        assert_eq!(
            keys(
                "[[route]]\nfrom = \"t\"\nto = [\"k_{kind}\", \"x_{knd}\"]\nevent = \"e_{row.knd}\"\nwhen = \"row.knd == 'a' && has(row.no)\"\npayload = { a = \"row.idd\", b = \"row.id\" }\n"
            ),
            [
                "route[0].when",
                "route[0].to[1]",
                "route[0].event",
                "route[0].payload.a"
            ]
        );
        assert_eq!(
            keys("[[route]]\nfrom = \"t\"\nto = \"x\"\nfields = [\"id\", \"kindd\"]\n"),
            ["route[0].fields[1]"]
        );
        assert!(keys("[[route]]\nfrom = \"t\"\nto = \"{channel}_{data.user.id}_{row.op}\"\nevent = \"{old.kind}\"\n").is_empty());
    }

    #[test]
    fn the_operation_is_not_the_column_of_that_name() {
        let wrong = found("[[route]]\nfrom = \"t\"\nto = \"x_{op}\"\n", None);
        assert_eq!(
            wrong,
            [(
                "route[0].to[0]".into(),
                "`op` is the operation, and public.t has a column `op` too".into()
            )]
        );
    }

    #[test]
    fn a_query_may_add_columns_and_takes_those_of_the_row() {
        let route = "[[route]]\nfrom = \"t\"\nto = \"x_{user_id}\"\nenrich = { sql = \"SELECT user_id FROM u WHERE id = :idd\" }\n";
        assert_eq!(keys(route), ["route[0].enrich.sql"]);
        let known = found(
            &route.replace("{user_id}", "{usr_id}"),
            Some(vec!["user_id".into()]),
        );
        assert_eq!(known.len(), 2, "{known:?}");
    }

    fn refused(toml: &str) -> Vec<String> {
        let url = "[postgres]\nurl = \"postgres://x@localhost/x\"\n[[watch]]\ntable = \"t\"\ncolumns = [\"id\", \"op\"]\n";
        let config = crate::check::parse(&format!("{url}{toml}"), "pregon.toml", Path::new("."), &|_| None);
        config.map_or_else(
            |problems| problems.0.iter().map(ToString::to_string).collect(),
            |_| Vec::new(),
        )
    }

    #[test]
    fn listed_columns_are_compared_without_a_database() {
        let told = refused("[[route]]\nfrom = \"t\"\nto = [\"x_{op}\", \"x_{idd}\"]\n");
        assert_eq!(told.len(), 2, "{told:?}");
        assert!(
            told[0].starts_with("pregon.toml:8:7: route[0].to[0]: `op` is the operation"),
            "{told:?}"
        );
        assert!(
            told[1].contains("no column `idd`") && told[1].ends_with("did you mean `id`?"),
            "{told:?}"
        );
        assert!(refused("[[route]]\nfrom = \"t\"\nto = \"x_{row.op}\"\n").is_empty());
    }

    #[test]
    fn a_row_has_no_message_and_no_channel() {
        let told = refused(
            "[[route]]\nfrom = \"t\"\nto = \"x\"\nwhen = \"message == 'a'\"\npayload = { c = \"channel\" }\n",
        );
        assert_eq!(told.len(), 2, "{told:?}");
        assert!(
            told[0].contains("route[0].when") && told[0].ends_with("write `row.message` for a column"),
            "{told:?}"
        );
        assert!(
            refused(
                "[[route]]\nfrom = \"t\"\nto = \"x\"\nwhen = \"['a'].exists(channel, channel == 'a')\"\n"
            )
            .is_empty()
        );
    }

    #[test]
    fn messages_may_have_any_field() {
        let listen = "[[listen]]\nchannel = \"c\"\n[[route]]\nfrom = [\"t\", \"c\"]\nto = \"x_{whatever}\"\n";
        assert!(keys(listen).is_empty());
    }
}
