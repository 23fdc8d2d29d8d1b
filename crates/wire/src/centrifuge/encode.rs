//! Replies and pushes as JSON text, appended to a buffer. One call writes one object without a line break.

use std::io::Write as _;

use super::{Ending, Failure, Method};
use crate::plain::write_json_str;

/// How a subscription begins.
#[derive(Debug, Clone, Copy)]
pub struct Subscribed<'a> {
    /// Opaque to the client: it says it again when it comes back.
    pub epoch: &'a str,
    pub offset: u64,
    /// Set where the client asked for what it missed: whether it gets all of it.
    pub recovered: Option<bool>,
    /// Publications as [`publication`] writes them, with commas between.
    pub publications: &'a [u8],
}

/// How a connection begins.
#[derive(Debug, Clone, Copy)]
pub struct Connected<'a> {
    pub client: &'a str,
    /// Seconds between two pings.
    pub ping: u64,
    /// Seconds until the client has to show a fresh token.
    pub ttl: Option<u64>,
}

/// The answer to a connect, with the channels that the server subscribes the client to.
pub fn connected<'a>(
    id: u64,
    connected: Connected<'_>,
    subscribed: impl Iterator<Item = (&'a str, Subscribed<'a>)>,
    out: &mut Vec<u8>,
) {
    result(id, Method::Connect, out);
    client(connected.client, connected.ttl, out);
    let _ = write!(out, r#","ping":{},"pong":true"#, connected.ping);
    let mut separator = br#","subs":{"#.as_slice();
    let mut any = false;
    for (channel, begun) in subscribed {
        out.extend_from_slice(separator);
        write_json_str(channel, out);
        out.push(b':');
        subscription(begun, out);
        (separator, any) = (b",", true);
    }
    out.extend_from_slice(if any { b"}}}" } else { b"}}" });
}

/// The answer to a fresh token.
pub fn refreshed(id: u64, name: &str, ttl: Option<u64>, out: &mut Vec<u8>) {
    result(id, Method::Refresh, out);
    client(name, ttl, out);
    out.extend_from_slice(b"}}");
}

fn client(name: &str, ttl: Option<u64>, out: &mut Vec<u8>) {
    out.extend_from_slice(br#"{"client":"#);
    write_json_str(name, out);
    let _ = write!(out, r#","version":"pregon {}""#, env!("CARGO_PKG_VERSION"));
    if let Some(ttl) = ttl {
        let _ = write!(out, r#","expires":true,"ttl":{ttl}"#);
    }
}

/// The answer to a subscribe.
pub fn subscribed(id: u64, begun: Subscribed<'_>, out: &mut Vec<u8>) {
    result(id, Method::Subscribe, out);
    subscription(begun, out);
    out.push(b'}');
}

fn subscription(begun: Subscribed<'_>, out: &mut Vec<u8>) {
    out.extend_from_slice(br#"{"recoverable":true,"positioned":true,"epoch":"#);
    write_json_str(begun.epoch, out);
    let _ = write!(out, r#","offset":{}"#, begun.offset);
    if let Some(recovered) = begun.recovered {
        let _ = write!(out, r#","was_recovering":true,"recovered":{recovered}"#);
    }
    if !begun.publications.is_empty() {
        out.extend_from_slice(br#","publications":["#);
        out.extend_from_slice(begun.publications);
        out.push(b']');
    }
    out.push(b'}');
}

/// A command was done.
pub fn done(id: u64, method: Method, out: &mut Vec<u8>) {
    result(id, method, out);
    out.extend_from_slice(b"{}}");
}

/// Who follows a channel; the protocol has an id and a user for each, and here they are the same name.
pub fn presence<'a>(id: u64, clients: impl Iterator<Item = &'a str>, out: &mut Vec<u8>) {
    result(id, Method::Presence, out);
    out.extend_from_slice(br#"{"presence":{"#);
    for (place, name) in clients.enumerate() {
        if place > 0 {
            out.push(b',');
        }
        write_json_str(name, out);
        out.push(b':');
        info(name, out);
    }
    out.extend_from_slice(b"}}}");
}

/// How many follow a channel.
pub fn presence_stats(id: u64, clients: usize, out: &mut Vec<u8>) {
    result(id, Method::PresenceStats, out);
    let _ = write!(out, r#"{{"num_clients":{clients},"num_users":{clients}}}}}"#);
}

/// A command failed. `message` is for a person; the client goes by the number.
pub fn error(id: u64, failure: Failure, message: &str, out: &mut Vec<u8>) {
    let _ = write!(out, r#"{{"id":{id},"error":{{"code":{},"message":"#, failure.code);
    let message = if message.is_empty() {
        failure.message
    } else {
        message
    };
    write_json_str(message, out);
    out.extend_from_slice(if failure.temporary {
        br#","temporary":true}}"#
    } else {
        b"}}"
    });
}

/// A publication. The protocol has no place for the name of an event: it is a tag.
pub fn publication(offset: u64, event: &str, data: &[u8], out: &mut Vec<u8>) {
    out.reserve(64 + event.len() + data.len());
    let _ = write!(out, r#"{{"offset":{offset},"data":"#);
    out.extend_from_slice(if data.is_empty() { b"null" } else { data });
    out.extend_from_slice(br#","tags":{"event":"#);
    write_json_str(event, out);
    out.extend_from_slice(b"}}");
}

/// A publication of a channel.
pub fn push_publication(channel: &str, offset: u64, event: &str, data: &[u8], out: &mut Vec<u8>) {
    push(channel, out);
    out.extend_from_slice(br#","pub":"#);
    publication(offset, event, data, out);
    out.extend_from_slice(b"}}");
}

/// Somebody began or ceased to follow a channel.
pub fn push_member(channel: &str, name: &str, joined: bool, out: &mut Vec<u8>) {
    push(channel, out);
    out.extend_from_slice(if joined {
        br#","join":{"info":"#
    } else {
        br#","leave":{"info":"#
    });
    info(name, out);
    out.extend_from_slice(b"}}}");
}

/// A subscription has ended.
pub fn push_unsubscribe(channel: &str, ending: Ending, out: &mut Vec<u8>) {
    push(channel, out);
    let _ = write!(out, r#","unsubscribe":{{"code":{},"reason":"#, ending.code);
    write_json_str(ending.reason, out);
    out.extend_from_slice(b"}}}");
}

fn push(channel: &str, out: &mut Vec<u8>) {
    out.extend_from_slice(br#"{"push":{"channel":"#);
    write_json_str(channel, out);
}

fn info(name: &str, out: &mut Vec<u8>) {
    out.extend_from_slice(br#"{"client":"#);
    write_json_str(name, out);
    out.extend_from_slice(br#","user":"#);
    write_json_str(name, out);
    out.push(b'}');
}

/// Begins a reply up to its result.
fn result(id: u64, method: Method, out: &mut Vec<u8>) {
    let _ = write!(out, r#"{{"id":{id},"{}":"#, method.name());
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    fn text(write: impl FnOnce(&mut Vec<u8>)) -> String {
        let mut out = Vec::new();
        write(&mut out);
        let _: serde_json::Value = serde_json::from_slice(&out).unwrap();
        String::from_utf8(out).unwrap()
    }

    const BEGUN: Subscribed<'_> = Subscribed {
        epoch: "9f2c11d0",
        offset: 1000,
        recovered: None,
        publications: b"",
    };

    #[test]
    fn golden_replies() {
        let hello = Connected {
            client: "c1",
            ping: 25,
            ttl: Some(60),
        };
        let version = env!("CARGO_PKG_VERSION");
        assert_eq!(
            text(|out| connected(1, hello, [("#ana", BEGUN)].into_iter(), out)),
            format!(
                r##"{{"id":1,"connect":{{"client":"c1","version":"pregon {version}","expires":true,"ttl":60,"ping":25,"pong":true,"subs":{{"#ana":{{"recoverable":true,"positioned":true,"epoch":"9f2c11d0","offset":1000}}}}}}}}"##
            )
        );
        let mut missed = Vec::new();
        publication(7, "insert", br#"{"a":1}"#, &mut missed);
        let begun = Subscribed {
            recovered: Some(true),
            publications: &missed,
            ..BEGUN
        };
        assert_eq!(
            text(|out| subscribed(2, begun, out)),
            r#"{"id":2,"subscribe":{"recoverable":true,"positioned":true,"epoch":"9f2c11d0","offset":1000,"was_recovering":true,"recovered":true,"publications":[{"offset":7,"data":{"a":1},"tags":{"event":"insert"}}]}}"#
        );
        assert_eq!(
            text(|out| done(3, Method::Publish, out)),
            r#"{"id":3,"publish":{}}"#
        );
        assert_eq!(
            text(|out| error(4, Failure::TOO_MANY_REQUESTS, "", out)),
            r#"{"id":4,"error":{"code":111,"message":"too many requests","temporary":true}}"#
        );
        assert_eq!(
            text(|out| presence(5, ["a", "b"].into_iter(), out)),
            r#"{"id":5,"presence":{"presence":{"a":{"client":"a","user":"a"},"b":{"client":"b","user":"b"}}}}"#
        );
        assert_eq!(
            text(|out| presence_stats(6, 2, out)),
            r#"{"id":6,"presence_stats":{"num_clients":2,"num_users":2}}"#
        );
    }

    #[test]
    fn golden_pushes() {
        assert_eq!(
            text(|out| push_publication("orders", 7, "insert", b"", out)),
            r#"{"push":{"channel":"orders","pub":{"offset":7,"data":null,"tags":{"event":"insert"}}}}"#
        );
        assert_eq!(
            text(|out| push_member("orders", "ana", true, out)),
            r#"{"push":{"channel":"orders","join":{"info":{"client":"ana","user":"ana"}}}}"#
        );
        assert_eq!(
            text(|out| push_unsubscribe("orders", Ending::INSUFFICIENT_STATE, out)),
            r#"{"push":{"channel":"orders","unsubscribe":{"code":2500,"reason":"insufficient state"}}}"#
        );
    }
}
