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

/// One unnamed message without an id: JSON of the full protocol, which carries its own positions.
pub fn message(json: &[u8], out: &mut Vec<u8>) {
    data_lines(json, out);
    out.push(b'\n');
}

/// Something up to `to` may be missing; the block's id is `to`, so the client resumes behind the gap.
pub fn gap(channel: Option<&str>, from: Option<&str>, to: &str, reason: GapReason, out: &mut Vec<u8>) {
    line("id", to, out);
    out.extend_from_slice(b"event: gap\ndata: {");
    gap_fields(channel, from, to, reason, out);
    out.extend_from_slice(b"}\n\n");
}

/// A comment against idle proxies, then a block of an id alone, which moves the client's resume position without an event.
pub fn keep_alive(position: &str, out: &mut Vec<u8>) {
    out.extend_from_slice(b":\n\n");
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

    /// What a browser would make of the stream: (id, event, data) of each block, as WHATWG HTML §9.2.6 says.
    fn blocks(stream: &str) -> Vec<(String, String, Option<String>)> {
        let unified = stream.replace("\r\n", "\n").replace('\r', "\n");
        let mut found = Vec::new();
        for block in unified.split_terminator("\n\n") {
            let (mut id, mut event, mut data) = (String::new(), String::new(), None::<String>);
            for line in block.split('\n') {
                let (name, value) = line.split_once(':').unwrap_or((line, ""));
                let value = value.strip_prefix(' ').unwrap_or(value);
                match name {
                    "id" => id = value.to_owned(),
                    "event" => event = value.to_owned(),
                    "data" => {
                        data = Some(match data {
                            Some(before) => format!("{before}\n{value}"),
                            None => value.to_owned(),
                        });
                    }
                    _ => {}
                }
            }
            found.push((id, event, data));
        }
        found
    }

    #[test]
    fn blocks_are_spelled_as_the_contract_says() {
        let cases = [
            (
                text(|out| event("e-1", Some("message:new"), br#"{"a":1}"#, out)),
                "id: e-1\nevent: message:new\ndata: {\"a\":1}\n\n",
            ),
            (text(|out| event("e-1", None, b"x", out)), "id: e-1\ndata: x\n\n"),
            (text(|out| event("e-1", None, b"", out)), "id: e-1\ndata: \n\n"),
            (
                text(|out| event("e-1", None, b"a\r\nb\rc\n\nd", out)),
                "id: e-1\ndata: a\ndata: b\ndata: c\ndata: \ndata: d\n\n",
            ),
            (
                text(|out| gap(Some("c"), None, "e-2", GapReason::Source, out)),
                "id: e-2\nevent: gap\n\
                 data: {\"channel\":\"c\",\"from\":null,\"to\":\"e-2\",\"reason\":\"source\"}\n\n",
            ),
            (text(|out| keep_alive("e-3", out)), ":\n\nid: e-3\n\n"),
            (text(|out| retry(2500, out)), "retry: 2500\n\n"),
            (
                text(|out| error(&codes::FORBIDDEN, "no\nway", out)),
                "event: error\ndata: {\"code\":103,\"name\":\"forbidden\",\"message\":\"no\\nway\"}\n\n",
            ),
        ];
        for (got, wanted) in cases {
            assert_eq!(got, wanted);
        }
    }

    proptest! {
        #[test]
        fn any_event_is_one_block_whose_data_comes_back(
            id in "[^\r\n\0]{0,8}", name in ".{0,8}", data in "[a:\\r\\n ]{0,40}"
        ) {
            let stream = text(|out| event(&id, Some(&name), data.as_bytes(), out));
            let joined = data.replace("\r\n", "\n").replace('\r', "\n");
            let safe = name.replace(['\r', '\n', '\0'], " ");
            prop_assert_eq!(blocks(&stream), vec![(id, safe, Some(joined))]);
        }
    }
}
