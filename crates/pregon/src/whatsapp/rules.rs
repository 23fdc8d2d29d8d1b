//! `[[router.rule]]`: which rules a message meets, and what they want done. Pure but for the time zone's offset.
//!
//! The answer travels with the message and is carried out by the statement that stores it, where labels and agents are known.

use std::borrow::Cow;
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};

use bytes::Bytes;
use serde_json::{Map, Value, json};

use super::metrics::Metrics;
use super::payload::{Item, Message, Sender};
use crate::config::{self, RouterRule};
use crate::event::{Event, What};
use crate::route::expr::{Expr, Kind};
use crate::route::naming::{Ambiguous, Naming, RowName};
use crate::route::scope::Scope;
use crate::route::template::Template;

/// Longest text that WhatsApp takes; with buttons it is shorter.
const LONGEST: usize = 4096;
const LONGEST_WITH_BUTTONS: usize = 1024;

/// All rules of a router.
pub(super) struct Rules {
    rules: Vec<Rule>,
    metrics: Arc<Metrics>,
    zone: String,
    /// Seconds ahead of UTC.
    offset: AtomicI64,
}

struct Rule {
    when: Option<Expr>,
    /// What does not depend on the message.
    fixed: Map<String, Value>,
    reply: Option<Template>,
    buttons: Vec<Value>,
    publish: Vec<RowName>,
}

impl Rules {
    pub(super) fn build(
        section: &config::Router,
        naming: &Naming,
        metrics: &Arc<Metrics>,
    ) -> anyhow::Result<Self> {
        let rules = section.rule.iter().map(|rule| Rule::build(rule, naming));
        Ok(Self {
            rules: rules.collect::<Result<_, _>>()?,
            metrics: Arc::clone(metrics),
            zone: section.timezone.clone(),
            offset: AtomicI64::new(0),
        })
    }

    /// The time zone, where somebody has to ask for its offset.
    pub(super) fn zone(&self) -> Option<&str> {
        (!self.rules.is_empty() && self.zone != "UTC").then_some(self.zone.as_str())
    }

    pub(super) fn set_offset(&self, seconds: i64) {
        self.offset.store(seconds, Ordering::Relaxed);
    }

    /// Notes in each message of a contact what the rules say of it.
    pub(super) fn judge(&self, items: &mut [Item], now: i64) {
        if self.rules.is_empty() {
            return;
        }
        let local = now + self.offset.load(Ordering::Relaxed);
        for item in items {
            let Item::Message(message) = item else { continue };
            if message.remitente_tipo == Sender::User {
                message.reglas = self.matching(message, local);
            }
        }
    }

    fn matching(&self, message: &Message, local: i64) -> Vec<Value> {
        let json = Bytes::from(seen(message, local).to_string());
        let event = Event::new(
            Arc::from("router"),
            What::Delivery {
                name: None,
                text: json,
            },
        );
        let scope = Scope::event(&event);
        let numbered = self.rules.iter().enumerate();
        numbered
            .filter_map(|(number, rule)| {
                let key = format!("{}/{}/{number}", message.numero, message.wamid);
                let refused = |name: &Ambiguous| self.metrics.ambiguous(number, name);
                rule.says(message, &scope, key, &refused)
            })
            .collect()
    }
}

/// What conditions and templates look at.
fn seen(message: &Message, local: i64) -> Value {
    let text = message.mensaje.as_deref().unwrap_or_default();
    let lower = text.to_lowercase();
    let words: Vec<&str> = lower
        .split(|letter: char| !letter.is_alphanumeric())
        .filter(|word| !word.is_empty())
        .collect();
    let minutes = local.rem_euclid(86_400) / 60;
    // 1970-01-01 was a Thursday.
    let day = (local.div_euclid(86_400) + 3).rem_euclid(7) + 1;
    let raw = &message.raw;
    let button = [
        "/interactive/button_reply/id",
        "/interactive/list_reply/id",
        "/button/payload",
    ]
    .iter()
    .find_map(|path| raw.pointer(path)?.as_str());
    json!({
        "numero": message.numero, "telefono": message.telefono.as_deref().unwrap_or_default(),
        "user_id": message.user_id.as_deref().unwrap_or_default(),
        "nombre": message.nombre.as_deref().unwrap_or_default(), "tipo": message.tipo, "mensaje": text,
        "texto": lower, "palabras": words, "boton": button.unwrap_or_default(),
        "referral": raw.get("referral").cloned().unwrap_or_else(|| json!({})),
        "hora": format!("{:02}:{:02}", minutes / 60, minutes % 60), "dia": day, "raw": raw,
    })
}

impl Rule {
    fn build(rule: &RouterRule, naming: &Naming) -> anyhow::Result<Self> {
        let mut fixed = Map::new();
        let mut set = |key: &str, value: Value, given: bool| {
            if given {
                fixed.insert(key.to_owned(), value);
            }
        };
        set("first", json!(true), rule.first);
        set("last", json!(true), rule.last);
        set("has", json!(rule.has), !rule.has.is_empty());
        set("labels", json!(rule.labels), !rule.labels.is_empty());
        set("area", json!(rule.area), rule.area.is_some());
        set("otherwise", json!(rule.otherwise), rule.otherwise.is_some());
        set(
            "assign",
            json!(rule.assign.map(config::Assign::as_str)),
            rule.assign.is_some(),
        );
        set("webhook", json!(rule.webhook), rule.webhook.is_some());
        set("bullmq", json!(rule.bullmq), rule.bullmq.is_some());
        let button = |text: &String| {
            let (id, title) = text.split_once(':').unwrap_or((text, text));
            json!({ "type": "reply", "reply": { "id": id.trim(), "title": title.trim() } })
        };
        let compile = |when: &String| Expr::compile(when, Kind::Event);
        Ok(Self {
            when: rule.when.as_ref().map(compile).transpose()?,
            fixed,
            reply: rule.reply.as_deref().map(Template::parse).transpose()?,
            buttons: rule.buttons.iter().map(button).collect(),
            publish: rule
                .publish
                .iter()
                .map(|text| Template::parse(text).map(|template| naming.rows(template)))
                .collect::<Result<_, _>>()?,
        })
    }

    /// What the rule wants, if it matches. A condition that cannot be evaluated is a "no".
    fn says(
        &self,
        message: &Message,
        scope: &Scope<'_>,
        key: String,
        refused: &dyn Fn(&Ambiguous),
    ) -> Option<Value> {
        let matches = self
            .when
            .as_ref()
            .is_none_or(|when| when.eval_bool(scope).unwrap_or(false));
        if !matches {
            return None;
        }
        let mut wish = self.fixed.clone();
        let channels: Vec<String> = self
            .publish
            .iter()
            .filter_map(|channel| {
                let name = channel.render(&|name| scope.text(name));
                name.inspect_err(refused).ok().flatten()
            })
            .filter(|channel| crate::session::decide::check_name(channel).is_ok())
            .collect();
        if !channels.is_empty() {
            wish.insert("publish".into(), json!(channels));
        }
        // A name that is not known leaves its place empty: a greeting without it is better than none.
        let said = self
            .reply
            .as_ref()
            .and_then(|reply| reply.render(&|name| scope.text(name).or(Some(Cow::Borrowed("\u{200b}")))));
        if let Some(said) = said {
            let said = said.replace('\u{200b}', "");
            wish.insert("reply".into(), self.reply_body(message, &said, &key));
            wish.insert("said".into(), json!(said));
        }
        wish.insert("key".into(), json!(key));
        Some(Value::Object(wish))
    }

    /// What the Graph API takes.
    fn reply_body(&self, message: &Message, said: &str, key: &str) -> Value {
        let longest = if self.buttons.is_empty() {
            LONGEST
        } else {
            LONGEST_WITH_BUTTONS
        };
        let text: String = said.chars().take(longest).collect();
        let mut body = json!({ "messaging_product": "whatsapp", "recipient_type": "individual",
            "biz_opaque_callback_data": key, "context": { "message_id": message.wamid } });
        let more = if self.buttons.is_empty() {
            json!({ "type": "text", "text": { "body": text } })
        } else {
            json!({ "type": "interactive", "interactive": { "type": "button", "body": { "text": text },
                "action": { "buttons": self.buttons } } })
        };
        let to = match (&message.telefono, &message.user_id) {
            (Some(telefono), _) => json!({ "to": telefono }),
            (None, user_id) => json!({ "recipient": user_id }),
        };
        if let Value::Object(map) = &mut body {
            for part in [more, to] {
                map.extend(part.as_object().cloned().unwrap_or_default());
            }
        }
        body
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::indexing_slicing, clippy::panic)]

    use super::*;
    use crate::whatsapp::payload;

    fn wishes(rules: &[RouterRule], message: Value) -> Vec<Value> {
        let section = config::Router {
            rule: rules.to_vec(),
            ..config::Router::default()
        };
        let delivery = json!({"entry": [{"changes": [{"value": {"metadata": {"phone_number_id": "109"},
            "contacts": [{"wa_id": "111", "profile": {"name": "Ana"}}], "messages": [message]}}]}]});
        let mut items = payload::read(delivery.to_string().as_bytes(), 0).items;
        // Thursday, 10:05.
        let rules = Rules::build(&section, &Naming::default(), &Metrics::new()).unwrap();
        rules.judge(&mut items, 36_300);
        match items.remove(0) {
            Item::Message(message) => message.reglas,
            other => panic!("{other:?}"),
        }
    }

    fn matches(when: &str, message: Value) -> bool {
        let rule = RouterRule {
            when: Some(when.into()),
            ..RouterRule::default()
        };
        wishes(&[rule], message).len() == 1
    }

    #[test]
    fn words_buttons_referrals_hours_and_numbers_decide() {
        let text = |body: &str| json!({"from": "111", "id": "w", "type": "text", "text": {"body": body}});
        assert!(matches(
            "'precio' in message.palabras",
            text("¿Qué PRECIO tiene?")
        ));
        assert!(!matches("'precio' in message.palabras", text("precioso")));
        assert!(matches("message.texto.contains('ñandú')", text("un ÑANDÚ")));
        assert!(matches(
            "message.hora >= '09:00' && message.hora < '18:00' && message.dia == 4",
            text("")
        ));
        assert!(matches(
            "message.numero == '109' && message.telefono.startsWith('11')",
            text("")
        ));
        let button = json!({"from": "111", "id": "w", "type": "interactive",
            "interactive": {"type": "button_reply", "button_reply": {"id": "si", "title": "Sí"}}});
        assert!(matches("message.boton == 'si'", button));
        let mut ad = text("hola");
        ad["referral"] = json!({"source_id": "123", "source_type": "ad"});
        assert!(matches(
            "has(message.referral.source_id) && message.referral.source_id == '123'",
            ad
        ));
        assert!(!matches(
            "message.referral.source_id == '123'",
            text("an error is a no")
        ));
        assert!(matches("has(message.raw.text)", text("raw is there")));
    }

    #[test]
    fn a_reply_is_a_template_with_buttons_and_a_key() {
        let rule = RouterRule {
            reply: Some("Hola {nombre}{referral.x}!".into()),
            buttons: vec!["a: Ventas".into(), "b: Otra cosa".into()],
            publish: config::OneOrMany(vec!["n_{numero}".into()]),
            ..RouterRule::default()
        };
        let wish = wishes(
            &[rule],
            json!({"from": "111", "id": "w", "type": "text", "text": {"body": "x"}}),
        )
        .remove(0);
        assert_eq!(
            (&wish["key"], &wish["said"], &wish["publish"]),
            (&json!("109/w/0"), &json!("Hola Ana!"), &json!(["n_109"]))
        );
        assert_eq!(wish["reply"]["to"], "111");
        assert_eq!(
            wish["reply"]["interactive"]["action"]["buttons"][1]["reply"],
            json!({"id": "b", "title": "Otra cosa"})
        );
    }

    #[test]
    fn the_system_and_the_business_meet_no_rule() {
        assert!(
            wishes(
                &[RouterRule::default()],
                json!({"from": "111", "id": "w", "type": "system", "system": {}})
            )
            .is_empty()
        );
    }
}
