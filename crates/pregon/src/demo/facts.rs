//! What a page has to know of its example: where its gateway is, with which token, what may be killed.

use std::collections::BTreeMap;

use serde::Serialize;
use toml::{Table, Value};

use super::Running;
use super::victims::Victim;

/// `/demo/NAME.json`
#[derive(Debug, Clone, Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Facts {
    pub(super) name: &'static str,
    gateway: String,
    ws: String,
    /// `full`, `bare` or `socketio`, and the path of the WebSocket.
    wire: &'static str,
    path: &'static str,
    /// By role.
    tokens: BTreeMap<&'static str, String>,
    /// What a person may type to make an event: psql or redis-cli with its address.
    pub(super) shell: String,
    /// Its database, for services of its own.
    database: String,
    routes: Vec<Route>,
    kill: Vec<&'static str>,
    /// The gateway's dashboard.
    admin_url: String,
}

/// A rule of the configuration, as strips show it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
struct Route {
    from: String,
    to: String,
    event: String,
}

impl Facts {
    /// The role that a token is of.
    pub(super) fn role_of(&self, token: &str) -> Option<&'static str> {
        let mut roles = self.tokens.iter();
        roles
            .find(|(_, own)| own.as_str() == token)
            .map(|(role, _)| *role)
    }

    pub(super) fn of(running: &Running) -> Self {
        let example = running.example;
        let config: Table = example.config.parse().unwrap_or_default();
        let parts = [
            (config.contains_key("postgres"), Victim::Postgres),
            (example.needs_redis, Victim::Redis),
            (true, Victim::Gateway),
        ];
        let kill = parts
            .iter()
            .filter(|(there, _)| *there)
            .map(|(_, victim)| victim.name());
        Self {
            name: example.name,
            gateway: running.gateway.url(""),
            ws: running.gateway.ws_url(""),
            wire: example.wire.name(),
            path: example.wire.path(),
            tokens: running.tokens.clone(),
            shell: running.shell(),
            database: running.database.clone(),
            routes: routes(&config),
            kill: kill.collect(),
            admin_url: running.dashboard.clone(),
        }
    }
}

/// One for each pair of a source and a channel.
fn routes(config: &Table) -> Vec<Route> {
    let mut out = Vec::new();
    let tables = config.get("route").and_then(Value::as_array);
    for route in tables.into_iter().flatten() {
        let event = route.get("event").and_then(Value::as_str).unwrap_or("{event}");
        for from in texts(route.get("from")) {
            out.extend(texts(route.get("to")).into_iter().map(|to| Route {
                from: from.to_owned(),
                to: to.to_owned(),
                event: event.to_owned(),
            }));
        }
    }
    out
}

fn texts(value: Option<&Value>) -> Vec<&str> {
    match value {
        Some(Value::String(text)) => vec![text],
        Some(Value::Array(items)) => items.iter().filter_map(Value::as_str).collect(),
        _ => Vec::new(),
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn a_route_is_named_for_each_source_and_channel() {
        let config: Table = "[[route]]\nfrom = ['a', 'b']\nto = ['x_{id}', 'y']\nevent = 'new'\n[[route]]\nfrom = 'c'\nto = 'z'"
            .parse()
            .unwrap();
        let found = routes(&config);
        let pairs: Vec<_> = found
            .iter()
            .map(|route| format!("{}>{}", route.from, route.to))
            .collect();
        assert_eq!(pairs, ["a>x_{id}", "a>y", "b>x_{id}", "b>y", "c>z"]);
        assert_eq!(found.last().unwrap().event, "{event}");
    }
}
