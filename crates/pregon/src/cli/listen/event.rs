//! One event and the line that it becomes. Pure.

use std::borrow::Cow;
use std::sync::Arc;
use std::time::SystemTime;

use bytes::Bytes;
use serde_json::Value;

use crate::event::{Event, What};
use crate::route::{Scope, Template};

/// An event as a listener sees it.
#[derive(Debug, Clone)]
pub(super) struct Heard {
    pub(super) channel: Arc<str>,
    /// The event's name; `message` for a notification.
    pub(super) name: Arc<str>,
    /// Exactly as it came.
    pub(super) payload: Bytes,
    /// It was fetched or replayed after the fact.
    pub(super) replayed: bool,
    pub(super) at: SystemTime,
}

/// How events are printed.
#[derive(Debug, Clone)]
pub(super) enum Format {
    Human,
    Json,
    Template(Template),
}

impl Format {
    /// The line, without its end.
    pub(super) fn line(&self, heard: &Heard) -> String {
        match self {
            Self::Json => json_line(&heard.payload),
            Self::Template(template) => heard.fill(template),
            Self::Human => {
                let time = humantime::format_rfc3339_seconds(heard.at);
                let name = if &*heard.name == "message" {
                    String::new()
                } else {
                    format!(" {}", heard.name)
                };
                let payload = String::from_utf8_lossy(&heard.payload);
                printable(&format!("{time} {}{name} {payload}", heard.channel))
            }
        }
    }

    /// The text of a notification: the template's, otherwise the payload.
    pub(super) fn text(&self, heard: &Heard) -> String {
        match self {
            Self::Template(template) => heard.fill(template),
            Self::Human | Self::Json => printable(&String::from_utf8_lossy(&heard.payload)),
        }
    }
}

impl Heard {
    /// A template filled with the payload's values; the payload itself where a value is missing.
    pub(super) fn fill(&self, template: &Template) -> String {
        let source = Arc::clone(&self.channel);
        let what = What::Message {
            channel: Arc::clone(&self.channel),
            text: self.payload.clone(),
        };
        let event = Event {
            at: self.at,
            ..Event::new(source, what)
        };
        let scope = Scope::event(&event);
        let filled = template.render(&|name| match name {
            "event" => Some(Cow::Borrowed(&*self.name)),
            name => scope.text(name),
        });
        printable(&filled.unwrap_or_else(|| String::from_utf8_lossy(&self.payload).into_owned()))
    }
}

/// One line of JSON: the payload as it came, or as a JSON text where it is none.
fn json_line(payload: &[u8]) -> String {
    let text = String::from_utf8_lossy(payload);
    if serde_json::from_str::<serde::de::IgnoredAny>(&text).is_err() {
        return Value::from(text).to_string();
    }
    // Between the tokens of JSON a line break is white space like any other; within its texts there is none.
    text.trim().replace(['\n', '\r'], " ")
}

/// Without control characters: what a payload has must not reach the terminal as a command.
fn printable(text: &str) -> String {
    text.chars()
        .map(|c| if c.is_control() && c != '\t' { ' ' } else { c })
        .collect()
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;

    fn heard(payload: &str) -> Heard {
        Heard {
            channel: "canal".into(),
            name: "message".into(),
            payload: Bytes::copy_from_slice(payload.as_bytes()),
            replayed: false,
            at: SystemTime::UNIX_EPOCH,
        }
    }

    #[test]
    fn json_is_the_exact_payload_on_one_line() {
        for (payload, line) in [
            (
                r#"{"b" : 1.10, "a":12345678901234567890123}"#,
                r#"{"b" : 1.10, "a":12345678901234567890123}"#,
            ),
            ("{\n \"a\":1\r\n}\n", "{  \"a\":1  }"),
            ("hola \"tú\"", r#""hola \"tú\"""#),
            ("", r#""""#),
            (r#""a\nb""#, r#""a\nb""#),
        ] {
            assert_eq!(Format::Json.line(&heard(payload)), line);
        }
    }

    #[test]
    fn templates_take_the_payload_and_fall_back_to_it() {
        let format = |text: &str| Format::Template(Template::parse(text).unwrap());
        let ana = heard(r#"{"nombre":"Ana","n":7,"plan":null}"#);
        assert_eq!(
            format("Bienvenida {nombre} ({n}, {channel}, {event})").line(&ana),
            "Bienvenida Ana (7, canal, message)"
        );
        assert_eq!(
            format("Plan {plan}").line(&ana),
            r#"{"nombre":"Ana","n":7,"plan":null}"#
        );
        assert_eq!(format("dice {message}").line(&heard("hola")), "dice hola");
    }

    #[test]
    fn a_payload_cannot_drive_the_terminal() {
        assert_eq!(
            Format::Human.line(&heard("a\u{1b}[2Jb\nc")),
            "1970-01-01T00:00:00Z canal a [2Jb c"
        );
        let name = heard(r#"{"nombre":"\u001b[31mrojo"}"#);
        assert_eq!(
            Format::Template(Template::parse("{nombre}").unwrap()).line(&name),
            " [31mrojo"
        );
    }
}
