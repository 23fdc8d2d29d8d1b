//! A bare PostgreSQL connection on a blocking socket: the least that a LISTEN client can be, so that the floor is one.
//!
//! Simple queries and notifications only, for a server of our own that trusts us.

use std::{
    io::{Read, Write},
    net::TcpStream,
};

use anyhow::{Context, bail};

pub(crate) struct Connection {
    stream: TcpStream,
    /// Bytes that were read and not used, from `used` on.
    buffer: Vec<u8>,
}

impl Connection {
    /// Connects as `postgres`, which the server must trust.
    pub(crate) fn open(port: u16, database: &str) -> anyhow::Result<Self> {
        let stream = TcpStream::connect(("127.0.0.1", port))?;
        stream.set_nodelay(true)?;
        let mut body = 196_608_u32.to_be_bytes().to_vec(); // Protocol 3.0.
        body.extend(format!("user\0postgres\0database\0{database}\0\0").as_bytes());
        let mut connection = Self {
            stream,
            buffer: Vec::new(),
        };
        let length = u32::try_from(body.len() + 4)?;
        connection
            .stream
            .write_all(&[&length.to_be_bytes()[..], &body].concat())?;
        connection.until_ready()?;
        Ok(connection)
    }

    /// Runs one simple query and waits for its end.
    pub(crate) fn run(&mut self, sql: &str) -> anyhow::Result<()> {
        let length = u32::try_from(sql.len() + 5)?;
        let message = [b"Q", &length.to_be_bytes()[..], sql.as_bytes(), b"\0"].concat();
        self.stream.write_all(&message)?;
        self.until_ready()
    }

    fn until_ready(&mut self) -> anyhow::Result<()> {
        loop {
            match self.message()? {
                (b'Z', _) => return Ok(()),
                (b'E', body) => bail!("PostgreSQL says: {}", String::from_utf8_lossy(&body)),
                _ => {}
            }
        }
    }

    /// The next notification's payload.
    pub(crate) fn notification(&mut self) -> anyhow::Result<Vec<u8>> {
        loop {
            if let (b'A', body) = self.message()? {
                // Process number, channel, payload; both texts end with a zero byte.
                let mut texts = body.get(4..).unwrap_or_default().split(|&byte| byte == 0);
                return Ok(texts.nth(1).context("a notification's payload")?.to_vec());
            }
        }
    }

    fn message(&mut self) -> anyhow::Result<(u8, Vec<u8>)> {
        loop {
            if let Some(message) = take(&mut self.buffer) {
                return Ok(message);
            }
            let mut chunk = [0; 16 * 1024];
            let length = self.stream.read(&mut chunk)?;
            anyhow::ensure!(length > 0, "PostgreSQL closed the connection");
            self.buffer
                .extend_from_slice(chunk.get(..length).unwrap_or_default());
        }
    }
}

/// Takes one whole message off the buffer.
fn take(buffer: &mut Vec<u8>) -> Option<(u8, Vec<u8>)> {
    let (&[kind, a, b, c, d], _) = buffer.split_first_chunk::<5>()?;
    let end = 1 + usize::try_from(u32::from_be_bytes([a, b, c, d])).ok()?;
    if buffer.len() < end {
        return None;
    }
    let rest = buffer.split_off(end);
    let message = std::mem::replace(buffer, rest);
    Some((kind, message.get(5..)?.to_vec()))
}
