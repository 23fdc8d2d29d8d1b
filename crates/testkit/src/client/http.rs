//! A tiny HTTP/1.1 client over a plain TCP stream: one request per connection, body whole or piece by piece.

use std::time::Duration;

use anyhow::Context;
use serde_json::Value;
use tokio::{
    io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader},
    net::TcpStream,
    time::timeout,
};

/// No answer of a local server takes this long, even on a loaded machine.
const PATIENCE: Duration = Duration::from_secs(20);

/// Status line and headers; header names are lower-case.
#[derive(Debug, Clone)]
pub struct Head {
    /// The status code.
    pub status: u16,
    /// The headers in order.
    pub headers: Vec<(String, String)>,
}

impl Head {
    /// The first header of this (lower-case) name.
    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers
            .iter()
            .find(|(key, _)| key == name)
            .map(|(_, value)| value.as_str())
    }
}

/// A whole answer.
#[derive(Debug, Clone)]
pub struct Response {
    /// Status and headers.
    pub head: Head,
    /// The body as text.
    pub body: String,
}

impl Response {
    /// The status code.
    pub fn status(&self) -> u16 {
        self.head.status
    }

    /// The first header of this (lower-case) name.
    pub fn header(&self, name: &str) -> Option<&str> {
        self.head.header(name)
    }

    /// The body read as JSON.
    pub fn json(&self) -> anyhow::Result<Value> {
        serde_json::from_str(&self.body).with_context(|| format!("no JSON: {}", self.body))
    }
}

/// `GET` without headers.
pub async fn get(url: &str) -> anyhow::Result<Response> {
    request("GET", url, &[], b"").await
}

/// `POST` of a JSON value.
pub async fn post_json(url: &str, headers: &[(&str, &str)], body: &Value) -> anyhow::Result<Response> {
    let mut all = vec![("content-type", "application/json")];
    all.extend_from_slice(headers);
    request("POST", url, &all, body.to_string().as_bytes()).await
}

/// Sends one request and reads the whole answer.
pub async fn request(
    method: &str,
    url: &str,
    headers: &[(&str, &str)],
    body: &[u8],
) -> anyhow::Result<Response> {
    let exchange = async {
        let (head, mut reader) = open(method, url, headers, body).await?;
        let mut bytes = Vec::new();
        while let Some(piece) = reader.next_piece().await? {
            bytes.extend_from_slice(&piece);
        }
        Ok(Response {
            head,
            body: String::from_utf8_lossy(&bytes).into_owned(),
        })
    };
    timeout(PATIENCE, exchange)
        .await
        .with_context(|| format!("no answer to {method} {url}"))?
}

/// Sends one request and returns the answer's head and its body still to be read.
pub async fn open(
    method: &str,
    url: &str,
    headers: &[(&str, &str)],
    body: &[u8],
) -> anyhow::Result<(Head, Body)> {
    let uri: ::http::Uri = url.parse().with_context(|| format!("bad URL {url}"))?;
    let authority = uri.authority().context("a URL with a host")?;
    let port = authority.port_u16().unwrap_or(80);
    let stream = TcpStream::connect((authority.host(), port))
        .await
        .with_context(|| format!("connecting to {authority}"))?;
    stream.set_nodelay(true)?;
    let path = uri.path_and_query().map_or("/", |path| path.as_str());
    let mut text = format!("{method} {path} HTTP/1.1\r\nhost: {authority}\r\nconnection: close\r\n");
    for (name, value) in headers {
        text.push_str(&format!("{name}: {value}\r\n"));
    }
    if !body.is_empty() || method == "POST" {
        text.push_str(&format!("content-length: {}\r\n", body.len()));
    }
    text.push_str("\r\n");
    let mut stream = BufReader::new(stream);
    let sent = [text.as_bytes(), body].concat();
    stream.write_all(&sent).await?;
    let head = read_head(&mut stream).await?;
    let empty = method == "HEAD" || matches!(head.status, 100..=199 | 204 | 304);
    let framing = if empty {
        Framing::Length(0)
    } else {
        framing(&head)?
    };
    Ok((head, Body { stream, framing }))
}

async fn read_head(stream: &mut BufReader<TcpStream>) -> anyhow::Result<Head> {
    let status = read_line(stream)
        .await?
        .context("the connection ended before an answer")?;
    let code = status.split(' ').nth(1).and_then(|code| code.parse().ok());
    let mut head = Head {
        status: code.with_context(|| format!("bad status line {status:?}"))?,
        headers: Vec::new(),
    };
    while let Some(line) = read_line(stream).await? {
        if line.is_empty() {
            return Ok(head);
        }
        let (name, value) = line
            .split_once(':')
            .with_context(|| format!("bad header {line:?}"))?;
        head.headers
            .push((name.to_ascii_lowercase(), value.trim().to_owned()));
    }
    anyhow::bail!("the connection ended within the headers")
}

async fn read_line(stream: &mut BufReader<TcpStream>) -> anyhow::Result<Option<String>> {
    let mut line = String::new();
    let length = stream.read_line(&mut line).await?;
    Ok((length > 0).then(|| line.trim_end_matches(['\r', '\n']).to_owned()))
}

#[derive(Debug, Clone, Copy)]
enum Framing {
    Length(usize),
    Chunked,
    UntilClose,
}

fn framing(head: &Head) -> anyhow::Result<Framing> {
    if head
        .header("transfer-encoding")
        .is_some_and(|value| value.eq_ignore_ascii_case("chunked"))
    {
        return Ok(Framing::Chunked);
    }
    Ok(match head.header("content-length") {
        Some(length) => Framing::Length(length.parse().with_context(|| format!("bad length {length:?}"))?),
        None => Framing::UntilClose,
    })
}

/// The body of an answer, as it comes.
#[derive(Debug)]
pub struct Body {
    stream: BufReader<TcpStream>,
    framing: Framing,
}

impl Body {
    /// The next piece; `None` at the end. A connection that ends within a framed body is an error.
    pub async fn next_piece(&mut self) -> anyhow::Result<Option<Vec<u8>>> {
        match self.framing {
            Framing::Length(0) => Ok(None),
            Framing::Length(rest) => {
                let piece = self
                    .some(rest)
                    .await?
                    .context("the connection ended within the body")?;
                self.framing = Framing::Length(rest.saturating_sub(piece.len()));
                Ok(Some(piece))
            }
            Framing::UntilClose => self.some(usize::MAX).await,
            Framing::Chunked => self.chunk().await,
        }
    }

    async fn some(&mut self, at_most: usize) -> anyhow::Result<Option<Vec<u8>>> {
        let mut piece = self.stream.fill_buf().await?.to_vec();
        piece.truncate(at_most);
        self.stream.consume(piece.len());
        Ok((!piece.is_empty()).then_some(piece))
    }

    async fn chunk(&mut self) -> anyhow::Result<Option<Vec<u8>>> {
        let line = read_line(&mut self.stream)
            .await?
            .context("the connection ended within a chunked body")?;
        let size = line.split(';').next().unwrap_or_default().trim();
        let size = usize::from_str_radix(size, 16).with_context(|| format!("bad chunk size {line:?}"))?;
        let mut piece = vec![0; size];
        self.stream.read_exact(&mut piece).await?;
        read_line(&mut self.stream).await?;
        if size == 0 {
            self.framing = Framing::Length(0);
            return Ok(None);
        }
        Ok(Some(piece))
    }
}
