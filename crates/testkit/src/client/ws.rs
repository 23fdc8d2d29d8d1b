//! A WebSocket client for the full protocol and for bare endpoints.
//!
//! Protocol-level pings are answered unseen. A reply that is waited for by [`WsClient::request`] overtakes the messages
//! before it; those wait in order for the next read.

use std::{collections::VecDeque, time::Duration};

use anyhow::Context;
use futures_util::{SinkExt, StreamExt};
use serde_json::{Value, json};
use tokio::{
    net::TcpStream,
    time::{Instant, timeout_at},
};
use tokio_tungstenite::{
    MaybeTlsStream, WebSocketStream, connect_async,
    tungstenite::{self, Message, client::IntoClientRequest},
};

/// For answers that a server owes at once; generous because test machines are loaded.
const PATIENCE: Duration = Duration::from_secs(10);

/// Why there is no connection.
#[derive(Debug, thiserror::Error)]
pub enum ConnectError {
    /// The server answered with something else than an upgrade.
    #[error("refused with HTTP status {status}: {body}")]
    Refused {
        /// The HTTP status.
        status: u16,
        /// The answer's body.
        body: String,
    },
    /// The connection failed.
    #[error("connecting failed")]
    Failed(#[source] Box<tungstenite::Error>),
    /// A URL or header that cannot be sent.
    #[error("bad request: {0}")]
    Request(String),
}

/// An open connection.
#[derive(Debug)]
pub struct WsClient {
    stream: WebSocketStream<MaybeTlsStream<TcpStream>>,
    headers: Vec<(String, String)>,
    waiting: VecDeque<String>,
    pongs: VecDeque<Vec<u8>>,
    close: Option<(u16, String)>,
    ended: bool,
    last_id: u64,
}

enum Incoming {
    Text(String),
    Pong,
    End,
}

impl WsClient {
    /// Opens `ws://…` with further request headers (`sec-websocket-protocol`, `origin`, `cookie`, …).
    pub async fn connect(url: &str, headers: &[(&str, &str)]) -> Result<Self, ConnectError> {
        let bad = |error: &dyn std::fmt::Display| ConnectError::Request(error.to_string());
        let mut request = url.into_client_request().map_err(|error| bad(&error))?;
        for (name, value) in headers {
            let name: ::http::HeaderName = name.parse().map_err(|error| bad(&error))?;
            request
                .headers_mut()
                .insert(name, value.parse().map_err(|error| bad(&error))?);
        }
        let (stream, response) = connect_async(request).await.map_err(|error| match error {
            tungstenite::Error::Http(response) => ConnectError::Refused {
                status: response.status().as_u16(),
                body: String::from_utf8_lossy(response.body().as_deref().unwrap_or_default()).into_owned(),
            },
            other => ConnectError::Failed(Box::new(other)),
        })?;
        let text = |value: &::http::HeaderValue| String::from_utf8_lossy(value.as_bytes()).into_owned();
        let headers = response
            .headers()
            .iter()
            .map(|(name, value)| (name.to_string(), text(value)))
            .collect();
        let (waiting, pongs) = (VecDeque::new(), VecDeque::new());
        Ok(Self {
            stream,
            headers,
            waiting,
            pongs,
            close: None,
            ended: false,
            last_id: 1000,
        })
    }

    /// A header of the upgrade's answer (lower-case name).
    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers
            .iter()
            .find(|(key, _)| key == name)
            .map(|(_, value)| value.as_str())
    }

    /// Sends a text message.
    pub async fn send_text(&mut self, text: &str) -> anyhow::Result<()> {
        Ok(self.stream.send(Message::text(text)).await?)
    }

    /// Sends text messages with one write.
    pub async fn send_texts(&mut self, texts: &[String]) -> anyhow::Result<()> {
        for text in texts {
            self.stream.feed(Message::text(text)).await?;
        }
        Ok(self.stream.flush().await?)
    }

    /// Sends a binary message.
    pub async fn send_binary(&mut self, bytes: &[u8]) -> anyhow::Result<()> {
        Ok(self.stream.send(Message::binary(bytes.to_vec())).await?)
    }

    /// Sends a JSON value as a text message.
    pub async fn send_json(&mut self, value: &Value) -> anyhow::Result<()> {
        self.send_text(&value.to_string()).await
    }

    /// The next text (or binary, as text) message.
    pub async fn next_text(&mut self, timeout: Duration) -> anyhow::Result<String> {
        let deadline = Instant::now() + timeout;
        loop {
            if let Some(text) = self.waiting.pop_front() {
                return Ok(text);
            }
            self.read_on(deadline).await?;
        }
    }

    /// The next message as JSON.
    pub async fn next_json(&mut self, timeout: Duration) -> anyhow::Result<Value> {
        let text = self.next_text(timeout).await?;
        serde_json::from_str(&text).with_context(|| format!("no JSON: {text}"))
    }

    /// The next message of a `type` of the full protocol; others are passed over.
    pub async fn next_of_type(&mut self, kind: &str, timeout: Duration) -> anyhow::Result<Value> {
        let deadline = Instant::now() + timeout;
        let mut passed = Vec::new();
        loop {
            let left = deadline.saturating_duration_since(Instant::now());
            let message = self
                .next_json(left)
                .await
                .with_context(|| format!("no {kind}; passed over {passed:?}"))?;
            if message.get("type").and_then(Value::as_str) == Some(kind) {
                return Ok(message);
            }
            passed.push(message);
        }
    }

    /// Sends a command of the full protocol with an `id` of its own and returns the reply with that `id`.
    pub async fn request(&mut self, mut command: Value) -> anyhow::Result<Value> {
        self.last_id += 1;
        let id = json!(self.last_id);
        command
            .as_object_mut()
            .context("a command is an object")?
            .insert("id".to_owned(), id.clone());
        self.send_json(&command).await?;
        let deadline = Instant::now() + PATIENCE;
        let mut seen = 0;
        loop {
            while let Some(text) = self.waiting.get(seen) {
                let message: Value =
                    serde_json::from_str(text).with_context(|| format!("no JSON: {text}"))?;
                if message.get("id") == Some(&id) {
                    self.waiting.remove(seen);
                    return Ok(message);
                }
                seen += 1;
            }
            self.read_on(deadline)
                .await
                .with_context(|| format!("no reply to {command}"))?;
        }
    }

    /// Subscribes to a channel; the reply must be `ok`.
    pub async fn subscribe(&mut self, channel: &str) -> anyhow::Result<Value> {
        let reply = self
            .request(json!({"type": "subscribe", "channel": channel}))
            .await?;
        anyhow::ensure!(
            reply.get("type") == Some(&json!("ok")),
            "subscribing to {channel}: {reply}"
        );
        Ok(reply)
    }

    /// Full protocol: a `ping` command comes back before anything else does (the server's own pings do not count).
    pub async fn expect_silence(&mut self) -> anyhow::Result<()> {
        self.request(json!({"type": "ping"})).await?;
        let waiting = std::mem::take(&mut self.waiting);
        let ping = |text: &String| {
            serde_json::from_str(text).is_ok_and(|v: Value| v.get("type") == Some(&json!("ping")))
        };
        let others: Vec<_> = waiting.into_iter().filter(|text| !ping(text)).collect();
        anyhow::ensure!(others.is_empty(), "silence was broken by {others:?}");
        Ok(())
    }

    /// Bare endpoint: a protocol-level ping comes back before anything else does.
    pub async fn expect_bare_silence(&mut self) -> anyhow::Result<()> {
        self.last_id += 1;
        let mark = self.last_id.to_string().into_bytes();
        self.stream.send(Message::Ping(mark.clone().into())).await?;
        let deadline = Instant::now() + PATIENCE;
        while self.pongs.pop_front().as_deref() != Some(&mark) {
            if self.pongs.is_empty() {
                self.read_on(deadline).await?;
            }
        }
        anyhow::ensure!(
            self.waiting.is_empty(),
            "silence was broken by {:?}",
            self.waiting
        );
        Ok(())
    }

    /// Waits for the server's close and returns its code and reason, `None` if it ended without one.
    pub async fn close_code(&mut self, timeout: Duration) -> anyhow::Result<Option<(u16, String)>> {
        let deadline = Instant::now() + timeout;
        while !self.ended {
            let text = self.receive(deadline).await.context("waiting for the close")?;
            if let Incoming::Text(text) = text {
                self.waiting.push_back(text);
            }
        }
        Ok(self.close.clone())
    }

    /// Closes from our side and waits until the server has closed as well.
    pub async fn close(&mut self) -> anyhow::Result<()> {
        self.stream.close(None).await?;
        self.close_code(PATIENCE).await.map(drop)
    }

    async fn read_on(&mut self, deadline: Instant) -> anyhow::Result<()> {
        match self.receive(deadline).await? {
            Incoming::Text(text) => self.waiting.push_back(text),
            Incoming::Pong => {}
            Incoming::End => anyhow::bail!("the connection ended with {:?}", self.close),
        }
        Ok(())
    }

    async fn receive(&mut self, deadline: Instant) -> anyhow::Result<Incoming> {
        if self.ended {
            return Ok(Incoming::End);
        }
        let message = timeout_at(deadline, self.stream.next())
            .await
            .context("nothing came in time")?;
        Ok(match message {
            Some(Ok(Message::Text(text))) => Incoming::Text(text.to_string()),
            Some(Ok(Message::Binary(bytes))) => Incoming::Text(String::from_utf8_lossy(&bytes).into_owned()),
            Some(Ok(Message::Pong(bytes))) => {
                self.pongs.push_back(bytes.to_vec());
                Incoming::Pong
            }
            Some(Ok(Message::Close(frame))) => {
                self.close = frame.map(|frame| (u16::from(frame.code), frame.reason.to_string()));
                let _ = self.stream.flush().await; // our half of the closing handshake
                self.ended = true;
                Incoming::End
            }
            Some(Ok(_)) => Incoming::Pong,
            Some(Err(_)) | None => {
                self.ended = true;
                Incoming::End
            }
        })
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::indexing_slicing, clippy::panic)]
    use tokio::net::TcpListener;
    use tokio_tungstenite::{
        accept_async,
        tungstenite::protocol::{CloseFrame, frame::coding::CloseCode},
    };

    use super::*;

    const SOON: Duration = Duration::from_secs(10);

    /// Answers commands with `ok`; `publish` sends an event before its reply; `bye` closes with 4001.
    async fn server() -> String {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("ws://{}/ws", listener.local_addr().unwrap());
        tokio::spawn(async move {
            let (stream, _) = listener.accept().await.unwrap();
            let mut socket = accept_async(stream).await.unwrap();
            while let Some(Ok(message)) = socket.next().await {
                let Message::Text(text) = message else { continue };
                let command: Value = serde_json::from_str(&text).unwrap();
                if command["type"] == "bye" {
                    let reason = "resume".into();
                    let _ = socket
                        .close(Some(CloseFrame {
                            code: CloseCode::Library(4001),
                            reason,
                        }))
                        .await;
                    continue;
                }
                if command["type"] == "publish" {
                    socket
                        .send(Message::text(r#"{"type":"event","data":1}"#))
                        .await
                        .unwrap();
                }
                let reply = json!({"id": command["id"], "type": "ok"});
                socket.send(Message::text(reply.to_string())).await.unwrap();
            }
        });
        url
    }

    #[tokio::test]
    async fn a_reply_overtakes_and_the_event_waits() {
        let mut client = WsClient::connect(&server().await, &[]).await.unwrap();
        client.subscribe("c").await.unwrap();
        client.request(json!({"type": "publish"})).await.unwrap();
        assert_eq!(client.next_of_type("event", SOON).await.unwrap()["data"], 1);
        client.expect_silence().await.unwrap();
        client.expect_bare_silence().await.unwrap();
    }

    #[tokio::test]
    async fn broken_silence_is_noticed() {
        let mut client = WsClient::connect(&server().await, &[]).await.unwrap();
        client.request(json!({"type": "publish"})).await.unwrap();
        assert!(
            client
                .expect_bare_silence()
                .await
                .unwrap_err()
                .to_string()
                .contains("event")
        );
        assert!(client.expect_silence().await.is_err());
    }

    #[tokio::test]
    async fn the_close_has_its_code() {
        let mut client = WsClient::connect(&server().await, &[]).await.unwrap();
        client.send_json(&json!({"type": "bye"})).await.unwrap();
        assert_eq!(
            client.close_code(SOON).await.unwrap(),
            Some((4001, "resume".to_owned()))
        );
        assert!(
            client
                .next_text(SOON)
                .await
                .unwrap_err()
                .to_string()
                .contains("4001")
        );
    }

    #[tokio::test]
    async fn a_refusal_has_its_status() {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("ws://{}/ws", listener.local_addr().unwrap());
        tokio::spawn(async move {
            let (mut stream, _) = listener.accept().await.unwrap();
            let answer = b"HTTP/1.1 401 Unauthorized\r\ncontent-length: 5\r\n\r\ntoken";
            tokio::io::AsyncReadExt::read(&mut stream, &mut [0; 4096])
                .await
                .unwrap();
            tokio::io::AsyncWriteExt::write_all(&mut stream, answer)
                .await
                .unwrap();
        });
        let refused = WsClient::connect(&url, &[("origin", "http://a")])
            .await
            .unwrap_err();
        assert!(
            matches!(refused, ConnectError::Refused { status: 401, .. }),
            "{refused}"
        );
    }
}
