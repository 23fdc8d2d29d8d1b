//! Socket.IO over a WebSocket, with connection state recovery; a session that is not recovered subscribes anew with `since`.

use anyhow::Context;
use hashbrown::HashSet;
use pregon_testkit::WsClient;
use serde_json::{Value, json};

use super::{CONNECT, Me, channel_of, others};
use crate::record::Seen;

/// Longer than a run: the connection's life is bounded elsewhere.
const EVER: std::time::Duration = std::time::Duration::from_secs(3_600);

/// What the client keeps of its session for the next connection.
#[derive(Debug, Default)]
pub(super) struct Kept {
    pid: Option<String>,
    offset: Option<String>,
    /// Channels whose subscribe was acknowledged in this session.
    followed: HashSet<String>,
    /// Channels that were asked for, in the order of the acknowledgements' numbers.
    asked: Vec<String>,
}

/// One connection, until it breaks.
pub(super) async fn session(me: &mut Me, kept: &mut Kept) -> anyhow::Result<()> {
    let url = format!("ws://{}/socket.io/?EIO=4&transport=websocket", me.address);
    let mut socket = tokio::time::timeout(CONNECT, WsClient::connect(&url, &[])).await??;
    kept.asked.clear();
    loop {
        let packet = socket.next_text(EVER).await?;
        if packet == "2" {
            socket.send_text("3").await?;
        } else if packet.starts_with('0') {
            socket.send_text(&connect(me, kept)).await?;
        } else if let Some(answer) = packet.strip_prefix("40") {
            welcomed(me, kept, &serde_json::from_str(answer)?);
            subscribe(me, kept, &mut socket).await?;
        } else if let Some(event) = packet.strip_prefix("42") {
            take(me, kept, &serde_json::from_str(event)?);
        } else if let Some(ack) = packet.strip_prefix("43") {
            acknowledged(me, kept, ack)?;
        } else {
            anyhow::bail!("the server says {packet}");
        }
    }
}

fn connect(me: &Me, kept: &Kept) -> String {
    let auth = match (&kept.pid, &kept.offset) {
        (Some(pid), Some(offset)) => json!({"token": me.token, "pid": pid, "offset": offset}),
        _ => json!({"token": me.token}),
    };
    format!("40{auth}")
}

/// A new session has its own secret: whoever has the same one as before was recovered, with what it missed.
fn welcomed(me: &mut Me, kept: &mut Kept, answer: &Value) {
    let pid = answer.get("pid").and_then(Value::as_str).map(str::to_owned);
    if pid.is_some() && pid == kept.pid {
        me.record.recovered += 1;
        return;
    }
    kept.pid = pid;
    kept.offset = None;
    kept.followed.clear();
}

async fn subscribe(me: &mut Me, kept: &mut Kept, socket: &mut WsClient) -> anyhow::Result<()> {
    kept.asked = others(me.record.channels(), &kept.followed);
    kept.asked.push(me.forbidden.clone());
    for (id, channel) in kept.asked.iter().enumerate() {
        let words = match me.since.get(channel) {
            Some(since) => json!(["subscribe", channel, {"since": since}]),
            None => json!(["subscribe", channel]),
        };
        socket.send_text(&format!("42{id}{words}")).await?;
    }
    Ok(())
}

fn take(me: &mut Me, kept: &mut Kept, event: &Value) {
    let name = event.get(0).and_then(Value::as_str).unwrap_or_default();
    let data = event.get(1).unwrap_or(&Value::Null);
    let position = event.get(2).and_then(Value::as_str);
    if let Some(position) = position {
        kept.offset = Some(position.to_owned());
    }
    match name {
        "gap" => me.gap(
            data.get("channel").and_then(Value::as_str),
            data.get("to").and_then(Value::as_str),
        ),
        "error" => {}
        _ => {
            let seen = Seen::named(name, data);
            let channel = channel_of(&seen);
            me.take(&channel, seen, position);
        }
    }
}

/// The past travels in the answer to a subscribe.
fn acknowledged(me: &mut Me, kept: &mut Kept, ack: &str) -> anyhow::Result<()> {
    let start = ack.find('[').context("an acknowledgement without arguments")?;
    let (id, args) = ack.split_at(start);
    let args: Value = serde_json::from_str(args)?;
    let answer = args.get(0).context("an answer")?;
    let channel = kept
        .asked
        .get(id.parse::<usize>()?)
        .cloned()
        .context("an answer to nothing")?;
    if answer.get("ok") != Some(&json!(true)) {
        anyhow::ensure!(channel == me.forbidden, "{channel}: {answer}");
        return Ok(());
    }
    if channel == me.forbidden {
        me.record.let_in += 1;
        return Ok(());
    }
    let asked_since = me.since.contains_key(&channel);
    if asked_since && answer.get("recovered") != Some(&json!(true)) {
        me.gap(Some(&channel), None);
    }
    for event in answer
        .get("history")
        .and_then(Value::as_array)
        .into_iter()
        .flatten()
    {
        let seen = Seen::event(&channel, event.get("data").unwrap_or(&Value::Null));
        me.take(&channel, seen, event.get("position").and_then(Value::as_str));
    }
    if let Some(position) = answer.get("position").and_then(Value::as_str) {
        me.goes_on_at(&channel, position);
    }
    kept.followed.insert(channel);
    Ok(())
}
