//! Which events the configuration publishes, and what their data is: pure, from the routes and the tables.

use pregon_capture::catalog::shape::{Field, Shape};

use super::Table;
use crate::config::{Config, Operation, Route};
use crate::route::template::Template;

/// Name of an event as clients see it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Name {
    Fixed(String),
    /// Only the row tells the rest: what is certain before and behind it.
    Pattern(String, String),
}

/// What one event's data is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Payload {
    /// A row of this table (its place in the list).
    Row(usize),
    /// An object of these keys.
    Object(Vec<(String, Value)>),
    /// What TRUNCATE tells.
    Nothing,
    /// What the application itself notifies.
    Anything,
}

/// One value of an object.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Value {
    /// Something computed.
    Any,
    /// That column of that table (its place in the list).
    Column(usize, String),
    /// Numbers as texts, otherwise as the column has it.
    Text(Field),
}

/// An event and what it may carry.
pub(super) struct Event {
    pub name: Name,
    pub payloads: Vec<Payload>,
}

/// Everything that sources publish, in the order of the configuration.
pub(super) fn of(config: &Config, tables: &[Table]) -> Vec<Event> {
    let mut events = Vec::new();
    for watch in &config.watch {
        let table = tables.iter().position(|table| table.watch == watch.name);
        for operation in &watch.operations {
            for route in routes(config, &watch.name) {
                let text = route.and_then(|route| route.event.as_deref()).unwrap_or("{op}");
                let payload = payload(route, table, *operation, tables);
                add(
                    &mut events,
                    name(&text.replace("{op}", word(*operation))),
                    payload,
                );
            }
        }
    }
    for source in messages(config) {
        for route in routes(config, source) {
            let text = route
                .and_then(|route| route.event.as_deref())
                .unwrap_or("message");
            let built = route.is_some_and(|route| route.fields.is_some() || route.payload.is_some());
            let payload = if built {
                object(route, None, tables)
            } else {
                Payload::Anything
            };
            add(&mut events, name(text), payload);
        }
    }
    events
}

/// The routes of a source; one that stands for none.
fn routes<'a>(config: &'a Config, source: &str) -> Vec<Option<&'a Route>> {
    let named = config
        .route
        .iter()
        .filter(|route| route.from.iter().any(|from| from == source));
    let found: Vec<_> = named.map(Some).collect();
    if found.is_empty() { vec![None] } else { found }
}

/// Names of the sources that bring messages of the application.
fn messages(config: &Config) -> impl Iterator<Item = &str> {
    let redis = config.redis.iter().flat_map(|redis| {
        let channels = redis.channel.iter().map(|channel| channel.name.as_str());
        let patterns = redis.pattern.iter().map(|pattern| pattern.name.as_str());
        let streams = redis.stream.iter().map(|stream| stream.name.as_str());
        channels.chain(patterns).chain(streams)
    });
    config
        .listen
        .iter()
        .map(|listen| listen.name.as_str())
        .chain(redis)
}

fn payload(route: Option<&Route>, table: Option<usize>, operation: Operation, tables: &[Table]) -> Payload {
    let shaped = route.is_some_and(|route| {
        route.fields.is_some()
            || route.payload.is_some()
            || route.enrich.is_some()
            || !route.as_text.is_empty()
    });
    match table {
        _ if operation == Operation::Truncate => Payload::Nothing,
        Some(table) if shaped => object(route, Some(table), tables),
        Some(table) => Payload::Row(table),
        None => Payload::Anything,
    }
}

fn object(route: Option<&Route>, table: Option<usize>, tables: &[Table]) -> Payload {
    let Some(route) = route else {
        return Payload::Anything;
    };
    // A query may lay its columns over those of the row.
    let table = table.filter(|_| route.enrich.is_none());
    let fields = table
        .and_then(|place| tables.get(place))
        .map(|table| table.fields.as_slice());
    let column = |key: &str, name: &str| {
        let field = fields.unwrap_or_default().iter().find(|field| field.name == name);
        let (Some(table), Some(field)) = (table, field) else {
            return Value::Any;
        };
        match field.shape.is_number() && is_text(route, key) {
            true => Value::Text(Field {
                shape: Shape::Text,
                ..field.clone()
            }),
            false => Value::Column(table, field.name.clone()),
        }
    };
    let computed = |key: &str, text: &str| match text.trim().strip_prefix("row.") {
        Some(name) => column(key, name),
        None => Value::Any,
    };
    match (&route.payload, &route.fields, fields) {
        (Some(parts), _, _) => Payload::Object(
            parts
                .iter()
                .map(|(key, text)| (key.clone(), computed(key, text)))
                .collect(),
        ),
        (None, Some(names), _) => Payload::Object(
            names
                .iter()
                .map(|name| (name.clone(), column(name, name)))
                .collect(),
        ),
        (None, None, Some(fields)) => {
            let all = fields
                .iter()
                .map(|field| (field.name.clone(), column(&field.name, &field.name)));
            Payload::Object(all.collect())
        }
        (None, None, None) => Payload::Anything,
    }
}

/// Whether a key's numbers are sent as texts.
fn is_text(route: &Route, key: &str) -> bool {
    route.as_text.iter().any(|name| name == key || name == "*")
}

fn add(events: &mut Vec<Event>, name: Name, payload: Payload) {
    match events.iter_mut().find(|event| event.name == name) {
        Some(event) if event.payloads.contains(&payload) => {}
        Some(event) => event.payloads.push(payload),
        None => events.push(Event {
            name,
            payloads: vec![payload],
        }),
    }
}

/// What is certain of a name.
fn name(text: &str) -> Name {
    match Template::parse(text) {
        Ok(template) => match template.constant() {
            Some(fixed) => Name::Fixed(fixed),
            // With an escaped brace nothing is certain here.
            None if text.contains("{{") || text.contains("}}") => Name::Pattern(String::new(), String::new()),
            None => {
                let before = text.split('{').next().unwrap_or_default();
                let behind = text.rsplit('}').next().unwrap_or_default();
                Name::Pattern(before.to_owned(), behind.to_owned())
            }
        },
        // `check` has named it.
        Err(_) => Name::Pattern(String::new(), String::new()),
    }
}

const fn word(operation: Operation) -> &'static str {
    match operation {
        Operation::Insert => "insert",
        Operation::Update => "update",
        Operation::Delete => "delete",
        Operation::Truncate => "truncate",
    }
}
