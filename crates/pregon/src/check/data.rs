//! Checks `[postgres]`, `[[watch]]`, `[[listen]]` and `[[route]]`.

use super::names::{self, Carried};
use crate::config::problem::nearest;
use crate::config::tree::Tree;
use crate::config::{Config, Outbox, Postgres, Route, Secret, Watch};
use crate::route::expr::{Expr, Kind};
use crate::route::rule::{CLIENTS, PUBLISH, kind};
use crate::route::template::Template;
use pregon_capture::install::is_slot_name;
use pregon_capture::query::NamedSql;

/// PostgreSQL cuts longer names (NAMEDATALEN - 1), and two that are cut alike would be one.
pub(super) const LONGEST_NAME: usize = 63;

/// Checks that there is a database where one is needed, and its address.
pub(super) fn postgres(config: &Config, tree: &mut Tree) {
    let needed = [
        ("watch", !config.watch.is_empty()),
        ("listen", !config.listen.is_empty()),
    ];
    let Some(postgres) = &config.postgres else {
        for (key, _) in needed.into_iter().filter(|(_, used)| *used) {
            tree.report_key(
                &format!("{key}[0]"),
                "needs a database",
                "add a [postgres] section with `url`, or set DATABASE_URL beside it",
            );
        }
        return;
    };
    if postgres.url.is_none() {
        tree.report_key(
            "postgres.url",
            "the key `url` is missing",
            "set DATABASE_URL or write `url = \"postgres://…\"`",
        );
    }
    for (key, url) in [
        ("postgres.url", &postgres.url),
        ("postgres.admin_url", &postgres.admin_url),
        ("postgres.replication_url", &postgres.replication_url),
    ] {
        if url.as_ref().is_some_and(|url| !is_database_url(url)) {
            let remedy = "write `postgres://user@host:5432/database` or `host=… user=… dbname=…`";
            tree.report(key, None, "is not the address of a database", remedy);
        }
    }
    slot(postgres, tree);
    if postgres.pool == 0 {
        tree.report(
            "postgres.pool",
            Some("0".into()),
            "must be at least 1",
            "remove it for the default",
        );
    }
    outbox(&postgres.outbox, tree);
    for (key, period) in [
        ("postgres.statement_timeout", postgres.statement_timeout),
        ("postgres.heartbeat", postgres.heartbeat),
        ("postgres.outbox.retention", postgres.outbox.retention),
    ] {
        if period.is_zero() {
            tree.report(
                key,
                Some(period.to_string()),
                "must be greater than 0",
                "remove it for the default",
            );
        }
    }
}

/// Checks that the outbox has room for what it should keep.
fn outbox(outbox: &Outbox, tree: &mut Tree) {
    if outbox.max.0 < outbox.kept.0.saturating_mul(2) {
        tree.report(
            "postgres.outbox.max",
            Some(outbox.max.to_string()),
            format!("must be at least twice `kept` ({})", outbox.kept),
            "raise it, or lower `kept`: rows that are not in the log yet need room too",
        );
    }
}

fn slot(postgres: &Postgres, tree: &mut Tree) {
    if let Some(slot) = postgres.slot.as_ref().filter(|slot| !is_slot_name(slot)) {
        tree.report(
            "postgres.slot",
            Some(slot.clone()),
            "cannot name a slot",
            "use lower-case letters, digits and underscores, at most 63",
        );
    }
}

/// A rough look only: the driver reads it, and `pregon doctor` connects.
fn is_database_url(url: &Secret) -> bool {
    let text = url.reveal().trim();
    match text.split_once("://") {
        Some((scheme, rest)) => ["postgres", "postgresql"].contains(&scheme) && !rest.is_empty(),
        None => text
            .split_whitespace()
            .next()
            .is_some_and(|first| first.contains('=')),
    }
}

/// Checks tables, columns and names.
pub(super) fn watches(config: &Config, tree: &mut Tree) {
    for (index, watch) in config.watch.iter().enumerate() {
        let at = format!("watch[{index}]");
        let names: Vec<&str> = config.sources().take(index).collect();
        source_name(&watch.name, &names, &at, tree);
        table(watch, &at, tree);
        columns(watch, &at, tree);
        for (key, name) in [("function", &watch.function), ("trigger", &watch.trigger)] {
            let wrong = name
                .as_ref()
                .filter(|name| name.is_empty() || name.len() > LONGEST_NAME || name.contains('\0'));
            if let Some(name) = wrong {
                let message = format!("must have 1 to {LONGEST_NAME} bytes");
                tree.report(
                    &format!("{at}.{key}"),
                    Some(name.clone()),
                    message,
                    "remove it for a name of ours",
                );
            }
        }
    }
}

fn table(watch: &Watch, at: &str, tree: &mut Tree) {
    let key = format!("{at}.table");
    if tree.has(&key) && !is_table(&watch.table) {
        let remedy = "write `table` or `schema.table`, with double quotes around a part that has a dot in it";
        tree.report(
            &key,
            Some(watch.table.clone()),
            "is not the name of a table",
            remedy,
        );
    }
    let key = format!("{at}.operations");
    if watch.operations.is_empty() {
        tree.report(
            &key,
            None,
            "names no operation",
            "remove it for insert, update and delete",
        );
    }
    if let Some(condition) = &watch.condition {
        // The condition becomes part of a trigger: a second statement in it can only be a mistake or worse.
        if condition.trim().is_empty() || condition.contains(';') {
            let remedy = "write one SQL condition such as `tipo_acceso = 'miembro'`";
            tree.report(
                &format!("{at}.where"),
                Some(condition.clone()),
                "is not a condition",
                remedy,
            );
        }
    }
}

/// One or two parts; a quoted part may contain dots.
pub(super) fn is_table(text: &str) -> bool {
    let mut parts = 1;
    let mut quoted = false;
    let mut part = String::new();
    for c in text.chars() {
        match c {
            '"' => quoted = !quoted,
            '.' if !quoted => {
                if part.is_empty() {
                    return false;
                }
                parts += 1;
                part.clear();
            }
            c if c.is_control() || (!quoted && (c.is_whitespace() || c == ';')) => return false,
            c => part.push(c),
        }
        if part.len() > LONGEST_NAME {
            return false;
        }
    }
    !quoted && !part.is_empty() && parts <= 2
}

fn columns(watch: &Watch, at: &str, tree: &mut Tree) {
    let Some(columns) = &watch.columns else { return };
    let key = format!("{at}.columns");
    if columns.is_empty() {
        tree.report(&key, None, "names no column", "remove it for all columns");
    }
    repeated(columns, &key, tree);
}

pub(super) fn repeated(names: &[String], key: &str, tree: &mut Tree) {
    for (index, name) in names.iter().enumerate() {
        let at = format!("{key}[{index}]");
        if name.is_empty() {
            tree.report(&at, None, "is empty", "name a column");
        } else if names.iter().take(index).any(|earlier| earlier == name) {
            tree.report(&at, Some(name.clone()), "appears twice", "remove one");
        }
    }
}

pub(super) fn source_name(name: &str, earlier: &[&str], at: &str, tree: &mut Tree) {
    let key = format!("{at}.name");
    if name == PUBLISH || name == CLIENTS {
        tree.report(
            &key,
            Some(name.into()),
            "is the name of what SQL, HTTP and clients publish",
            "choose another name",
        );
    } else if !name.is_empty() && earlier.contains(&name) {
        tree.report(
            &key,
            Some(name.into()),
            format!("another source is called `{name}`"),
            "give it a `name` of its own",
        );
    }
}

/// Checks channels and names of listens.
pub(super) fn listens(config: &Config, tree: &mut Tree) {
    for (index, listen) in config.listen.iter().enumerate() {
        let at = format!("listen[{index}]");
        let key = format!("{at}.channel");
        let names: Vec<&str> = config.sources().take(config.watch.len() + index).collect();
        source_name(&listen.name, &names, &at, tree);
        if !tree.has(&key) {
            continue;
        }
        let value = Some(listen.channel.clone());
        if listen.channel.is_empty() || listen.channel.len() > LONGEST_NAME {
            tree.report(
                &key,
                value,
                format!("must have 1 to {LONGEST_NAME} bytes"),
                "PostgreSQL takes no other channel",
            );
        } else if listen.channel == "pregon" {
            tree.report(
                &key,
                value,
                "is the channel that watches use",
                "use [[watch]] for tables",
            );
        } else if config
            .listen
            .iter()
            .take(index)
            .any(|other| other.channel == listen.channel)
        {
            tree.report(
                &key,
                value,
                "another listen has this channel",
                "use several routes from one listen",
            );
        }
    }
}

/// Checks sources, conditions, templates, payloads and queries of routes.
pub(super) fn routes(config: &Config, tree: &mut Tree) {
    for (index, route) in config.route.iter().enumerate() {
        let at = format!("route[{index}]");
        route_sources(config, route, &at, tree);
        if let Some(when) = &route.when {
            expression(when, kind(route), &format!("{at}.when"), tree);
        }
        route_targets(route, &at, tree);
        route_payload(route, &at, tree);
        if route.enrich.is_some() {
            route_query(config, route, &at, tree);
        }
        variables_of_messages(config, route, &at, tree);
    }
    // Which columns there are is known without a database where a watch lists its own.
    let listed = config.watch.iter().filter_map(|watch| {
        let columns = watch.columns.clone()?;
        let (watch, table) = (watch.name.clone(), watch.table.clone());
        Some(Carried {
            watch,
            table,
            columns,
        })
    });
    for wrong in names::wrong(config, &listed.collect::<Vec<_>>(), &|_| None) {
        tree.report(&wrong.key, wrong.value, wrong.message, wrong.remedy);
    }
}

/// Reports `message` and `channel` in expressions over rows, which have neither: their columns stand behind `row.`.
fn variables_of_messages(config: &Config, route: &Route, at: &str, tree: &mut Tree) {
    let is_watch = |name: &String| config.watch.iter().any(|watch| watch.name == *name);
    if route.from.is_empty() || !route.from.iter().all(is_watch) {
        return;
    }
    let when = route.when.iter().map(|text| (format!("{at}.when"), text));
    let parts = route.payload.iter().flatten();
    let parts = parts.map(|(name, text)| (format!("{at}.payload.{name}"), text));
    for (key, text) in when.chain(parts) {
        let variables = Expr::compile(text, kind(route)).map(|expr| expr.names().variables);
        let wrong = variables.unwrap_or_default().into_iter();
        if let Some(name) = wrong
            .into_iter()
            .find(|name| name == "message" || name == "channel")
        {
            let message = format!("`{name}` is of notifications, and always null for rows");
            tree.report(
                &key,
                Some(text.clone()),
                message,
                format!("write `row.{name}` for a column"),
            );
        }
    }
}

/// `at` of one text, `at[n]` of a list.
pub(super) fn item(tree: &Tree, key: &str, index: usize) -> String {
    let indexed = format!("{key}[{index}]");
    if tree.has(&indexed) {
        indexed
    } else {
        key.to_owned()
    }
}

fn route_sources(config: &Config, route: &Route, at: &str, tree: &mut Tree) {
    let key = format!("{at}.from");
    if route.from.is_empty() && tree.has(&key) {
        tree.report(
            &key,
            None,
            "names no source",
            "name a watch, a listen or a source of Redis",
        );
    }
    let own: Vec<usize> = (0..route.from.len())
        .filter(|&index| route.from.get(index).is_some_and(|name| name == CLIENTS))
        .collect();
    for index in own {
        client_source(config, route, &item(tree, &key, index), tree);
    }
    known_sources(config, &route.from, &key, tree);
}

/// Reports names of sources that there are not.
pub(super) fn known_sources(config: &Config, names: &[String], key: &str, tree: &mut Tree) {
    for (index, name) in names.iter().enumerate() {
        if name == CLIENTS {
            continue;
        }
        if config.sources().any(|known| known == name) {
            continue;
        }
        let remedy = match nearest(name, config.sources()) {
            Some(near) => format!("did you mean `{near}`?"),
            None => format!("known are {}", config.sources().collect::<Vec<_>>().join(", ")),
        };
        tree.report(
            &item(tree, key, index),
            Some(name.clone()),
            format!("no source is called `{name}`"),
            remedy,
        );
    }
}

/// What clients emit has no row, so that no rule can be for it and for a table.
fn client_source(config: &Config, route: &Route, key: &str, tree: &mut Tree) {
    if config.socketio.is_none() {
        let message = "names the events that clients of Socket.IO emit, and there is no [socketio] section";
        tree.report(key, Some(CLIENTS.into()), message, "add a [socketio] section");
    }
    if route.from.iter().any(|other| other != CLIENTS) {
        let message = "cannot share a route with other sources: its events have claims and no row";
        tree.report(key, Some(CLIENTS.into()), message, "write two routes");
    }
}

fn route_targets(route: &Route, at: &str, tree: &mut Tree) {
    let key = format!("{at}.to");
    if route.to.is_empty() && tree.has(&key) {
        tree.report(&key, None, "names no channel", "name at least one channel");
    }
    for (index, text) in route.to.iter().enumerate() {
        let key = item(tree, &key, index);
        template(text, kind(route), &key, tree);
    }
    if let Some(text) = &route.event {
        template(text, kind(route), &format!("{at}.event"), tree);
    }
}

fn template(text: &str, kind: Kind, key: &str, tree: &mut Tree) {
    match Template::parse(text) {
        Err(error) => tree.report(key, Some(text.into()), error.to_string(), ""),
        Ok(_) if kind == Kind::Emit => {}
        Ok(template) => {
            let remedy = "use a column, and let [[channel]] or `auth.join` look at claims";
            claims_in(&template, key, remedy, tree);
        }
    }
}

/// Reports a template over an event that names a claim.
pub(super) fn claims_in(template: &Template, key: &str, remedy: &str, tree: &mut Tree) {
    if let Some(name) = template.names().find(|name| name.starts_with("claims.")) {
        let message = format!("`{{{name}}}` is of a client, and a route sees only the event");
        tree.report(key, Some(template.source().into()), message, remedy);
    }
}

fn route_payload(route: &Route, at: &str, tree: &mut Tree) {
    if route.fields.is_some() && route.payload.is_some() {
        tree.report_key(
            &format!("{at}.fields"),
            "`fields` and `payload` exclude each other",
            "keep one of them",
        );
    }
    if let Some(fields) = &route.fields {
        repeated(fields, &format!("{at}.fields"), tree);
    }
    as_text(route, at, tree);
    for (name, text) in route.payload.iter().flatten() {
        expression(text, kind(route), &format!("{at}.payload.{name}"), tree);
    }
}

/// Checks that what is sent as text is sent at all.
fn as_text(route: &Route, at: &str, tree: &mut Tree) {
    let mut sent: Vec<&str> = route
        .payload
        .iter()
        .flatten()
        .map(|(key, _)| key.as_str())
        .collect();
    if route.payload.is_none() {
        sent.extend(route.fields.iter().flatten().map(String::as_str));
    }
    for (index, name) in route.as_text.iter().enumerate() {
        if name != "*" && !sent.is_empty() && !sent.contains(&name.as_str()) {
            let key = item(tree, &format!("{at}.as_text"), index);
            let remedy = match nearest(name, sent.iter().copied()) {
                Some(near) => format!("did you mean `{near}`?"),
                None => format!("the payload has {}", sent.join(", ")),
            };
            tree.report(&key, Some(name.clone()), "is not a key of the payload", remedy);
        }
    }
}

fn route_query(config: &Config, route: &Route, at: &str, tree: &mut Tree) {
    let Some(enrich) = &route.enrich else { return };
    let key = format!("{at}.enrich.sql");
    let query = NamedSql::select(&enrich.sql);
    if let Some(error) = query.err().filter(|_| tree.has(&key)) {
        let remedy = "write one `SELECT … WHERE id = :column`";
        tree.report(&key, Some(enrich.sql.clone()), error.to_string(), remedy);
    }
    if config.postgres.is_none() {
        tree.report_key(
            &format!("{at}.enrich"),
            "needs a database",
            "add a [postgres] section",
        );
    }
    if enrich.timeout.is_zero() {
        tree.report(
            &format!("{at}.enrich.timeout"),
            None,
            "must be greater than 0",
            "remove it for the default",
        );
    }
}

fn expression(text: &str, kind: Kind, key: &str, tree: &mut Tree) {
    if let Err(error) = Expr::compile(text, kind) {
        tree.report(key, Some(text.into()), error.to_string(), "");
    }
}
