//! The rules: which events go to which channels, under which name, with what payload.
//!
//! Pure and shared by all tasks. Whoever runs the pipeline asks `route` for everything that needs no query, and runs the queries of
//! the rules that came back as `waiting` before it calls `Rule::publish`.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use hashbrown::HashMap;
use pregon_capture::query::{NamedSql, SqlError};
use smallvec::SmallVec;

use super::RouteError;
use super::expr::{Expr, ExprError, Kind};
use super::naming::{Ambiguous, Naming};
use super::numbers;
use super::object::{object, overlay};
use super::outcome::{Hits, Routed};
use super::scope::Scope;
use super::seal::Seals;
use super::target::Target;
use super::template::{Pattern, Template, TemplateError};
use crate::config::{self, Config};
use pregon_capture::change::Op;

use crate::event::{Data, Event, EventId, Publication, Sealed, What};

/// The source of publications that are addressed already (HTTP, SQL, clients).
pub(crate) const PUBLISH: &str = "publish";

/// The source of the events that clients of Socket.IO emit.
pub(crate) const CLIENTS: &str = "clients";

/// Why an event that a rule matched reached nobody.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(crate) enum Nobody {
    #[error("no channel: a value of every template is missing, null or empty")]
    NoChannel,
    #[error("no event name: a value of its template is missing, null or empty")]
    NoName,
    #[error("no {part}: the row has no column `{name}`")]
    NoColumn { part: &'static str, name: String },
    #[error("no channel: {}", .0.iter().map(ToString::to_string).collect::<Vec<_>>().join("; "))]
    Ambiguous(Vec<Ambiguous>),
}

impl Nobody {
    /// Whether the rule is wrong, and not only this row empty.
    pub(crate) fn is_failure(&self) -> bool {
        matches!(self, Self::NoColumn { .. })
    }
}

#[derive(Debug, Clone)]
enum Payload {
    Whole,
    Fields(Vec<Arc<str>>),
    Built(Vec<(Arc<str>, Expr)>),
}

/// A query that adds columns to a rule's row.
#[derive(Debug, Clone)]
pub(crate) struct Enrichment {
    /// The query with `$1`, …; the names say which values belong to them.
    pub sql: NamedSql,
    /// How long it may take.
    pub timeout: Duration,
}

impl Enrichment {
    /// The parameters for one event, as texts; `None` is NULL.
    pub(crate) fn params(&self, scope: &Scope<'_>) -> Vec<Option<String>> {
        self.sql.names().iter().map(|name| scope.sql_text(name)).collect()
    }

    /// The event with the query's columns (a JSON object) put over those of its row, or of its message.
    pub(crate) fn merge(&self, event: &Event, columns: &[u8]) -> Event {
        let mut merged = event.clone();
        if let Some(body) = merged.body_mut() {
            *body = overlay(body, columns);
        }
        merged
    }
}

/// One rule.
#[derive(Debug)]
pub(crate) struct Rule {
    /// Place in the configuration (`route[n]`); `None` for the rule of a source that no route names.
    pub index: Option<usize>,
    when: Option<Expr>,
    to: Vec<Target>,
    patterns: Vec<Pattern>,
    event: Option<Target>,
    payload: Payload,
    /// Keys of the payload whose numbers are sent as texts.
    as_text: Vec<Arc<str>>,
    enrich: Option<Enrichment>,
    seals: Arc<Seals>,
    longest_name: usize,
    hits: Hits,
}

impl Rule {
    fn build(
        index: usize,
        route: &config::Route,
        naming: &Naming,
        seals: Arc<Seals>,
        longest_name: usize,
    ) -> Result<Self, RouteError> {
        let kind = kind(route);
        let built = |parts: &std::collections::BTreeMap<String, String>| -> Result<Payload, ExprError> {
            let parts = parts
                .iter()
                .map(|(key, text)| Ok((Arc::from(key.as_str()), Expr::compile(text, kind)?)));
            parts.collect::<Result<Vec<_>, ExprError>>().map(Payload::Built)
        };
        let enrichment = |enrich: &config::Enrich| -> Result<Enrichment, SqlError> {
            Ok(Enrichment {
                sql: NamedSql::select(&enrich.sql)?,
                timeout: enrich.timeout.0,
            })
        };
        Ok(Self {
            index: Some(index),
            when: route
                .when
                .as_deref()
                .map(|text| Expr::compile(text, kind))
                .transpose()?,
            to: route
                .to
                .iter()
                .map(|text| Target::channel(text, naming))
                .collect::<Result<_, _>>()?,
            patterns: route
                .to
                .iter()
                .map(|text| Ok(Template::parse(text)?.pattern()))
                .collect::<Result<_, TemplateError>>()?,
            event: route.event.as_deref().map(Target::event).transpose()?,
            payload: match (&route.payload, &route.fields) {
                (Some(parts), _) => built(parts)?,
                (None, Some(fields)) => {
                    Payload::Fields(fields.iter().map(|name| Arc::from(name.as_str())).collect())
                }
                (None, None) => Payload::Whole,
            },
            as_text: route.as_text.iter().map(|key| Arc::from(key.as_str())).collect(),
            enrich: route.enrich.as_ref().map(enrichment).transpose()?,
            seals,
            longest_name,
            hits: Hits::default(),
        })
    }

    /// The rule of a source without routes: everything, on a channel of its own name.
    fn plain(source: &str, seals: Arc<Seals>, longest_name: usize) -> Result<Self, RouteError> {
        let name = source.replace('{', "{{").replace('}', "}}");
        Ok(Self {
            index: None,
            when: None,
            to: vec![Target::event(&name)?],
            patterns: vec![Template::parse(&name)?.pattern()],
            event: None,
            payload: Payload::Whole,
            as_text: Vec::new(),
            enrich: None,
            seals,
            longest_name,
            hits: Hits::default(),
        })
    }

    /// Whether the rule wants an event. An error (a missing key, a wrong type) means no, and is counted by the caller.
    pub(crate) fn matches(&self, scope: &Scope<'_>) -> Result<bool, ExprError> {
        self.when.as_ref().map_or(Ok(true), |when| when.eval_bool(scope))
    }

    /// The query that has to run after `matches` and before `publication`.
    pub(crate) fn enrich(&self) -> Option<&Enrichment> {
        self.enrich.as_ref()
    }

    /// The condition as it was written.
    pub(crate) fn condition(&self) -> Option<&str> {
        self.when.as_ref().map(Expr::source)
    }

    /// Its templates as they were written: channels, then the event's name.
    pub(crate) fn targets(&self) -> (Vec<String>, Option<String>) {
        let to = self.to.iter().map(Target::text).collect();
        (to, self.event.as_ref().map(Target::text))
    }

    /// What it has done.
    pub(crate) fn hits(&self) -> &Hits {
        &self.hits
    }

    /// All channels that the rule can address.
    pub(crate) fn patterns(&self) -> &[Pattern] {
        &self.patterns
    }

    /// `publication` with a scope of its own: for an enriched event.
    pub(crate) fn publish(&self, event: &Event) -> Result<Made, Nobody> {
        self.publication(&Scope::event(event), event)
    }

    /// Addresses an event that matched.
    pub(crate) fn publication(&self, scope: &Scope<'_>, event: &Event) -> Result<Made, Nobody> {
        let (channels, ambiguous) = self.channels(scope);
        if channels.is_empty() && !ambiguous.is_empty() {
            return Err(Nobody::Ambiguous(ambiguous));
        }
        if channels.is_empty() {
            let unknown = self.to.iter().find_map(|target| target.unknown(scope));
            return Err(self.nobody(event, "channel", unknown, Nobody::NoChannel));
        }
        let name = match &self.event {
            Some(target) => target
                .render(scope)
                .ok()
                .flatten()
                .ok_or_else(|| self.nobody(event, "event name", target.unknown(scope), Nobody::NoName))?,
            None => event.name().cloned().unwrap_or_else(|| event.word().into()),
        };
        let (mut data, missing) = self.payload(scope, event);
        if let Data::Json(json) = &mut data
            && !self.as_text.is_empty()
        {
            *json = numbers::as_text(json, &self.as_text);
        }
        let publication = Publication {
            sealed: self.sealed(scope, event),
            id: self.identity(&event.id),
            at: event.at,
            ..Publication::new(channels, name, data)
        };
        Ok(Made {
            publication,
            missing,
            ambiguous,
        })
    }

    /// The channels that the rule names, and the names that somebody would take apart wrongly.
    fn channels(&self, scope: &Scope<'_>) -> (SmallVec<[Arc<str>; 2]>, Vec<Ambiguous>) {
        let (mut channels, mut ambiguous) = (SmallVec::new(), Vec::new());
        for target in &self.to {
            match target.render(scope) {
                Ok(Some(channel)) if channel.len() <= self.longest_name && !channels.contains(&channel) => {
                    channels.push(channel);
                }
                Ok(_) => {}
                Err(name) => ambiguous.push(name),
            }
        }
        (channels, ambiguous)
    }

    /// Why the rule reaches nobody with an event. A deleted row may be no more than its key, messages are of any form, and a query
    /// may have found nothing.
    fn nobody(&self, event: &Event, part: &'static str, unknown: Option<&str>, other: Nobody) -> Nobody {
        match unknown {
            Some(name) if self.enrich.is_none() && matches!(event.op(), Some(Op::Insert | Op::Update)) => {
                let name = name.to_owned();
                Nobody::NoColumn { part, name }
            }
            _ => other,
        }
    }

    /// Several rules may publish one event, and the log takes an identity once: so each rule has its own.
    fn identity(&self, id: &EventId) -> EventId {
        match (&id.0, self.index) {
            (Some(id), Some(index)) => EventId::named(format!("{id}/{index}")),
            _ => id.clone(),
        }
    }

    /// The fields of the payload that are copies of encrypted ones.
    fn sealed(&self, scope: &Scope<'_>, event: &Event) -> Box<[Sealed]> {
        let seals = self.seals.of(&event.source);
        if seals.is_empty() {
            return Box::default();
        }
        let Payload::Built(parts) = &self.payload else {
            let kept = |field: &Arc<str>| match &self.payload {
                Payload::Fields(names) => names.contains(field),
                _ => true,
            };
            let there = seals
                .iter()
                .filter(|seal| kept(&seal.field) && scope.field(&seal.field).is_some());
            return there.map(|seal| seal.sealed(&seal.field, scope, false)).collect();
        };
        let copies = parts.iter().filter_map(|(key, expr)| {
            let (root, field) = plain_field(expr)?;
            let seal = seals.iter().find(|seal| *seal.field == *field)?;
            scope.raw(&[root, field])?;
            Some(seal.sealed(key, scope, root == "old"))
        });
        copies.collect()
    }

    fn payload(&self, scope: &Scope<'_>, event: &Event) -> (Data, Vec<String>) {
        match &self.payload {
            Payload::Whole => (whole(event), Vec::new()),
            Payload::Fields(names) => {
                let field = |name: &str| {
                    scope
                        .field(name)
                        .map(str::to_owned)
                        .ok_or_else(|| format!("fields: there is no `{name}`"))
                };
                object(names.iter().map(|name| (&**name, field(name))))
            }
            Payload::Built(parts) => {
                let value =
                    |key: &str, expr| part(expr, scope).map_err(|error| format!("payload.{key}: {error}"));
                object(parts.iter().map(|(key, expr)| (&**key, value(key, expr))))
            }
        }
    }
}

/// What a route's expressions may look at: a client's own events have its claims and no row.
pub(crate) fn kind(route: &config::Route) -> Kind {
    if route.from.iter().any(|source| source == CLIENTS) {
        Kind::Emit
    } else {
        Kind::Event
    }
}

/// `row.message`: where a value comes from and which it is, if the expression is nothing else.
fn plain_field(expr: &Expr) -> Option<(&str, &str)> {
    match expr.path()?.as_slice() {
        [root, field] => Some((root, field)),
        _ => None,
    }
}

/// What a rule made of an event.
#[derive(Debug, Clone)]
pub(crate) struct Made {
    pub publication: Publication,
    /// Why values of its payload could not be had: they are null.
    pub missing: Vec<String>,
    /// Channels that it does not go to.
    pub ambiguous: Vec<Ambiguous>,
}

/// One value of a built payload. A plain path is copied as the database wrote it, so that 10.50 stays 10.50.
fn part(expr: &Expr, scope: &Scope<'_>) -> Result<String, ExprError> {
    if let Some(raw) = expr.path().and_then(|path| scope.raw(&path)) {
        return Ok(raw.to_owned());
    }
    expr.eval_json(scope).map(|value| value.to_string())
}

/// The whole payload: the row (of a delete the deleted one), or the message as it came.
fn whole(event: &Event) -> Data {
    match &event.what {
        What::Emitted { payload, .. } => payload.clone(),
        What::Message { text, .. } | What::Delivery { text, .. } | What::Published { text, .. } => {
            Data::sniff(text.clone())
        }
        What::Row { new, old, .. } => {
            let row = new.as_ref().or(old.as_ref());
            Data::Json(row.cloned().unwrap_or_else(|| Bytes::from_static(b"null")))
        }
    }
}

/// All rules by source.
#[derive(Debug, Default)]
pub(crate) struct Routes {
    pub(super) sources: HashMap<Arc<str>, Vec<Arc<Rule>>>,
}

impl Routes {
    /// Builds the rules of a checked configuration.
    pub(crate) fn build(config: &Config) -> Result<Self, RouteError> {
        let longest_name = config.limits.channel_name;
        let seals = Seals::build(config)?;
        let naming = Naming::build(config)?;
        let mut sources: HashMap<Arc<str>, Vec<Arc<Rule>>> = HashMap::new();
        for (index, route) in config.route.iter().enumerate() {
            let rule = Arc::new(Rule::build(index, route, &naming, seals.clone(), longest_name)?);
            for source in route.from.iter() {
                sources
                    .entry(source.as_str().into())
                    .or_default()
                    .push(rule.clone());
            }
        }
        for name in config.sources() {
            if !sources.contains_key(name) {
                let rule = Rule::plain(name, seals.clone(), longest_name)?;
                sources.insert(name.into(), vec![Arc::new(rule)]);
            }
        }
        Ok(Self { sources })
    }

    /// The rules of a source, in the order of the configuration.
    pub(crate) fn rules_for(&self, source: &str) -> &[Arc<Rule>] {
        self.sources.get(source).map_or(&[], Vec::as_slice)
    }

    /// All channels that a source can address; what a gap of that source is sent to.
    pub(crate) fn channels_of(&self, source: &str) -> Vec<Pattern> {
        self.rules_for(source)
            .iter()
            .flat_map(|rule| rule.patterns().iter().cloned())
            .collect()
    }

    /// Routes one event.
    pub(crate) fn route(&self, event: &Event) -> Routed {
        let mut routed = Routed::default();
        if &*event.source == PUBLISH {
            routed.publications.extend(addressed(event));
            return routed;
        }
        let scope = Scope::event(event);
        for rule in self.rules_for(&event.source) {
            match rule.matches(&scope) {
                Ok(true) if rule.enrich().is_some() => routed.waiting.push(rule.clone()),
                Ok(true) => routed.take(rule, rule.publication(&scope, event)),
                Ok(false) => {
                    rule.hits.passed();
                    routed.passed += 1;
                }
                Err(error) => {
                    rule.hits.failed();
                    routed.fail(rule, format!("when: {error}"));
                }
            }
        }
        routed.unreadable = scope.unreadable();
        routed
    }
}

/// A publish is addressed already.
fn addressed(event: &Event) -> Option<Publication> {
    let What::Published { channel, name, .. } = &event.what else {
        return None;
    };
    Some(Publication {
        id: event.id.clone(),
        at: event.at,
        ..Publication::new([Arc::clone(channel)], Arc::clone(name), whole(event))
    })
}
