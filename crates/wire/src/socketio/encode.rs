//! Packets of the server as whole Engine.IO messages, appended to a buffer.
//! A namespace here is one that [`super::is_namespace`] accepts; data is JSON, empty stands for `null`.

use std::io::Write as _;

use super::packet::ROOT;
use crate::plain::write_json_str;

/// What stands before the array of an event or an ack.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Head<'a> {
    /// Where the client hears it.
    pub namespace: &'a str,
    /// For an event: asks the client for an answer. For an ack: the event that it answers.
    pub ack: Option<u64>,
    /// How many binary messages will follow; with any, the packet is of a binary kind.
    pub attachments: usize,
}

impl<'a> Head<'a> {
    /// A packet without an ack id and attachments.
    pub const fn new(namespace: &'a str) -> Self {
        Self {
            namespace,
            ack: None,
            attachments: 0,
        }
    }
}

/// The client is in the namespace. `pid` is the secret of connection state recovery, absent when that is off.
pub fn encode_connect(namespace: &str, sid: &str, pid: Option<&str>, out: &mut Vec<u8>) {
    open(b'0', namespace, out);
    out.extend_from_slice(br#"{"sid":"#);
    write_json_str(sid, out);
    if let Some(pid) = pid {
        out.extend_from_slice(br#","pid":"#);
        write_json_str(pid, out);
    }
    out.push(b'}');
}

/// The client may not enter the namespace; it gets an `Error` with this message and data.
pub fn encode_connect_error(namespace: &str, message: &str, data: Option<&[u8]>, out: &mut Vec<u8>) {
    open(b'4', namespace, out);
    out.extend_from_slice(br#"{"message":"#);
    write_json_str(message, out);
    if let Some(data) = data {
        out.extend_from_slice(br#","data":"#);
        raw(data, out);
    }
    out.push(b'}');
}

/// The client is no longer in the namespace, and does not try to come back.
pub fn encode_disconnect(namespace: &str, out: &mut Vec<u8>) {
    open(b'1', namespace, out);
}

/// One entry of the log. With recovery on, `offset` goes behind the data, where clients look for it.
pub fn encode_event(namespace: &str, event: &str, data: &[u8], offset: Option<&str>, out: &mut Vec<u8>) {
    // The fixed letters are 9 and a comma each; the rest is slack for what escaping adds.
    out.reserve(24 + namespace.len() + event.len() + data.len() + offset.map_or(0, str::len));
    encode_event_args(&Head::new(namespace), event, [data], offset, out);
}

/// An event with any number of arguments.
pub fn encode_event_args<'a>(
    head: &Head<'_>,
    event: &str,
    args: impl IntoIterator<Item = &'a [u8]>,
    offset: Option<&str>,
    out: &mut Vec<u8>,
) {
    open_array(b'2', b'5', head, out);
    write_json_str(event, out);
    for arg in args {
        out.push(b',');
        raw(arg, out);
    }
    if let Some(offset) = offset {
        out.push(b',');
        write_json_str(offset, out);
    }
    out.push(b']');
}

/// The answer to the event whose id `head.ack` has.
pub fn encode_ack<'a>(head: &Head<'_>, args: impl IntoIterator<Item = &'a [u8]>, out: &mut Vec<u8>) {
    open_array(b'3', b'6', head, out);
    for (index, arg) in args.into_iter().enumerate() {
        if index > 0 {
            out.push(b',');
        }
        raw(arg, out);
    }
    out.push(b']');
}

/// Appends what stands in the data for attachment `num`.
pub fn write_placeholder(num: usize, out: &mut Vec<u8>) {
    let _ = write!(out, r#"{{"_placeholder":true,"num":{num}}}"#);
}

/// `4` of Engine.IO, the type, the namespace.
fn open(kind: u8, namespace: &str, out: &mut Vec<u8>) {
    out.extend_from_slice(&[b'4', kind]);
    write_namespace(namespace, out);
}

fn open_array(plain: u8, binary: u8, head: &Head<'_>, out: &mut Vec<u8>) {
    if head.attachments == 0 {
        out.extend_from_slice(&[b'4', plain]);
    } else {
        out.extend_from_slice(&[b'4', binary]);
        let _ = write!(out, "{}-", head.attachments);
    }
    write_namespace(head.namespace, out);
    if let Some(id) = head.ack {
        let _ = write!(out, "{id}");
    }
    out.push(b'[');
}

fn write_namespace(namespace: &str, out: &mut Vec<u8>) {
    if namespace != ROOT {
        out.extend_from_slice(namespace.as_bytes());
        out.push(b',');
    }
}

fn raw(json: &[u8], out: &mut Vec<u8>) {
    out.extend_from_slice(if json.is_empty() { b"null" } else { json });
}
