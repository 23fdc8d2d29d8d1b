//! A bare Redis connection on a blocking socket: the least that a subscriber can be, so that the floor is one.
//!
//! RESP2, and only what PUBLISH and SUBSCRIBE answer, for a server of our own without a password.

use std::{
    io::{BufRead, BufReader, Read, Write},
    net::TcpStream,
};

use anyhow::{Context, bail, ensure};

pub(crate) struct Connection {
    stream: BufReader<TcpStream>,
}

/// What the server says.
#[derive(Debug, PartialEq, Eq)]
enum Reply {
    Number(i64),
    Text(Vec<u8>),
    List(Vec<Reply>),
}

impl Connection {
    pub(crate) fn open(port: u16) -> anyhow::Result<Self> {
        let stream = TcpStream::connect(("127.0.0.1", port))?;
        stream.set_nodelay(true)?;
        Ok(Self {
            stream: BufReader::new(stream),
        })
    }

    /// Subscribes to a channel and waits for the confirmation.
    pub(crate) fn subscribe(&mut self, channel: &str) -> anyhow::Result<()> {
        self.send(&["SUBSCRIBE", channel])?;
        self.reply().map(drop)
    }

    /// Publishes a message; answers how many subscribers it went to.
    pub(crate) fn publish(&mut self, channel: &str, message: &str) -> anyhow::Result<i64> {
        self.send(&["PUBLISH", channel, message])?;
        match self.reply()? {
            Reply::Number(subscribers) => Ok(subscribers),
            other => bail!("PUBLISH was answered with {other:?}"),
        }
    }

    /// The next message of a subscribed connection.
    pub(crate) fn message(&mut self) -> anyhow::Result<Vec<u8>> {
        match self.reply()? {
            Reply::List(parts) => match parts.into_iter().nth(2) {
                Some(Reply::Text(payload)) => Ok(payload),
                other => bail!("a message's payload is {other:?}"),
            },
            other => bail!("{other:?} instead of a message"),
        }
    }

    fn send(&mut self, words: &[&str]) -> anyhow::Result<()> {
        let mut request = format!("*{}\r\n", words.len());
        for word in words {
            request.push_str(&format!("${}\r\n{word}\r\n", word.len()));
        }
        Ok(self.stream.get_mut().write_all(request.as_bytes())?)
    }

    fn reply(&mut self) -> anyhow::Result<Reply> {
        let mut line = String::new();
        ensure!(
            self.stream.read_line(&mut line)? > 0,
            "Redis closed the connection"
        );
        let (kind, rest) = line.split_at_checked(1).context("an empty line")?;
        let rest = rest.trim_end();
        match kind {
            "+" => Ok(Reply::Text(rest.as_bytes().to_vec())),
            ":" => Ok(Reply::Number(rest.parse()?)),
            "$" => {
                let mut bytes = vec![0; rest.parse::<usize>()? + 2];
                self.stream.read_exact(&mut bytes)?;
                bytes.truncate(bytes.len() - 2);
                Ok(Reply::Text(bytes))
            }
            "*" => {
                let count: usize = rest.parse()?;
                let parts = (0..count).map(|_| self.reply());
                Ok(Reply::List(parts.collect::<anyhow::Result<_>>()?))
            }
            _ => bail!("Redis says: {}", line.trim_end()),
        }
    }
}
