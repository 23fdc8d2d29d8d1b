//! Words of the session as JSON text, appended to a buffer.

use std::io::Write as _;

use crate::{Code, GapReason};

/// The first message of a connection: who it is, where the log stands, what it follows already.
pub fn welcome<'a>(
    session: &str,
    position: &str,
    channels: impl Iterator<Item = &'a str>,
    out: &mut Vec<u8>,
) {
    out.extend_from_slice(br#"{"type":"welcome""#);
    text_field("session", session, out);
    text_field("position", position, out);
    list_field("channels", channels, out);
    out.push(b'}');
}

/// A command was done.
pub fn ok(id: Option<u64>, out: &mut Vec<u8>) {
    open_reply(id, "ok", out);
    out.push(b'}');
}

/// A subscribe was done; `recovered` tells whether everything since the asked position follows or came before, `stands_for`
/// by which channels' names events arrive, where the asked name is not one of them.
pub fn ok_subscribed<'a>(
    id: Option<u64>,
    position: &str,
    recovered: bool,
    stands_for: Option<impl Iterator<Item = &'a str>>,
    out: &mut Vec<u8>,
) {
    open_reply(id, "ok", out);
    text_field("position", position, out);
    out.extend_from_slice(if recovered {
        br#","recovered":true"#
    } else {
        br#","recovered":false"#
    });
    if let Some(channels) = stands_for {
        list_field("channels", channels, out);
    }
    out.push(b'}');
}

/// A publish is in the log at `position`.
pub fn ok_published(id: Option<u64>, position: &str, out: &mut Vec<u8>) {
    open_reply(id, "ok", out);
    text_field("position", position, out);
    out.push(b'}');
}

/// Who follows the channel now; `next` is the last of them if there are more.
pub fn ok_presence<'a>(
    id: Option<u64>,
    clients: impl Iterator<Item = &'a str>,
    next: Option<&str>,
    out: &mut Vec<u8>,
) {
    open_reply(id, "ok", out);
    list_field("clients", clients, out);
    if let Some(next) = next {
        text_field("next", next, out);
    }
    out.push(b'}');
}

/// A command failed.
pub fn error(id: Option<u64>, code: &Code, message: &str, out: &mut Vec<u8>) {
    open_reply(id, "error", out);
    error_fields(code, message, out);
    out.push(b'}');
}

/// A channel was taken from the session, which had not asked anything.
pub fn lost(channel: &str, code: &Code, message: &str, out: &mut Vec<u8>) {
    open_reply(None, "error", out);
    error_fields(code, message, out);
    text_field("channel", channel, out);
    out.push(b'}');
}

/// One entry of the log. `data` is raw JSON; empty stands for `null`.
pub fn event(
    channel: &str,
    event: &str,
    data: &[u8],
    position: &str,
    time: &str,
    replayed: bool,
    out: &mut Vec<u8>,
) {
    // The fixed words are 64 bytes; the rest is slack for what escaping adds.
    out.reserve(96 + channel.len() + event.len() + data.len() + position.len() + time.len());
    out.extend_from_slice(br#"{"type":"event""#);
    text_field("channel", channel, out);
    text_field("event", event, out);
    out.extend_from_slice(br#","data":"#);
    out.extend_from_slice(if data.is_empty() { b"null" } else { data });
    text_field("position", position, out);
    text_field("time", time, out);
    out.extend_from_slice(if replayed { br#","replayed":true}"# } else { b"}" });
}

/// Something between `from` and `to` may be missing: the client reloads. No channel means all of them.
pub fn gap(channel: Option<&str>, from: Option<&str>, to: &str, reason: GapReason, out: &mut Vec<u8>) {
    out.extend_from_slice(br#"{"type":"gap","#);
    gap_fields(channel, from, to, reason, out);
    out.push(b'}');
}

/// The gap as an object without a type, for protocols that name their events.
pub fn gap_object(channel: Option<&str>, from: Option<&str>, to: &str, reason: GapReason, out: &mut Vec<u8>) {
    out.push(b'{');
    gap_fields(channel, from, to, reason, out);
    out.push(b'}');
}

/// A member of a channel as an object, for protocols that name their events.
pub fn member(channel: &str, client: &str, out: &mut Vec<u8>) {
    out.extend_from_slice(br#"{"channel":"#);
    write_json_str(channel, out);
    text_field("client", client, out);
    out.push(b'}');
}

/// A client began to follow the channel.
pub fn join(channel: &str, client: &str, out: &mut Vec<u8>) {
    presence_change("join", channel, client, out);
}

/// A client no longer follows the channel.
pub fn leave(channel: &str, client: &str, out: &mut Vec<u8>) {
    presence_change("leave", channel, client, out);
}

/// Keep-alive that moves the client's resume position.
pub fn ping(position: &str, out: &mut Vec<u8>) {
    out.extend_from_slice(br#"{"type":"ping""#);
    text_field("position", position, out);
    out.push(b'}');
}

/// Appends `text` as a JSON string with its quotes.
pub fn write_json_str(text: &str, out: &mut Vec<u8>) {
    out.reserve(text.len() + 2);
    out.push(b'"');
    let mut rest = text.as_bytes();
    while let Some(at) = rest.iter().position(|&byte| needs_escape(byte)) {
        let (clean, from) = rest.split_at(at);
        out.extend_from_slice(clean);
        if let Some((&byte, after)) = from.split_first() {
            write_escaped(byte, out);
            rest = after;
        }
    }
    out.extend_from_slice(rest);
    out.push(b'"');
}

/// The fields of a gap, without braces; SSE sends the same ones.
pub(crate) fn gap_fields(
    channel: Option<&str>,
    from: Option<&str>,
    to: &str,
    reason: GapReason,
    out: &mut Vec<u8>,
) {
    out.extend_from_slice(br#""channel":"#);
    text_or_null(channel, out);
    out.extend_from_slice(br#","from":"#);
    text_or_null(from, out);
    text_field("to", to, out);
    text_field("reason", reason.as_str(), out);
}

/// Appends `,"name":"value"`; `name` is one of ours and needs no escape.
pub(crate) fn text_field(name: &'static str, value: &str, out: &mut Vec<u8>) {
    field_name(name, out);
    write_json_str(value, out);
}

fn error_fields(code: &Code, message: &str, out: &mut Vec<u8>) {
    let _ = write!(out, r#","code":{}"#, code.number);
    text_field("name", code.name, out);
    text_field("message", message, out);
}

fn presence_change(kind: &'static str, channel: &str, client: &str, out: &mut Vec<u8>) {
    let _ = write!(out, r#"{{"type":"{kind}""#);
    text_field("channel", channel, out);
    text_field("client", client, out);
    out.push(b'}');
}

fn open_reply(id: Option<u64>, kind: &'static str, out: &mut Vec<u8>) {
    let _ = match id {
        Some(id) => write!(out, r#"{{"id":{id},"type":"{kind}""#),
        None => write!(out, r#"{{"type":"{kind}""#),
    };
}

fn field_name(name: &'static str, out: &mut Vec<u8>) {
    out.extend_from_slice(b",\"");
    out.extend_from_slice(name.as_bytes());
    out.extend_from_slice(b"\":");
}

fn list_field<'a>(name: &'static str, items: impl Iterator<Item = &'a str>, out: &mut Vec<u8>) {
    field_name(name, out);
    out.push(b'[');
    for (index, item) in items.enumerate() {
        if index > 0 {
            out.push(b',');
        }
        write_json_str(item, out);
    }
    out.push(b']');
}

fn text_or_null(text: Option<&str>, out: &mut Vec<u8>) {
    match text {
        Some(text) => write_json_str(text, out),
        None => out.extend_from_slice(b"null"),
    }
}

const fn needs_escape(byte: u8) -> bool {
    byte < 0x20 || byte == b'"' || byte == b'\\'
}

fn write_escaped(byte: u8, out: &mut Vec<u8>) {
    let short = match byte {
        b'"' | b'\\' => byte,
        b'\n' => b'n',
        b'\r' => b'r',
        b'\t' => b't',
        _ => {
            let _ = write!(out, "\\u{byte:04x}");
            return;
        }
    };
    out.extend_from_slice(&[b'\\', short]);
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::codes;

    fn text(write: impl FnOnce(&mut Vec<u8>)) -> String {
        let mut out = Vec::new();
        write(&mut out);
        String::from_utf8(out).expect("encoders write text")
    }

    #[test]
    fn messages_are_spelled_as_the_contract_says() {
        let cases = [
            (
                text(|out| welcome("s1", "e-7", ["a", "b\"c"].into_iter(), out)),
                r#"{"type":"welcome","session":"s1","position":"e-7","channels":["a","b\"c"]}"#,
            ),
            (text(|out| ok(Some(3), out)), r#"{"id":3,"type":"ok"}"#),
            (text(|out| ok(None, out)), r#"{"type":"ok"}"#),
            (
                text(|out| ok_subscribed(Some(2), "e-7", true, None::<std::iter::Empty<_>>, out)),
                r#"{"id":2,"type":"ok","position":"e-7","recovered":true}"#,
            ),
            (
                text(|out| ok_subscribed(Some(2), "e-7", false, Some(["a"].into_iter()), out)),
                r#"{"id":2,"type":"ok","position":"e-7","recovered":false,"channels":["a"]}"#,
            ),
            (
                text(|out| ok_published(Some(4), "e-8", out)),
                r#"{"id":4,"type":"ok","position":"e-8"}"#,
            ),
            (
                text(|out| ok_presence(Some(5), std::iter::empty(), None, out)),
                r#"{"id":5,"type":"ok","clients":[]}"#,
            ),
            (
                text(|out| ok_presence(Some(5), ["a"].into_iter(), Some("a"), out)),
                r#"{"id":5,"type":"ok","clients":["a"],"next":"a"}"#,
            ),
            (
                text(|out| error(Some(2), &codes::FORBIDDEN, "no", out)),
                r#"{"id":2,"type":"error","code":103,"name":"forbidden","message":"no"}"#,
            ),
            (
                text(|out| lost("c", &codes::FORBIDDEN, "no", out)),
                r#"{"type":"error","code":103,"name":"forbidden","message":"no","channel":"c"}"#,
            ),
            (
                text(|out| join("c", "x", out)),
                r#"{"type":"join","channel":"c","client":"x"}"#,
            ),
            (
                text(|out| leave("c", "x", out)),
                r#"{"type":"leave","channel":"c","client":"x"}"#,
            ),
            (
                text(|out| ping("e-9", out)),
                r#"{"type":"ping","position":"e-9"}"#,
            ),
        ];
        for (got, wanted) in cases {
            assert_eq!(got, wanted);
        }
    }

    #[test]
    fn events_carry_raw_data_and_gaps_may_name_no_channel() {
        let live = text(|out| event("c", "e", br#"{"a": 1}"#, "e-1", "T", false, out));
        let wanted =
            r#"{"type":"event","channel":"c","event":"e","data":{"a": 1},"position":"e-1","time":"T"}"#;
        assert_eq!(live, wanted);
        let old = text(|out| event("c", "e", b"", "e-1", "T", true, out));
        assert!(old.contains(r#""data":null,"#) && old.ends_with(r#","replayed":true}"#));
        assert_eq!(
            text(|out| gap(None, None, "e-3", GapReason::Restart, out)),
            r#"{"type":"gap","channel":null,"from":null,"to":"e-3","reason":"restart"}"#
        );
        assert_eq!(
            text(|out| gap(Some("c"), Some("e-1"), "e-3", GapReason::Pruned, out)),
            r#"{"type":"gap","channel":"c","from":"e-1","to":"e-3","reason":"pruned"}"#
        );
    }

    proptest! {
        #[test]
        fn any_string_comes_back_through_a_json_parser(input in any::<String>()) {
            let json = text(|out| write_json_str(&input, out));
            prop_assert_eq!(serde_json::from_str::<String>(&json).ok(), Some(input));
        }
    }
}
