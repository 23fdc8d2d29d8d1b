//! Rights: which channels claims grant, and who may publish. Decided at the door, never per message.
//!
//! Pure: where the configuration asks the database, the decision is a question that the session puts to it.

use std::borrow::Cow;
use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use pregon_capture::query::{NamedSql, SqlError};

use super::RouteError;
use super::expr::{Expr, Kind};
use super::naming::{Ambiguous, Naming};
use super::scope::Scope;
use super::template::{Pattern, Template, TemplateError};
use crate::auth::Claims;
use crate::config::{self, Config};

/// May they?
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Decision {
    Allow,
    /// No, with a reason for the log; clients only learn that it is forbidden.
    Deny(&'static str),
    /// Yes if the database says so to one of these.
    Ask(Vec<SqlQuestion>),
}

impl Decision {
    /// One of two ways is enough.
    fn or(self, other: Self) -> Self {
        match (self, other) {
            (Self::Allow, _) | (_, Self::Allow) => Self::Allow,
            (Self::Ask(mut own), Self::Ask(others)) => {
                own.extend(others);
                Self::Ask(own)
            }
            (asks @ Self::Ask(_), Self::Deny(_)) | (Self::Deny(_), asks @ Self::Ask(_)) => asks,
            (deny @ Self::Deny(_), Self::Deny(_)) => deny,
        }
    }
}

/// A query whose first column of its first row must be true.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(crate) struct SqlQuestion {
    /// The name of its `[[channel]]`, for the log.
    pub section: Arc<str>,
    /// With `$1`, `$2`, …
    pub sql: Arc<str>,
    /// As texts, in the order of the numbers.
    pub params: Vec<String>,
}

/// The query of a `[[channel]]`.
#[derive(Debug)]
struct Query {
    numbered: Arc<str>,
    names: Vec<String>,
}

impl Query {
    fn parse(sql: &str) -> Result<Self, SqlError> {
        let query = NamedSql::select(sql)?;
        Ok(Self {
            numbered: query.numbered().into(),
            names: query.names().to_vec(),
        })
    }
}

/// The rules of one `[[channel]]`.
#[derive(Debug)]
struct ChannelRule {
    /// Its section's name as it was written.
    name: Arc<str>,
    pattern: Pattern,
    subscribe: Option<Expr>,
    allow_sql: Option<Query>,
    /// How often the query is asked again.
    recheck: Option<Duration>,
    publish: Option<Expr>,
    follow: Vec<Template>,
    volatile: Vec<String>,
    presence: bool,
    history: bool,
}

impl ChannelRule {
    fn build(channel: &config::Channel) -> Result<Self, RouteError> {
        let expr = |text: &Option<String>| {
            text.as_deref()
                .map(|text| Expr::compile(text, Kind::Client))
                .transpose()
        };
        Ok(Self {
            name: channel.name.as_str().into(),
            pattern: Pattern::parse(&channel.name)?,
            subscribe: expr(&channel.subscribe)?,
            allow_sql: channel.allow_sql.as_deref().map(Query::parse).transpose()?,
            recheck: channel.recheck.map(|period| period.0),
            publish: expr(&channel.publish)?,
            follow: templates(&channel.follow)?,
            volatile: channel.volatile.clone(),
            presence: channel.presence,
            history: channel.history,
        })
    }

    /// Whether claims fulfil the section's conditions.
    fn allows(&self, claims: &Claims, captured: &[(&str, &str)]) -> Decision {
        let scope = Scope::client(Some(claims.json()), captured);
        if let Some(condition) = &self.subscribe {
            match condition.eval_bool(&scope) {
                Ok(true) => {}
                Ok(false) => return Decision::Deny("the channel's condition says no"),
                Err(_) => return Decision::Deny("the channel's condition failed on these claims"),
            }
        }
        match &self.allow_sql {
            None => Decision::Allow,
            Some(query) => ask(&self.name, query, &scope),
        }
    }
}

/// The channels that templates over claims name.
#[derive(Debug, Default)]
pub(crate) struct ByClaims {
    /// Each once; those with a missing claim are left out.
    pub channels: Vec<Arc<str>>,
    /// Names that somebody would take apart wrongly: nobody follows them.
    pub ambiguous: Vec<Ambiguous>,
}

/// All rights of a configuration.
#[derive(Debug, Default)]
pub(crate) struct Rights {
    naming: Naming,
    join: Vec<Template>,
    anonymous: Vec<Template>,
    channels: Vec<ChannelRule>,
}

impl Rights {
    /// Builds the rights of a checked configuration.
    pub(crate) fn build(config: &Config) -> Result<Self, RouteError> {
        Ok(Self {
            naming: Naming::build(config)?,
            join: templates(&config.auth.join)?,
            anonymous: templates(&config.auth.anonymous_join)?,
            channels: config
                .channel
                .iter()
                .map(ChannelRule::build)
                .collect::<Result<_, _>>()?,
        })
    }

    /// How often sections want their queries asked again, each period once.
    pub(crate) fn rechecks(&self) -> BTreeSet<Duration> {
        self.channels.iter().filter_map(|rule| rule.recheck).collect()
    }

    /// How often the query of this channel's section is asked again.
    pub(crate) fn recheck(&self, channel: &str) -> Option<Duration> {
        self.rule(channel).and_then(|(rule, _)| rule.recheck)
    }

    /// The channels that a session follows from the start.
    pub(crate) fn join(&self, claims: &Claims) -> ByClaims {
        let templates = if claims.is_anonymous() {
            &self.anonymous
        } else {
            &self.join
        };
        self.name(templates, claims)
    }

    /// Renders templates over claims.
    pub(crate) fn name(&self, templates: &[Template], claims: &Claims) -> ByClaims {
        let mut named = ByClaims::default();
        for template in templates {
            match self.naming.claims(template, &|hole| claim(claims, hole)) {
                Ok(Some(channel)) if !named.channels.iter().any(|known| **known == *channel) => {
                    named.channels.push(channel.into());
                }
                Ok(_) => {}
                Err(ambiguous) => named.ambiguous.push(ambiguous),
            }
        }
        named
    }

    /// Whether a template over claims names a channel; the error is why it does not although it would be rendered so.
    fn names(&self, template: &Template, claims: &Claims, channel: &str) -> Result<bool, Ambiguous> {
        let value = |hole: &str| claim(claims, hole);
        if template.render(&value).is_none_or(|name| name != channel) {
            return Ok(false);
        }
        self.naming.claims(template, &value).map(|name| name.is_some())
    }

    /// May they follow this channel?
    pub(crate) fn subscribe(&self, claims: &Claims, channel: &str) -> Decision {
        let templates = if claims.is_anonymous() {
            &self.anonymous
        } else {
            &self.join
        };
        if templates
            .iter()
            .any(|template| self.names(template, claims, channel) == Ok(true))
        {
            return Decision::Allow;
        }
        let own = match self.rule(channel) {
            Some((rule, captured)) => rule.allows(claims, &captured),
            None => Decision::Deny("no channel section fits and no claim joins it"),
        };
        self.led(claims, channel)
            .fold(own, |decision, (_, led)| decision.or(led))
    }

    /// Which part of the configuration decides whether these claims may follow a channel.
    pub(crate) fn decided_by(&self, claims: &Claims, channel: &str) -> String {
        let (key, templates) = match claims.is_anonymous() {
            true => ("anonymous_join", &self.anonymous),
            false => ("join", &self.join),
        };
        for template in templates {
            match self.names(template, claims, channel) {
                Ok(false) => {}
                Ok(true) => return format!("[auth] {key} = \"{}\"", template.source()),
                Err(ambiguous) => return format!("[auth] {key}, which does not join it: {ambiguous}"),
            }
        }
        let mut led = self.led(claims, channel);
        if let Some((rule, _)) = led.find(|(_, decision)| !matches!(decision, Decision::Deny(_))) {
            return format!("the `follow` of [[channel]] name = \"{}\"", rule.name);
        }
        match self.rule(channel) {
            Some((rule, _)) => format!("[[channel]] name = \"{}\"", rule.name),
            None => format!("neither [auth] {key} nor any [[channel]] names it"),
        }
    }

    /// The names that stand for several channels and bring these claims to this one, with what their sections say.
    fn led<'r>(
        &'r self,
        claims: &'r Claims,
        channel: &'r str,
    ) -> impl Iterator<Item = (&'r ChannelRule, Decision)> {
        let leads_here = move |rule: &&ChannelRule| {
            let mut follow = rule.follow.iter();
            follow.any(|template| self.names(template, claims, channel) == Ok(true))
        };
        // By which name it was asked for is not known here: `check` lets no `subscribe` or `allow_sql` of such a section look at a capture.
        let rules = self.channels.iter().filter(leads_here);
        rules.map(|rule| (rule, rule.allows(claims, &[])))
    }

    /// May they publish on this channel? Those who may follow it, and whom its `publish` condition names.
    pub(crate) fn publish(&self, claims: &Claims, channel: &str) -> Decision {
        let Some((rule, captured)) = self.rule(channel) else {
            return Decision::Deny("no channel section fits");
        };
        let Some(condition) = &rule.publish else {
            return Decision::Deny("the channel's section lets nobody publish");
        };
        match condition.eval_bool(&Scope::client(Some(claims.json()), &captured)) {
            Ok(true) => self.subscribe(claims, channel),
            Ok(false) => Decision::Deny("the channel's publish condition says no"),
            Err(_) => Decision::Deny("the channel's publish condition failed on these claims"),
        }
    }

    /// The channels that a client follows when it subscribes to `channel`: itself, or those that its section names instead.
    pub(crate) fn resolve(&self, claims: &Claims, channel: &str) -> ByClaims {
        match self.rule(channel) {
            Some((rule, _)) if !rule.follow.is_empty() => self.name(&rule.follow, claims),
            _ => ByClaims {
                channels: vec![Arc::from(channel)],
                ambiguous: Vec::new(),
            },
        }
    }

    /// Whether an event of this name is kept on this channel.
    pub(crate) fn keeps(&self, channel: &str, event: &str) -> bool {
        let volatile = self.rule(channel).map_or(&[][..], |(rule, _)| &rule.volatile);
        !volatile.iter().any(|name| name == "*" || name == event)
    }

    /// Whether no channel has events that are not kept.
    pub(crate) fn keeps_everything(&self) -> bool {
        self.channels.iter().all(|rule| rule.volatile.is_empty())
    }

    /// Whether members of this channel are announced to each other.
    pub(crate) fn presence(&self, channel: &str) -> bool {
        self.rule(channel).is_some_and(|(rule, _)| rule.presence)
    }

    /// Whether earlier publications of this channel may be asked for.
    pub(crate) fn history(&self, channel: &str) -> bool {
        self.rule(channel).is_none_or(|(rule, _)| rule.history)
    }

    /// The first section that fits decides.
    fn rule<'r, 'c>(&'r self, channel: &'c str) -> Option<(&'r ChannelRule, Vec<(&'r str, &'c str)>)> {
        self.channels
            .iter()
            .find_map(|rule| Some((rule, rule.pattern.matches(channel)?)))
    }
}

fn templates(texts: &[String]) -> Result<Vec<Template>, TemplateError> {
    texts.iter().map(|text| Template::parse(text)).collect()
}

/// The claim that a hole names, `{sub}` or `{claims.sub}`.
fn claim<'c>(claims: &'c Claims, hole: &str) -> Option<Cow<'c, str>> {
    claims.get(hole.strip_prefix("claims.").unwrap_or(hole))
}

/// A question with a missing value is not asked: NULL must not slip through an `IS NOT DISTINCT FROM`.
fn ask(section: &Arc<str>, query: &Query, scope: &Scope<'_>) -> Decision {
    let params: Option<Vec<String>> = query
        .names
        .iter()
        .map(|name| scope.sql_text(name).filter(|value| !value.is_empty()))
        .collect();
    match params {
        Some(params) => Decision::Ask(vec![SqlQuestion {
            section: Arc::clone(section),
            sql: Arc::clone(&query.numbered),
            params,
        }]),
        None => Decision::Deny("a claim that the channel's query needs is missing"),
    }
}
