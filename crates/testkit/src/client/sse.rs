//! A Server-Sent-Events client that keeps what a browser's hides: comments, id-only blocks and the raw text.

use std::{collections::VecDeque, time::Duration};

use anyhow::Context;
use serde_json::Value;
use tokio::time::{Instant, timeout_at};

use super::http::{self, Body, Head};

/// One block of the stream, up to its empty line.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Block {
    /// `id:`
    pub id: Option<String>,
    /// `event:`
    pub event: Option<String>,
    /// All `data:` lines, joined by line feeds.
    pub data: Option<String>,
    /// `retry:`
    pub retry: Option<String>,
    /// Comment lines.
    pub comments: Vec<String>,
}

impl Block {
    /// The data read as JSON.
    pub fn json(&self) -> anyhow::Result<Value> {
        let data = self.data.as_deref().context("a block without data")?;
        serde_json::from_str(data).with_context(|| format!("no JSON: {data}"))
    }

    fn parse(text: &str) -> Self {
        let mut block = Self::default();
        for line in text.lines().filter(|line| !line.is_empty()) {
            let (field, value) = line.split_once(':').unwrap_or((line, ""));
            let value = value.strip_prefix(' ').unwrap_or(value).to_owned();
            match field {
                "" => block.comments.push(value),
                "id" => block.id = Some(value),
                "event" => block.event = Some(value),
                "retry" => block.retry = Some(value),
                "data" => match &mut block.data {
                    Some(data) => *data = format!("{data}\n{value}"),
                    None => block.data = Some(value),
                },
                _ => {}
            }
        }
        block
    }
}

/// An open stream.
#[derive(Debug)]
pub struct SseClient {
    head: Head,
    body: Body,
    raw: String,
    pending: Vec<u8>,
    blocks: VecDeque<Block>,
    last_id: Option<String>,
}

impl SseClient {
    /// Opens the stream; look at [`SseClient::status`], a refusal is not an error.
    pub async fn connect(url: &str, headers: &[(&str, &str)]) -> anyhow::Result<Self> {
        let mut all = vec![("accept", "text/event-stream")];
        all.extend_from_slice(headers);
        let (head, body) = http::open("GET", url, &all, b"").await?;
        let (raw, pending, blocks) = (String::new(), Vec::new(), VecDeque::new());
        Ok(Self {
            head,
            body,
            raw,
            pending,
            blocks,
            last_id: None,
        })
    }

    /// The answer's status.
    pub fn status(&self) -> u16 {
        self.head.status
    }

    /// The answer's status and headers.
    pub fn head(&self) -> &Head {
        &self.head
    }

    /// All text received so far.
    pub fn raw(&self) -> &str {
        &self.raw
    }

    /// What a browser would send as `Last-Event-ID`.
    pub fn last_id(&self) -> Option<&str> {
        self.last_id.as_deref()
    }

    /// The next block of any kind.
    pub async fn next_block(&mut self, timeout: Duration) -> anyhow::Result<Block> {
        self.block_before(Instant::now() + timeout).await
    }

    /// The next block that has data, as a browser would dispatch it.
    pub async fn next_event(&mut self, timeout: Duration) -> anyhow::Result<Block> {
        let deadline = Instant::now() + timeout;
        loop {
            let block = self.block_before(deadline).await?;
            if block.data.is_some() {
                return Ok(block);
            }
        }
    }

    /// Waits for the server to end the stream, passing over what comes before.
    pub async fn ended(&mut self, timeout: Duration) -> anyhow::Result<()> {
        let deadline = Instant::now() + timeout;
        while self.read_more(deadline).await? {}
        Ok(())
    }

    async fn block_before(&mut self, deadline: Instant) -> anyhow::Result<Block> {
        loop {
            if let Some(block) = self.blocks.pop_front() {
                self.last_id = block.id.clone().or(self.last_id.take());
                return Ok(block);
            }
            anyhow::ensure!(
                self.read_more(deadline).await?,
                "the server ended the stream: {:?}",
                self.raw
            );
        }
    }

    async fn read_more(&mut self, deadline: Instant) -> anyhow::Result<bool> {
        let read = timeout_at(deadline, self.body.next_piece()).await;
        let read = read.with_context(|| format!("nothing came in time; so far: {:?}", self.raw))?;
        let Some(piece) = read? else { return Ok(false) };
        self.pending
            .extend(piece.into_iter().filter(|byte| *byte != b'\r'));
        while let Some(end) = self.pending.windows(2).position(|pair| pair == b"\n\n") {
            let bytes: Vec<u8> = self.pending.drain(..end + 2).collect();
            let text = String::from_utf8_lossy(&bytes);
            self.raw.push_str(&text);
            self.blocks.push_back(Block::parse(&text));
        }
        Ok(true)
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::indexing_slicing, clippy::panic)]
    use tokio::{io::AsyncWriteExt, net::TcpListener};

    use super::*;

    const SOON: Duration = Duration::from_secs(10);

    async fn serve_once(pieces: &'static [&'static str]) -> String {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}/sse", listener.local_addr().unwrap());
        tokio::spawn(async move {
            let (mut stream, _) = listener.accept().await.unwrap();
            for piece in pieces {
                stream.write_all(piece.as_bytes()).await.unwrap();
                stream.flush().await.unwrap();
                tokio::task::yield_now().await;
            }
            let mut rest = Vec::new();
            stream.shutdown().await.unwrap();
            let _ = tokio::io::AsyncReadExt::read_to_end(&mut stream, &mut rest).await;
        });
        url
    }

    #[tokio::test]
    async fn reads_blocks_from_a_chunked_answer() {
        let url = serve_once(&[
            "HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\ntransfer-encoding: chunked\r\n\r\n",
            "b\r\n: hello\n\nid\r\n",
            "1d\r\n: e:1\nevent: venta\ndata: {\"a\"\r\n",
            "10\r\n\ndata: :1}\n\nid: \r\n5\r\ne:2\n\n\r\n0\r\n\r\n",
        ])
        .await;
        let mut client = SseClient::connect(&url, &[]).await.unwrap();
        assert_eq!(client.status(), 200);
        assert_eq!(client.next_block(SOON).await.unwrap().comments, ["hello"]);
        let event = client.next_event(SOON).await.unwrap();
        assert_eq!(
            (event.id.as_deref(), event.event.as_deref()),
            (Some("e:1"), Some("venta"))
        );
        assert_eq!(event.data.as_deref(), Some("{\"a\"\n:1}"));
        assert_eq!(event.json().unwrap(), serde_json::json!({"a": 1}));
        assert_eq!(client.next_block(SOON).await.unwrap().id.as_deref(), Some("e:2"));
        assert_eq!(client.last_id(), Some("e:2"));
        assert!(
            client
                .next_block(SOON)
                .await
                .unwrap_err()
                .to_string()
                .contains("ended the stream")
        );
    }

    #[tokio::test]
    async fn a_refusal_has_its_status() {
        let url = serve_once(&["HTTP/1.1 401 Unauthorized\r\ncontent-length: 2\r\n\r\nno"]).await;
        assert_eq!(SseClient::connect(&url, &[]).await.unwrap().status(), 401);
    }

    #[tokio::test]
    async fn an_answer_without_framing_ends_with_the_connection() {
        let url = serve_once(&["HTTP/1.1 200 OK\r\n\r\n", "data: 1\n\n"]).await;
        let mut client = SseClient::connect(&url, &[]).await.unwrap();
        assert_eq!(client.next_event(SOON).await.unwrap().data.as_deref(), Some("1"));
        client.ended(SOON).await.unwrap();
    }
}
