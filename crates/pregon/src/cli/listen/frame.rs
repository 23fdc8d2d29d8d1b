//! A text frame of a gateway, read leniently: what is not known is ignored. Pure.

use std::borrow::Cow;

use serde::Deserialize;
use serde_json::value::RawValue;

/// Every field that the frames we act on have.
#[derive(Debug, Deserialize)]
pub(super) struct Frame<'f> {
    #[serde(rename = "type", borrow)]
    pub(super) kind: Cow<'f, str>,
    #[serde(borrow)]
    pub(super) channel: Option<Cow<'f, str>>,
    #[serde(borrow)]
    pub(super) event: Option<Cow<'f, str>>,
    #[serde(borrow)]
    pub(super) data: Option<&'f RawValue>,
    #[serde(borrow)]
    pub(super) position: Option<Cow<'f, str>>,
    #[serde(default)]
    pub(super) replayed: bool,
    #[serde(borrow)]
    pub(super) reason: Option<Cow<'f, str>>,
    pub(super) code: Option<u16>,
    #[serde(borrow)]
    pub(super) message: Option<Cow<'f, str>>,
    pub(super) recovered: Option<bool>,
}

impl<'f> Frame<'f> {
    pub(super) fn parse(text: &'f str) -> Option<Self> {
        serde_json::from_str(text).ok()
    }
}

/// The command that follows a channel, from a position on if there is one.
pub(super) fn subscribe(id: usize, channel: &str, since: Option<&str>) -> String {
    let mut command = serde_json::json!({ "id": id, "type": "subscribe", "channel": channel });
    if let (Some(since), Some(command)) = (since, command.as_object_mut()) {
        command.insert("since".into(), since.into());
    }
    command.to_string()
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;

    #[test]
    fn data_stays_as_it_was_written() {
        let frame = r#"{"type":"event","channel":"c\u0041","event":"e","data":{"b" : 1.10},"position":"x-1","time":"t","new":1}"#;
        let frame = Frame::parse(frame).unwrap();
        assert_eq!(
            (frame.channel.as_deref(), frame.data.unwrap().get()),
            (Some("cA"), r#"{"b" : 1.10}"#)
        );
        assert!(Frame::parse("hola").is_none());
        assert!(Frame::parse(r#"{"data":1}"#).is_none());
    }

    #[test]
    fn a_position_is_sent_where_there_is_one() {
        assert_eq!(
            subscribe(1, "c", None),
            r#"{"channel":"c","id":1,"type":"subscribe"}"#
        );
        assert!(subscribe(1, "c", Some("x-1")).contains(r#""since":"x-1""#));
    }
}
