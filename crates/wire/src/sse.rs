//! Server-sent events (WHATWG HTML §9.2): blocks of `id`, `event` and `data` lines.
//! `id` is a position, so that a browser resumes by itself. Names and ids can never break out of their line.

use std::io::Write as _;

use crate::plain::encode::gap_fields;
use crate::plain::write_json_str;
use crate::{Code, GapReason};

/// One event. Data with line breaks becomes several `data:` lines, which the client joins with `\n`.
pub fn event(id: &str, event: Option<&str>, data: &[u8], out: &mut Vec<u8>) {
    out.reserve(32 + id.len() + event.map_or(0, str::len) + data.len());
    line("id", id, out);
    if let Some(event) = event {
        line("event", event, out);
    }
    data_lines(data, out);
    out.push(b'\n');
}

/// Something up to `to` may be missing; the block's id is `to`, so the client resumes behind the gap.
pub fn gap(
    channel: Option<&str>,
    from: Option<&str>,
    to: &str,
    reason: GapReason,
    out: &mut Vec<u8>,
) {
    line("id", to, out);
    out.extend_from_slice(b"event: gap\ndata: {");
    gap_fields(channel, from, to, reason, out);
    out.extend_from_slice(b"}\n\n");
}

/// A comment against idle proxies and an id that moves the client's resume position without an event.
pub fn keep_alive(position: &str, out: &mut Vec<u8>) {
    out.extend_from_slice(b":\n");
    line("id", position, out);
    out.push(b'\n');
}

/// How long the client waits before it reconnects.
pub fn retry(ms: u64, out: &mut Vec<u8>) {
    let _ = write!(out, "retry: {ms}\n\n");
}

/// A failure that the client should know of before the stream ends.
pub fn error(code: &Code, message: &str, out: &mut Vec<u8>) {
    let _ = write!(
        out,
        "event: error\ndata: {{\"code\":{},\"name\":\"{}\",\"message\":",
        code.number, code.name
    );
    write_json_str(message, out);
    out.extend_from_slice(b"}\n\n");
}

/// `name: value`, with what could end the line (or void an id: NUL) made a space.
fn line(name: &'static str, value: &str, out: &mut Vec<u8>) {
    out.extend_from_slice(name.as_bytes());
    out.extend_from_slice(b": ");
    out.extend(value.bytes().map(|byte| {
        if matches!(byte, b'\r' | b'\n' | 0) {
            b' '
        } else {
            byte
        }
    }));
    out.push(b'\n');
}

fn data_lines(data: &[u8], out: &mut Vec<u8>) {
    let mut rest = data;
    loop {
        let end = rest.iter().position(|&byte| byte == b'\n' || byte == b'\r');
        let (text, after) = rest.split_at(end.unwrap_or(rest.len()));
        out.extend_from_slice(b"data: ");
        out.extend_from_slice(text);
        out.push(b'\n');
        rest = match after {
            [] => return,
            [b'\r', b'\n', next @ ..] | [_, next @ ..] => next,
        };
    }
}
