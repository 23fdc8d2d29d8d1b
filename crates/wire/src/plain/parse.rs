//! One text frame of a client as a command, borrowed from the frame.

use std::borrow::Cow;
use std::fmt;

use serde::Deserialize;
use serde::de::{DeserializeSeed, Deserializer, IgnoredAny, MapAccess, Visitor};
use serde_json::value::RawValue;

use crate::words::Command;

/// A command and the number that its reply will carry.
#[derive(Debug)]
pub struct Request<'a> {
    /// Absent when the client does not care which reply belongs to what.
    pub id: Option<u64>,
    /// What the client wants.
    pub command: Command<'a>,
}

/// The frame is not a command; the reply is `bad_request`.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{message}")]
pub struct ParseError {
    /// The command's number, when that could be read.
    pub id: Option<u64>,
    /// Names the field and what is wrong with it.
    pub message: String,
}

/// Reads one command. Unknown fields are ignored, so that newer clients can talk to older servers.
pub fn parse(text: &str) -> Result<Request<'_>, ParseError> {
    let mut fields = Fields::default();
    let mut json = serde_json::Deserializer::from_str(text);
    let read = (&mut fields).deserialize(&mut json).and_then(|()| json.end());
    match read {
        Ok(()) => fields.into_request(),
        Err(error) => Err(ParseError {
            id: fields.id.or_else(|| rescue_id(text)),
            message: match fields.reading {
                Some(field) => format!("{field}: {error}"),
                None => error.to_string(),
            },
        }),
    }
}

/// Everything that any command may carry, filled while the frame is read.
#[derive(Default)]
struct Fields<'a> {
    id: Option<u64>,
    kind: Option<Cow<'a, str>>,
    token: Option<Cow<'a, str>>,
    channel: Option<Cow<'a, str>>,
    event: Option<Cow<'a, str>>,
    since: Option<Cow<'a, str>>,
    last: Option<u32>,
    data: Option<&'a RawValue>,
    /// The field whose value is being read, for the error message.
    reading: Option<&'static str>,
}

impl<'a> Fields<'a> {
    fn into_request(self) -> Result<Request<'a>, ParseError> {
        let id = self.id;
        self.into_command()
            .map(|command| Request { id, command })
            .map_err(|message| ParseError { id, message })
    }

    fn into_command(self) -> Result<Command<'a>, String> {
        let kind = need("type", self.kind)?;
        Ok(match kind.as_ref() {
            "auth" => Command::Auth {
                token: need("token", self.token)?,
            },
            "subscribe" => Command::Subscribe {
                channel: need("channel", self.channel)?,
                since: self.since,
                last: self.last,
            },
            "unsubscribe" => Command::Unsubscribe {
                channel: need("channel", self.channel)?,
            },
            "publish" => Command::Publish {
                channel: need("channel", self.channel)?,
                event: need("event", self.event)?,
                data: need("data", self.data)?.get(),
            },
            "presence" => Command::Presence {
                channel: need("channel", self.channel)?,
                since: self.since,
            },
            "ping" => Command::Ping,
            _ => {
                let known = "auth, subscribe, unsubscribe, publish, presence or ping";
                return Err(format!("type: no such command, expected {known}"));
            }
        })
    }
}

fn need<T>(name: &'static str, value: Option<T>) -> Result<T, String> {
    value.ok_or_else(|| format!("{name}: missing"))
}

#[derive(Deserialize)]
#[serde(field_identifier, rename_all = "lowercase")]
enum Key {
    Id,
    Type,
    Token,
    Channel,
    Event,
    Since,
    Last,
    Data,
    #[serde(other)]
    Unknown,
}

impl<'de> DeserializeSeed<'de> for &mut Fields<'de> {
    type Value = ();

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<(), D::Error> {
        deserializer.deserialize_map(self)
    }
}

impl<'de> Visitor<'de> for &mut Fields<'de> {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an object with a type")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<(), A::Error> {
        while let Some(key) = map.next_key::<Key>()? {
            match key {
                Key::Id => self.id = self.read("id", &mut map)?,
                Key::Type => self.kind = self.read_text("type", &mut map)?,
                Key::Token => self.token = self.read_text("token", &mut map)?,
                Key::Channel => self.channel = self.read_text("channel", &mut map)?,
                Key::Event => self.event = self.read_text("event", &mut map)?,
                Key::Since => self.since = self.read_text("since", &mut map)?,
                Key::Last => self.last = self.read("last", &mut map)?,
                // Not an Option inside: a null is data.
                Key::Data => self.data = Some(self.read("data", &mut map)?),
                Key::Unknown => drop(map.next_value::<IgnoredAny>()?),
            }
        }
        Ok(())
    }
}

impl<'de> Fields<'de> {
    fn read<T, A>(&mut self, name: &'static str, map: &mut A) -> Result<T, A::Error>
    where
        T: Deserialize<'de>,
        A: MapAccess<'de>,
    {
        self.reading = Some(name);
        let value = map.next_value()?;
        self.reading = None;
        Ok(value)
    }

    fn read_text<A: MapAccess<'de>>(
        &mut self,
        name: &'static str,
        map: &mut A,
    ) -> Result<Option<Cow<'de, str>>, A::Error> {
        Ok(self.read::<Option<Text<'de>>, A>(name, map)?.map(|text| text.0))
    }
}

/// A string that is borrowed unless it has escapes; serde's own `Option<Cow<str>>` always copies.
struct Text<'a>(Cow<'a, str>);

impl<'de> Deserialize<'de> for Text<'de> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_str(TextVisitor)
    }
}

struct TextVisitor;

impl<'de> Visitor<'de> for TextVisitor {
    type Value = Text<'de>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a string")
    }

    fn visit_borrowed_str<E: serde::de::Error>(self, text: &'de str) -> Result<Text<'de>, E> {
        Ok(Text(Cow::Borrowed(text)))
    }

    fn visit_str<E: serde::de::Error>(self, text: &str) -> Result<Text<'de>, E> {
        Ok(Text(Cow::Owned(text.to_owned())))
    }
}

/// The id of a frame whose other fields are wrong and came first.
fn rescue_id(text: &str) -> Option<u64> {
    #[derive(Deserialize)]
    struct IdOnly {
        id: Option<u64>,
    }
    serde_json::from_str::<IdOnly>(text).ok()?.id
}

#[cfg(test)]
mod tests {
    #![allow(clippy::panic)]

    use proptest::prelude::*;

    use super::*;

    fn fails(text: &str) -> (Option<u64>, String) {
        let error = parse(text).expect_err(text);
        (error.id, error.message)
    }

    #[test]
    fn every_command_of_the_contract_is_read() {
        let id_of = |text| parse(text).map(|request| request.id);
        assert_eq!(id_of(r#"{"id":6,"type":"ping"}"#), Ok(Some(6)));
        assert_eq!(id_of(r#"{"type":"ping","id":null}"#), Ok(None));
        let read = |text| parse(text).expect(text).command;
        assert!(matches!(read(r#"{"type":"auth","token":"t"}"#), Command::Auth { token } if token == "t"));
        assert!(matches!(
            read(r#"{"channel":"c","since":"5m","last":3,"type":"subscribe"}"#),
            Command::Subscribe { channel, since: Some(since), last: Some(3) } if channel == "c" && since == "5m"
        ));
        assert!(matches!(
            read(r#"{"type":"subscribe","channel":"c","since":null,"new":[{}]}"#),
            Command::Subscribe {
                since: None,
                last: None,
                ..
            }
        ));
        assert!(matches!(
            read(r#"{"type":"unsubscribe","channel":"c"}"#),
            Command::Unsubscribe { .. }
        ));
        assert!(matches!(
            read(r#"{"type":"presence","channel":"c"}"#),
            Command::Presence { .. }
        ));
    }

    #[test]
    fn published_data_stays_as_it_was_written() {
        for data in ["null", "[1, 2 ]", "{\"a\":1.10}", "\"\\u00e9\""] {
            let text = format!(r#"{{"type":"publish","channel":"c","event":"e","data":{data}}}"#);
            match parse(&text).expect(&text).command {
                Command::Publish { data: read, .. } => assert_eq!(read, data),
                other => panic!("{other:?}"),
            }
        }
    }

    #[test]
    fn strings_without_escapes_are_borrowed() {
        let read = |text| match parse(text).expect(text).command {
            Command::Unsubscribe { channel } => channel,
            other => panic!("{other:?}"),
        };
        assert!(matches!(
            read(r#"{"type":"unsubscribe","channel":"ñ"}"#),
            Cow::Borrowed("ñ")
        ));
        assert!(matches!(read(r#"{"type":"unsubscribe","channel":"\u00f1"}"#), Cow::Owned(c) if c == "ñ"));
    }

    #[test]
    fn an_error_names_the_field_and_keeps_the_id() {
        let cases = [
            (r#"{"id":1}"#, Some(1), "type: missing"),
            (r#"{"id":1,"type":"shout"}"#, Some(1), "type: no such command"),
            (r#"{"id":1,"type":"subscribe"}"#, Some(1), "channel: missing"),
            (
                r#"{"type":"subscribe","channel":5,"id":2}"#,
                Some(2),
                "channel: invalid type",
            ),
            (
                r#"{"type":"publish","channel":"c","event":"e","id":3}"#,
                Some(3),
                "data: missing",
            ),
            (
                r#"{"type":"subscribe","channel":"c","last":-1,"id":4}"#,
                Some(4),
                "last: invalid value",
            ),
            (r#"{"id":"x","type":"ping"}"#, None, "id: invalid type"),
            (r#"{"id":-1,"type":"ping"}"#, None, "id: invalid value"),
            (r#"{"id":5,"type":"ping"} {}"#, Some(5), "trailing characters"),
            (r#"{"id":5,"type":"#, Some(5), "type: EOF"),
            (
                "[]",
                None,
                "invalid type: sequence, expected an object with a type",
            ),
            ("", None, "EOF"),
        ];
        for (text, id, start) in cases {
            let (got, message) = fails(text);
            assert!(
                got == id && message.starts_with(start),
                "{text}: {got:?} {message}"
            );
        }
    }

    #[test]
    fn deep_nesting_is_an_error_or_data_but_no_overflow() {
        let deep = "[".repeat(100_000);
        assert!(parse(&format!(r#"{{"type":"publish","data":{deep}"#)).is_err());
        assert!(parse(&format!(r#"{{"type":"ping","other":{deep}"#)).is_err());
    }

    proptest! {
        #[test]
        fn any_text_is_a_command_or_an_error(text in any::<String>()) {
            let _ = parse(&text);
        }

        #[test]
        fn any_channel_and_event_come_back(id in any::<u64>(), channel in any::<String>(), event in any::<String>()) {
            let text = serde_json::json!({
                "id": id, "type": "publish", "channel": channel, "event": event, "data": {"n": 1}
            }).to_string();
            let request = parse(&text).expect(&text);
            prop_assert_eq!(request.id, Some(id));
            match request.command {
                Command::Publish { channel: c, event: e, .. } => prop_assert_eq!((c.as_ref(), e.as_ref()), (&*channel, &*event)),
                other => prop_assert!(false, "{:?}", other),
            }
        }
    }
}
