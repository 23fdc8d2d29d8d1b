//! The events by which a Socket.IO client speaks to the gateway, and what they are answered with.
//!
//! `subscribe`, `unsubscribe`, `publish` and `presence` are commands; every other name is an event of the application.
//! Answers travel in the ack; a client that wants none asks for none.

use std::borrow::Cow;

use serde::Deserialize;

use super::packet::{Event, read_text};
use crate::Code;
use crate::plain::write_json_str;
use crate::words::Command;

/// What an event asks for, or which argument is wrong.
pub fn command<'a>(event: Event<'a>) -> Result<Command<'a>, &'static str> {
    let mut args = event.args;
    match event.name.as_ref() {
        "subscribe" => {
            let channel = text(args.next(), "subscribe wants the name of a channel")?;
            let wrong = "the second argument of subscribe is {since: position or period, last: number}";
            let from = args
                .next()
                .map_or(Ok(From::default()), |json| From::read(json, wrong))?;
            Ok(Command::Subscribe {
                channel,
                since: from.since,
                last: from.last,
            })
        }
        "unsubscribe" => Ok(Command::Unsubscribe {
            channel: text(args.next(), "unsubscribe wants the name of a channel")?,
        }),
        "presence" => {
            let channel = text(args.next(), "presence wants the name of a channel")?;
            let wrong = "the second argument of presence is {since: the last client of the answer before}";
            let from = args
                .next()
                .map_or(Ok(From::default()), |json| From::read(json, wrong))?;
            Ok(Command::Presence {
                channel,
                since: from.since,
            })
        }
        "publish" => Ok(Command::Publish {
            channel: text(args.next(), "publish wants a channel, an event and data")?,
            event: text(args.next(), "publish wants an event behind the channel")?,
            data: args.next().unwrap_or("null"),
        }),
        _ => Ok(Command::Emit {
            event: event.name,
            args: args.as_str(),
        }),
    }
}

fn text<'a>(arg: Option<&'a str>, wanted: &'static str) -> Result<Cow<'a, str>, &'static str> {
    arg.and_then(read_text).ok_or(wanted)
}

/// `{since, last}` behind the channel of a subscribe, `{since}` behind that of a presence.
#[derive(Deserialize, Default)]
#[serde(default)]
struct From<'a> {
    #[serde(borrow)]
    since: Option<Cow<'a, str>>,
    last: Option<u32>,
}

impl<'a> From<'a> {
    fn read(json: &'a str, wrong: &'static str) -> Result<Self, &'static str> {
        if json == "null" {
            return Ok(Self::default());
        }
        serde_json::from_str(json).map_err(|_| wrong)
    }
}

/// A command was done.
pub fn ok(out: &mut Vec<u8>) {
    out.extend_from_slice(br#"{"ok":true}"#);
}

/// A subscribe was done. `history` is what the client asked for of the past: JSON objects with commas between.
pub fn ok_subscribed(position: &str, recovered: bool, history: Option<&[u8]>, out: &mut Vec<u8>) {
    out.extend_from_slice(br#"{"ok":true,"position":"#);
    write_json_str(position, out);
    out.extend_from_slice(if recovered {
        br#","recovered":true"#
    } else {
        br#","recovered":false"#
    });
    if let Some(history) = history {
        out.extend_from_slice(br#","history":["#);
        out.extend_from_slice(history);
        out.push(b']');
    }
    out.push(b'}');
}

/// A publish is in the log at `position`.
pub fn ok_published(position: &str, out: &mut Vec<u8>) {
    out.extend_from_slice(br#"{"ok":true,"position":"#);
    write_json_str(position, out);
    out.push(b'}');
}

/// Who follows the channel now; `next` is the last of them if there are more.
pub fn ok_presence<'a>(clients: impl Iterator<Item = &'a str>, next: Option<&str>, out: &mut Vec<u8>) {
    out.extend_from_slice(br#"{"ok":true,"clients":["#);
    for (index, client) in clients.enumerate() {
        if index > 0 {
            out.push(b',');
        }
        write_json_str(client, out);
    }
    out.push(b']');
    if let Some(next) = next {
        out.extend_from_slice(br#","next":"#);
        write_json_str(next, out);
    }
    out.push(b'}');
}

/// A command failed. It is also the `data` of a connect error.
pub fn error(code: &Code, message: &str, out: &mut Vec<u8>) {
    out.extend_from_slice(br#"{"error":"#);
    write_json_str(code.name, out);
    out.extend_from_slice(format!(r#","code":{},"message":"#, code.number).as_bytes());
    write_json_str(message, out);
    out.push(b'}');
}

#[cfg(test)]
mod tests {
    use super::super::parse;
    use super::*;

    fn read(packet: &str) -> Result<Command<'_>, &'static str> {
        let event = parse(packet).ok().and_then(|packet| packet.event());
        event.map_or(Err("no event"), command)
    }

    #[test]
    fn events_are_commands_or_the_applications_own() {
        let subscribe = |since, last| Command::Subscribe {
            channel: "c".into(),
            since,
            last,
        };
        assert_eq!(read(r#"2["subscribe","c"]"#), Ok(subscribe(None, None)));
        assert_eq!(read(r#"21["subscribe","c",null]"#), Ok(subscribe(None, None)));
        assert_eq!(
            read(r#"2["subscribe","c",{"since":"5m","last":3}]"#),
            Ok(subscribe(Some("5m".into()), Some(3)))
        );
        assert_eq!(
            read(r#"2["publish","c","e",{"a":[1,2]},9]"#),
            Ok(Command::Publish {
                channel: "c".into(),
                event: "e".into(),
                data: r#"{"a":[1,2]}"#
            })
        );
        assert_eq!(
            read(r#"2["typing",{"room":"x"},1]"#),
            Ok(Command::Emit {
                event: "typing".into(),
                args: r#"{"room":"x"},1"#
            })
        );
        assert_eq!(
            read(r#"2["presence","c"]"#),
            Ok(Command::Presence {
                channel: "c".into(),
                since: None
            })
        );
        assert_eq!(
            read(r#"2["presence","c",{"since":"ana"}]"#),
            Ok(Command::Presence {
                channel: "c".into(),
                since: Some("ana".into())
            })
        );
        assert_eq!(
            read(r#"2["unsubscribe","c"]"#),
            Ok(Command::Unsubscribe { channel: "c".into() })
        );
    }

    #[test]
    fn wrong_arguments_are_named() {
        for wrong in [
            r#"2["subscribe"]"#,
            r#"2["subscribe",7]"#,
            r#"2["subscribe","c",{"last":-1}]"#,
            r#"2["subscribe","c","5m"]"#,
            r#"2["publish","c"]"#,
            r#"2["publish","c",{}]"#,
            r#"2["presence",null]"#,
            r#"2["presence","c",{"since":7}]"#,
            r#"2["unsubscribe",["c"]]"#,
        ] {
            assert!(read(wrong).is_err_and(|message| message.contains(' ')), "{wrong}");
        }
    }

    #[test]
    fn answers_are_objects() {
        let text = |write: &dyn Fn(&mut Vec<u8>)| {
            let mut out = Vec::new();
            write(&mut out);
            String::from_utf8(out).expect("encoders write text")
        };
        assert_eq!(
            text(&|out| ok_subscribed("p", true, Some(b"{}"), out)),
            r#"{"ok":true,"position":"p","recovered":true,"history":[{}]}"#
        );
        assert_eq!(
            text(&|out| ok_published("p", out)),
            r#"{"ok":true,"position":"p"}"#
        );
        assert_eq!(
            text(&|out| ok_presence(["a", "b"].into_iter(), None, out)),
            r#"{"ok":true,"clients":["a","b"]}"#
        );
        assert_eq!(
            text(&|out| error(&crate::codes::FORBIDDEN, "no", out)),
            r#"{"error":"forbidden","code":103,"message":"no"}"#
        );
    }
}
