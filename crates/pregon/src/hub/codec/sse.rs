//! Server-sent events, as an `EventSource` reads them.

use bytes::Bytes;
use pregon_wire::codes::Code;
use pregon_wire::{plain, sse};

use super::{Encoder, OwnGap};
use crate::log::{Body, Entry};

/// Tells an `EventSource` how long to wait before it connects again, milliseconds.
const RETRY: u64 = 1000;

impl Encoder {
    pub(super) fn sse(channel: &str, entry: &Entry, out: &mut Vec<u8>) {
        match &entry.body {
            Body::Publication { event, data, .. } => {
                sse::event(&entry.position, Some(event), data.raw(), out)
            }
            Body::Gap(gap) => {
                sse::gap(
                    Some(channel),
                    Some(&gap.from.to_string()),
                    &entry.position,
                    gap.reason,
                    out,
                );
            }
            Body::Member { client, joined, .. } => {
                let mut json = Vec::new();
                plain::member(channel, client, &mut json);
                let name = if *joined { "join" } else { "leave" };
                sse::event(&entry.position, Some(name), &json, out);
            }
        }
    }

    pub(super) fn sse_gap(gap: &OwnGap<'_>, out: &mut Vec<u8>) {
        let from = gap.from.map(|position| position.to_string());
        sse::gap(
            Some(gap.channel),
            from.as_deref(),
            &gap.to.to_string(),
            gap.reason,
            out,
        );
    }
}

/// The first words of a stream.
pub(super) fn first_words() -> Bytes {
    let mut out = Vec::new();
    sse::retry(RETRY, &mut out);
    out.into()
}

/// The last event of a stream: the error that ended it.
pub(super) fn farewell(code: &'static Code, message: &str) -> Bytes {
    let mut out = Vec::new();
    if !code.retry {
        // A reconnect with this id is answered with 204, which ends an `EventSource` for good.
        out.extend_from_slice(b"id: stop\n");
    }
    let message = if message.is_empty() { code.help } else { message };
    sse::error(code, message, &mut out);
    out.into()
}
