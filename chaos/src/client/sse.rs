//! Server-sent events: one `Last-Event-ID` for all channels.

use anyhow::Context;
use pregon_testkit::SseClient;
use serde_json::Value;

use super::{CONNECT, Me, channel_of};
use crate::record::Seen;

/// The position is kept under this name, because it is one for all.
const ALL: &str = "";

/// Longer than a run: the connection's life is bounded elsewhere.
const EVER: std::time::Duration = std::time::Duration::from_secs(3_600);

/// One stream, until it breaks.
pub(super) async fn session(me: &mut Me) -> anyhow::Result<()> {
    let channels = me.record.channels();
    let names: Vec<String> = channels
        .iter()
        .map(|channel| format!("channel={channel}"))
        .collect();
    let url = format!("http://{}/sse?token={}&{}", me.address, me.token, names.join("&"));
    let last = me.since.get(ALL).cloned();
    let headers: Vec<(&str, &str)> = last.iter().map(|id| ("last-event-id", id.as_str())).collect();
    let stream = SseClient::connect(&url, &headers);
    let mut stream = tokio::time::timeout(CONNECT, stream).await??;
    anyhow::ensure!(stream.status() == 200, "status {}", stream.status());
    loop {
        let block = stream.next_block(EVER).await?;
        if let Some(data) = &block.data {
            let data: Value = serde_json::from_str(data).context("data that is no JSON")?;
            take(me, block.event.as_deref().unwrap_or_default(), &data);
        }
        if let Some(id) = &block.id {
            me.goes_on_at(ALL, id);
        }
    }
}

fn take(me: &mut Me, event: &str, data: &Value) {
    match event {
        "gap" => me.gap(data.get("channel").and_then(Value::as_str), None),
        "error" => {}
        _ => {
            let seen = Seen::named(event, data);
            let channel = channel_of(&seen);
            me.take(&channel, seen, None);
        }
    }
}
