//! Reads what the triggers and `pregon.publish` put on the NOTIFY channel. Pure; runs on the task that reads the socket, so
//! it only cuts the payload into pieces and never parses a row.

use std::borrow::Cow;
use std::collections::HashMap;
use std::sync::Arc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use bytes::Bytes;
use serde::Deserialize;
use serde_json::value::RawValue;

use crate::change::{Change, Op};
use crate::fault::Fault;

/// The NOTIFY channel of our own payloads.
pub const CHANNEL: &str = "pregon";

/// The table of a watch: what a fetch by key reads.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct WatchTable {
    pub schema: String,
    pub table: String,
    /// The chosen columns; all of them if absent.
    pub columns: Option<Vec<String>>,
    /// SQL over the row's columns; a row for which it is not true is never read.
    pub condition: Option<String>,
}

/// Watches by name.
pub type Watches = HashMap<Arc<str>, WatchTable>;

/// One payload, cut into pieces.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Decoded {
    /// A whole change.
    Change(Change),
    /// A row that did not fit; its key as a JSON object.
    Key { change: Change, key: Bytes },
    /// Too big even so: the payload lies in `pregon.stored` under this id.
    Stored { id: i64 },
    /// From `pregon.publish`.
    Published {
        channel: String,
        event: String,
        data: Bytes,
        seq: u64,
        at: Option<SystemTime>,
    },
    /// The trigger could not render the row.
    RenderError { watch: Arc<str>, fault: Fault },
    /// A watch of another gateway on the same database.
    Foreign { watch: String },
    /// Not written by our SQL: any role may NOTIFY on any channel.
    Malformed,
}

#[derive(Deserialize)]
struct Payload<'a> {
    #[serde(borrow, default)]
    w: Option<Cow<'a, str>>,
    #[serde(default)]
    s: u64,
    #[serde(default)]
    t: Option<u64>,
    #[serde(borrow, default)]
    op: Option<Cow<'a, str>>,
    #[serde(borrow, default)]
    n: Option<&'a RawValue>,
    #[serde(borrow, default)]
    o: Option<&'a RawValue>,
    #[serde(borrow, default)]
    k: Option<&'a RawValue>,
    #[serde(rename = "ref", default)]
    reference: Option<i64>,
    #[serde(borrow, default)]
    err: Option<Cow<'a, str>>,
    #[serde(borrow, default)]
    c: Option<Cow<'a, str>>,
    #[serde(borrow, default)]
    e: Option<Cow<'a, str>>,
    #[serde(borrow, default)]
    d: Option<&'a RawValue>,
}

/// Cuts one payload of the channel [`CHANNEL`] into pieces. Never panics, whatever somebody notified.
pub fn decode(payload: &str, watches: &Watches) -> Decoded {
    let Ok(payload) = serde_json::from_str::<Payload<'_>>(payload) else {
        return Decoded::Malformed;
    };
    if let Some(id) = payload.reference {
        return Decoded::Stored { id };
    }
    let at = payload
        .t
        .and_then(|micros| UNIX_EPOCH.checked_add(Duration::from_micros(micros)));
    match (payload.w.as_deref(), payload.c.as_deref()) {
        (Some(name), _) => decode_watch(&payload, name, at, watches),
        (None, Some(channel)) => Decoded::Published {
            channel: channel.to_owned(),
            event: payload.e.as_deref().unwrap_or_default().to_owned(),
            data: payload.d.map_or(Bytes::from_static(b"null"), raw),
            seq: payload.s,
            at,
        },
        (None, None) => Decoded::Malformed,
    }
}

fn decode_watch(payload: &Payload<'_>, name: &str, at: Option<SystemTime>, watches: &Watches) -> Decoded {
    let Some((watch, _)) = watches.get_key_value(name) else {
        return Decoded::Foreign {
            watch: name.to_owned(),
        };
    };
    let watch = Arc::clone(watch);
    if let Some(text) = &payload.err {
        return Decoded::RenderError {
            watch,
            fault: Fault::coded(text),
        };
    }
    let Some(op) = payload.op.as_deref().and_then(Op::from_code) else {
        return Decoded::Malformed;
    };
    let change = Change {
        watch,
        op,
        row: payload.n.map(raw),
        old: payload.o.map(raw),
        fetched: false,
        seq: payload.s,
        at,
    };
    match payload.k {
        Some(key) => Decoded::Key {
            change,
            key: raw(key),
        },
        None => Decoded::Change(change),
    }
}

fn raw(value: &RawValue) -> Bytes {
    Bytes::copy_from_slice(value.get().as_bytes())
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::indexing_slicing, clippy::panic)]
    use super::*;
    use proptest::prelude::*;

    fn watches() -> Watches {
        let table = WatchTable {
            schema: "public".into(),
            table: "ventas".into(),
            ..WatchTable::default()
        };
        Watches::from([(Arc::from("ventas"), table)])
    }

    #[test]
    fn a_change_keeps_the_rows_text() {
        let decoded = decode(
            r#"{"w":"ventas","s":7,"t":1500000,"op":"U","n":{"total": 1.50,"b":null},"o":{"total":1}}"#,
            &watches(),
        );
        let Decoded::Change(change) = decoded else {
            panic!("{decoded:?}")
        };
        assert_eq!(change.op, Op::Update);
        assert_eq!(change.row.unwrap(), r#"{"total": 1.50,"b":null}"#);
        assert_eq!(change.old.unwrap(), r#"{"total":1}"#);
        assert_eq!(change.seq, 7);
        assert_eq!(change.at, Some(UNIX_EPOCH + Duration::from_millis(1500)));
    }

    #[test]
    fn keys_references_and_errors_are_told_apart() {
        let key = decode(r#"{"w":"ventas","s":1,"t":1,"op":"I","k":{"id":5}}"#, &watches());
        assert!(matches!(key, Decoded::Key { key, .. } if key == r#"{"id":5}"#));
        assert_eq!(
            decode(r#"{"s":1,"t":1,"ref":9}"#, &watches()),
            Decoded::Stored { id: 9 }
        );
        let error = decode(
            r#"{"w":"ventas","s":1,"t":1,"op":"I","err":"22P05 \"x\""}"#,
            &watches(),
        );
        assert!(matches!(error, Decoded::RenderError { fault, .. } if fault.whole() == "22P05 \"x\""));
        let foreign = decode(r#"{"w":"other","s":1,"op":"I","n":{}}"#, &watches());
        assert_eq!(
            foreign,
            Decoded::Foreign {
                watch: "other".into()
            }
        );
    }

    #[test]
    fn a_publish_may_carry_null() {
        let decoded = decode(r#"{"c":"a b","e":"x","s":2,"t":3,"d":null}"#, &watches());
        let Decoded::Published { channel, data, .. } = decoded else {
            panic!("{decoded:?}")
        };
        assert_eq!((channel.as_str(), &data[..]), ("a b", &b"null"[..]));
    }

    proptest! {
        #[test]
        fn nothing_that_anybody_notifies_panics(text in ".{0,200}") {
            let _ = decode(&text, &watches());
        }
    }
}
