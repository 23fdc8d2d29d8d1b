//! The full protocol over WebSocket: a position for each channel, subscribes with `since`.

use anyhow::Context;
use hashbrown::HashSet;
use pregon_testkit::WsClient;
use serde_json::{Value, json};

use super::{CONNECT, Me};
use crate::record::Seen;

/// Longer than a run: the connection's life is bounded elsewhere.
const EVER: std::time::Duration = std::time::Duration::from_secs(3_600);

/// One connection, until it breaks.
pub(super) async fn session(me: &mut Me) -> anyhow::Result<()> {
    let url = format!("ws://{}/ws?token={}", me.address, me.token);
    let mut socket = tokio::time::timeout(CONNECT, WsClient::connect(&url, &[])).await??;
    let channels = me.record.channels();
    for (id, channel) in channels.iter().enumerate() {
        // Without a position `since` is null, which is as good as none.
        let since = me.since.get(channel);
        let command = json!({"id": id, "type": "subscribe", "channel": channel, "since": since});
        socket.send_json(&command).await?;
    }
    let forbidden = json!({"id": channels.len(), "type": "subscribe", "channel": me.forbidden});
    socket.send_json(&forbidden).await?;
    let mut followed = HashSet::new();
    loop {
        let message = socket.next_json(EVER).await?;
        take(me, &channels, &mut followed, &message)?;
    }
}

fn take(
    me: &mut Me,
    channels: &[String],
    followed: &mut HashSet<String>,
    message: &Value,
) -> anyhow::Result<()> {
    let text = |name: &str| message.get(name).and_then(Value::as_str);
    match text("type") {
        Some("event") => {
            let channel = text("channel").context("a channel")?;
            let seen = Seen::event(channel, message.get("data").unwrap_or(&Value::Null));
            me.take(channel, seen, text("position"));
        }
        Some("gap") => me.gap(text("channel"), text("to")),
        Some("ping") => {
            let position = text("position").context("a position")?;
            for channel in followed.iter() {
                me.goes_on_at(channel, position);
            }
        }
        Some("ok") => replied(me, channels, followed, message),
        _ => {}
    }
    Ok(())
}

fn replied(me: &mut Me, channels: &[String], followed: &mut HashSet<String>, message: &Value) {
    let id = message.get("id").and_then(Value::as_u64);
    let Some(index) = id.and_then(|id| usize::try_from(id).ok()) else {
        return;
    };
    let Some(channel) = channels.get(index) else {
        me.record.let_in += 1;
        return;
    };
    if message.get("recovered") == Some(&json!(true)) {
        me.record.recovered += 1;
    }
    if let Some(position) = message.get("position").and_then(Value::as_str) {
        me.goes_on_at(channel, position);
    }
    followed.insert(channel.clone());
}
