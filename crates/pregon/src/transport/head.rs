//! The head of an HTTP/1.1 request, read before anyone decides who answers it.

use std::time::Duration;

use http::{HeaderMap, HeaderName, HeaderValue, Method};
use tokio::io::AsyncReadExt;
use tokio::net::TcpStream;

/// Largest request head. Browsers with many cookies need several KiB; nobody needs more than this.
const LARGEST: usize = 16 * 1024;

/// Most header lines; what common servers allow.
const LINES: usize = 100;

/// A request's head, and the bytes that it was read from with what came behind.
#[derive(Debug)]
pub(crate) struct Head {
    pub method: Method,
    pub path: String,
    pub query: Option<String>,
    pub headers: HeaderMap,
    /// All bytes read so far.
    pub bytes: Vec<u8>,
    /// Where the head ends in them.
    pub end: usize,
}

/// Why there is no head.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
pub(crate) enum HeadError {
    #[error("the request took too long")]
    Timeout,
    #[error("the request's head is larger than 16 KiB or has more than 100 lines")]
    TooLarge,
    #[error("the request is not HTTP/1.1")]
    Malformed,
    /// The client left; there is nobody to answer.
    #[error("the client closed the connection")]
    Closed,
}

impl HeadError {
    pub(crate) fn status(&self) -> u16 {
        match self {
            Self::Timeout => 408,
            Self::TooLarge => 431,
            Self::Malformed | Self::Closed => 400,
        }
    }
}

impl Head {
    /// Reads the head of the first request on a connection.
    pub(crate) async fn read(stream: &mut TcpStream, patience: Duration) -> Result<Self, HeadError> {
        tokio::time::timeout(patience, Self::read_patiently(stream))
            .await
            .map_err(|_| HeadError::Timeout)?
    }

    async fn read_patiently(stream: &mut TcpStream) -> Result<Self, HeadError> {
        let mut bytes = Vec::with_capacity(1024);
        loop {
            if stream.read_buf(&mut bytes).await.map_err(|_| HeadError::Closed)? == 0 {
                return Err(HeadError::Closed);
            }
            match parse(&bytes)? {
                Some(parsed) => return Ok(parsed.with(bytes)),
                None if bytes.len() > LARGEST => return Err(HeadError::TooLarge),
                None => {}
            }
        }
    }

    /// Takes the head of a request that the HTTP library parsed.
    pub(crate) fn of<B>(request: &http::Request<B>) -> Self {
        Self {
            method: request.method().clone(),
            path: request.uri().path().to_owned(),
            query: request.uri().query().map(str::to_owned),
            headers: request.headers().clone(),
            bytes: Vec::new(),
            end: 0,
        }
    }

    /// A header's text, if it is there once or more and is text.
    pub(crate) fn header(&self, name: &str) -> Option<&str> {
        self.headers.get(name)?.to_str().ok()
    }

    /// All lines of a header as one, as RFC 9110 §5.3 allows for lists.
    pub(crate) fn list(&self, name: &str) -> Option<String> {
        let values: Vec<&str> = self
            .headers
            .get_all(name)
            .iter()
            .filter_map(|value| value.to_str().ok())
            .collect();
        (!values.is_empty()).then(|| values.join(", "))
    }

    /// The values of a query parameter, unescaped.
    pub(crate) fn query_all(&self, name: &str) -> Vec<String> {
        let query = self.query.as_deref().unwrap_or_default();
        form_urlencoded::parse(query.as_bytes())
            .filter(|(key, _)| key == name)
            .map(|(_, value)| value.into_owned())
            .collect()
    }

    /// The first value of a query parameter.
    pub(crate) fn query_first(&self, name: &str) -> Option<String> {
        self.query_all(name).into_iter().next()
    }
}

struct Parsed {
    method: Method,
    path: String,
    query: Option<String>,
    headers: HeaderMap,
    end: usize,
}

impl Parsed {
    fn with(self, bytes: Vec<u8>) -> Head {
        let Self {
            method,
            path,
            query,
            headers,
            end,
        } = self;
        Head {
            method,
            path,
            query,
            headers,
            bytes,
            end,
        }
    }
}

/// The head, or `None` while it is incomplete.
fn parse(bytes: &[u8]) -> Result<Option<Parsed>, HeadError> {
    let mut lines = [httparse::EMPTY_HEADER; LINES];
    let mut request = httparse::Request::new(&mut lines);
    let end = match request.parse(bytes) {
        Ok(httparse::Status::Complete(end)) => end,
        Ok(httparse::Status::Partial) => return Ok(None),
        Err(httparse::Error::TooManyHeaders) => return Err(HeadError::TooLarge),
        Err(_) => return Err(HeadError::Malformed),
    };
    let method = request
        .method
        .and_then(|method| method.parse().ok())
        .ok_or(HeadError::Malformed)?;
    let target = request.path.ok_or(HeadError::Malformed)?;
    // Proxies may send the absolute form (RFC 9112 §3.2.2).
    let uri: http::Uri = target.parse().map_err(|_| HeadError::Malformed)?;
    let mut headers = HeaderMap::with_capacity(request.headers.len());
    for line in request.headers.iter() {
        let name = HeaderName::from_bytes(line.name.as_bytes()).map_err(|_| HeadError::Malformed)?;
        let value = HeaderValue::from_bytes(line.value).map_err(|_| HeadError::Malformed)?;
        headers.append(name, value);
    }
    let (path, query) = (uri.path().to_owned(), uri.query().map(str::to_owned));
    Ok(Some(Parsed {
        method,
        path,
        query,
        headers,
        end,
    }))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::indexing_slicing)]
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn a_head_in_pieces_is_awaited() {
        let text = b"GET /ws/sales?token=a%20b&x=1 HTTP/1.1\r\nHost: h\r\nA: 1\r\nA: 2\r\n\r\nrest";
        for cut in 0..text.len() - 4 {
            assert!(parse(&text[..cut]).unwrap().is_none(), "{cut}");
        }
        let parsed = parse(text).unwrap().unwrap();
        let head = parsed.with(text.to_vec());
        assert_eq!((head.path.as_str(), head.end), ("/ws/sales", text.len() - 4));
        assert_eq!(head.query_first("token").as_deref(), Some("a b"));
        assert_eq!(head.list("a").as_deref(), Some("1, 2"));
    }

    proptest! {
        #[test]
        fn no_bytes_panic(bytes: Vec<u8>) {
            let _ = parse(&bytes);
        }
    }
}
