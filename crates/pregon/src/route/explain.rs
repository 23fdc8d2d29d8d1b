//! `pregon route explain`: what the rules would do with a sample event, and why.

use serde::Serialize;

use super::rule::{Made, Routes, Rule};
use super::scope::Scope;
use crate::event::{Data, Event};
use crate::lenient;

/// What would become of an event.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub(crate) struct Explanation {
    /// The source of the event.
    pub source: String,
    /// What each of its rules says, in the order of the configuration.
    pub rules: Vec<RuleExplanation>,
}

/// What one rule says.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub(crate) struct RuleExplanation {
    /// `route[n]`, or `default` for a source that no route names.
    pub rule: String,
    /// The condition, if it has one.
    pub when: Option<String>,
    /// Whether it would publish.
    pub publishes: bool,
    /// Why it would not, or what has to be known about how it would.
    pub reason: String,
    pub channels: Vec<String>,
    pub event: Option<String>,
    pub data: Option<serde_json::Value>,
}

impl Routes {
    /// Explains an event; rules with a query are explained as if it added nothing.
    pub(crate) fn explain(&self, event: &Event) -> Explanation {
        let scope = Scope::event(event);
        let rules = self
            .rules_for(&event.source)
            .iter()
            .map(|rule| explain(rule, &scope, event))
            .collect();
        Explanation {
            source: event.source.to_string(),
            rules,
        }
    }
}

fn explain(rule: &Rule, scope: &Scope<'_>, event: &Event) -> RuleExplanation {
    let mut told = RuleExplanation {
        rule: rule
            .index
            .map_or_else(|| "default".into(), |index| format!("route[{index}]")),
        when: rule.condition().map(str::to_owned),
        publishes: false,
        reason: String::new(),
        channels: Vec::new(),
        event: None,
        data: None,
    };
    match rule.matches(scope) {
        Err(error) => told.reason = format!("the condition failed: {error}"),
        Ok(false) => told.reason = "the condition is false".into(),
        Ok(true) => match rule.publication(scope, event) {
            Err(nobody) => told.reason = nobody.to_string(),
            Ok(made) => {
                told.publishes = true;
                told.reason = reason(rule, &made);
                told.channels = made
                    .publication
                    .channels
                    .iter()
                    .map(ToString::to_string)
                    .collect();
                told.event = Some(made.publication.event.to_string());
                told.data = Some(value(&made.publication.data));
            }
        },
    }
    told
}

fn reason(rule: &Rule, made: &Made) -> String {
    let mut reason = String::from(if rule.condition().is_some() {
        "the condition is true"
    } else {
        "no condition"
    });
    if rule.enrich().is_some() {
        reason.push_str("; its query would add columns first");
    }
    if !made.missing.is_empty() {
        reason.push_str(&format!("; values that become null: {}", made.missing.join(", ")));
    }
    for name in &made.ambiguous {
        reason.push_str(&format!("; a channel is left out: {name}"));
    }
    for sealed in &made.publication.sealed {
        reason.push_str(&format!("; `{}` would be decrypted", sealed.field));
    }
    reason
}

fn value(data: &Data) -> serde_json::Value {
    lenient::read(&data.json())
        .map(|read| read.value)
        .unwrap_or_default()
}
