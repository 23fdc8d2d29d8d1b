//! Lines of a client.

use std::borrow::Cow;
use std::collections::BTreeMap;

use serde::Deserialize;
use serde_json::value::RawValue;

/// One command with the number that its reply carries; 0 where the client wants none.
#[derive(Debug)]
pub struct Request<'a> {
    pub id: u64,
    pub word: Word<'a>,
}

/// A place in a channel's stream: the epoch is opaque to clients.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Point {
    pub epoch: String,
    pub offset: u64,
}

/// What a client begins with.
#[derive(Debug, PartialEq, Eq)]
pub struct Connect<'a> {
    pub token: Option<Cow<'a, str>>,
    /// Where it was in the channels that the server had subscribed it to.
    pub recover: Vec<(String, Point)>,
}

/// What a client says.
#[derive(Debug)]
pub enum Word<'a> {
    Connect(Connect<'a>),
    Subscribe {
        channel: Cow<'a, str>,
        /// It has everything up to there, and wants the rest.
        recover: Option<Point>,
    },
    Unsubscribe {
        channel: Cow<'a, str>,
    },
    Publish {
        channel: Cow<'a, str>,
        data: &'a RawValue,
    },
    Presence {
        channel: Cow<'a, str>,
    },
    PresenceStats {
        channel: Cow<'a, str>,
    },
    Refresh {
        token: Cow<'a, str>,
    },
    /// A pong, or a message that has no reply.
    Nothing,
    /// A command that this server does not offer: calls, history, maps, filters.
    Unavailable,
}

/// A line that is not a command.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct BadRequest(String);

/// Reads one line.
///
/// # Errors
///
/// It is not JSON, or a field has another type than the protocol says.
pub fn parse(line: &str) -> Result<Request<'_>, BadRequest> {
    let command: Command<'_> = serde_json::from_str(line).map_err(|error| BadRequest(error.to_string()))?;
    let id = command.id;
    let word = command.word()?;
    Ok(Request { id, word })
}

#[derive(Deserialize)]
struct Command<'a> {
    #[serde(default)]
    id: u64,
    #[serde(borrow)]
    connect: Option<RawConnect<'a>>,
    #[serde(borrow)]
    subscribe: Option<RawSubscribe<'a>>,
    #[serde(borrow)]
    unsubscribe: Option<OfChannel<'a>>,
    #[serde(borrow)]
    publish: Option<RawPublish<'a>>,
    #[serde(borrow)]
    presence: Option<OfChannel<'a>>,
    #[serde(borrow)]
    presence_stats: Option<OfChannel<'a>>,
    #[serde(borrow)]
    refresh: Option<RawRefresh<'a>>,
}

#[derive(Deserialize)]
struct RawConnect<'a> {
    #[serde(borrow)]
    token: Option<Cow<'a, str>>,
    #[serde(default)]
    subs: BTreeMap<String, RawPoint>,
}

#[derive(Deserialize)]
struct RawPoint {
    #[serde(default)]
    recover: bool,
    #[serde(default)]
    epoch: String,
    #[serde(default)]
    offset: u64,
}

#[derive(Deserialize)]
struct RawSubscribe<'a> {
    #[serde(borrow)]
    channel: Cow<'a, str>,
    #[serde(default)]
    recover: bool,
    #[serde(default)]
    epoch: String,
    #[serde(default)]
    offset: u64,
    /// A filter of tags. To pass it over would show more than was asked for.
    #[serde(borrow)]
    tf: Option<&'a RawValue>,
    /// Streams are 0; maps and shared polls are others.
    #[serde(default, rename = "type")]
    kind: u32,
}

#[derive(Deserialize)]
struct OfChannel<'a> {
    #[serde(borrow)]
    channel: Cow<'a, str>,
}

#[derive(Deserialize)]
struct RawPublish<'a> {
    #[serde(borrow)]
    channel: Cow<'a, str>,
    #[serde(borrow)]
    data: &'a RawValue,
}

#[derive(Deserialize)]
struct RawRefresh<'a> {
    #[serde(borrow)]
    token: Cow<'a, str>,
}

impl RawPoint {
    fn asked(self) -> Option<Point> {
        self.recover.then_some(Point {
            epoch: self.epoch,
            offset: self.offset,
        })
    }
}

impl<'a> Command<'a> {
    fn word(self) -> Result<Word<'a>, BadRequest> {
        if let Some(RawConnect { token, subs }) = self.connect {
            let asked = |(channel, point): (String, RawPoint)| Some((channel, point.asked()?));
            return Ok(Word::Connect(Connect {
                token: token.filter(|token| !token.is_empty()),
                recover: subs.into_iter().filter_map(asked).collect(),
            }));
        }
        if let Some(subscribe) = self.subscribe {
            let RawSubscribe {
                recover,
                epoch,
                offset,
                ..
            } = subscribe;
            let point = RawPoint {
                recover,
                epoch,
                offset,
            };
            return Ok(match (subscribe.tf, subscribe.kind) {
                (None, 0) => Word::Subscribe {
                    channel: subscribe.channel,
                    recover: point.asked(),
                },
                _ => Word::Unavailable,
            });
        }
        if let Some(OfChannel { channel }) = self.unsubscribe {
            return Ok(Word::Unsubscribe { channel });
        }
        if let Some(RawPublish { channel, data }) = self.publish {
            return Ok(Word::Publish { channel, data });
        }
        if let Some(OfChannel { channel }) = self.presence {
            return Ok(Word::Presence { channel });
        }
        if let Some(OfChannel { channel }) = self.presence_stats {
            return Ok(Word::PresenceStats { channel });
        }
        if let Some(RawRefresh { token }) = self.refresh {
            return Ok(Word::Refresh { token });
        }
        // Without a number nobody waits for a reply.
        Ok(if self.id == 0 {
            Word::Nothing
        } else {
            Word::Unavailable
        })
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::panic)]
    use proptest::prelude::*;

    use super::*;

    /// As centrifuge 5.8.0 sends it.
    #[test]
    fn a_connect_has_its_token_and_the_places_of_server_side_subscriptions() {
        let line = r##"{"connect":{"token":"T2","name":"js","subs":{"#ana":{"recover":true,"offset":1000,"epoch":"9f2c11d0"},"new":{}}},"id":10}"##;
        let request = parse(line).unwrap();
        let Word::Connect(connect) = request.word else {
            panic!("{request:?}")
        };
        let point = Point {
            epoch: "9f2c11d0".into(),
            offset: 1000,
        };
        assert_eq!((request.id, connect.token.as_deref()), (10, Some("T2")));
        assert_eq!(connect.recover, [(String::from("#ana"), point)]);
    }

    #[test]
    fn a_subscribe_may_name_a_place() {
        let place = |line: &str| match parse(line).unwrap().word {
            Word::Subscribe { channel, recover } => (channel.into_owned(), recover),
            word => panic!("{word:?}"),
        };
        let fresh = place(r#"{"subscribe":{"channel":"orders","flag":1},"id":2}"#);
        assert_eq!(fresh, ("orders".into(), None));
        let lost = place(r#"{"subscribe":{"channel":"orders","recover":true,"epoch":"_"},"id":2}"#);
        let nowhere = Point {
            epoch: "_".into(),
            offset: 0,
        };
        assert_eq!(lost, ("orders".into(), Some(nowhere)));
    }

    #[test]
    fn what_is_not_offered_is_told_and_what_needs_no_reply_is_nothing() {
        fn word(line: &str) -> Word<'_> {
            parse(line).unwrap().word
        }
        for line in [
            r#"{"id":3,"rpc":{"method":"x"}}"#,
            r#"{"id":3,"history":{"channel":"c"}}"#,
            r#"{"id":3,"subscribe":{"channel":"c","type":1}}"#,
            r#"{"id":3,"subscribe":{"channel":"c","tf":{"op":"eq"}}}"#,
        ] {
            assert!(matches!(word(line), Word::Unavailable), "{line}");
        }
        for line in ["{}", r#"{"send":{"data":1}}"#] {
            assert!(matches!(word(line), Word::Nothing), "{line}");
        }
        assert!(parse("{").is_err() && parse(r#"{"id":"x"}"#).is_err());
    }

    proptest! {
        #[test]
        fn any_line_is_taken(line in ".{0,200}") {
            let _ = parse(&line);
        }
    }
}
