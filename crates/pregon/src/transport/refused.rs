//! A stream that may not open is answered over HTTP.

use bytes::Bytes;
use http::StatusCode;
use pregon_wire::engineio::Refusal;

/// A stream that may not: an HTTP answer instead.
#[derive(Debug)]
pub(crate) struct Refused {
    pub status: StatusCode,
    pub message: String,
    pub headers: Vec<(&'static str, String)>,
    /// JSON of the protocol's own, instead of the usual one around the message.
    pub body: Option<Bytes>,
}

impl Refused {
    pub(crate) fn new(status: StatusCode, message: impl Into<String>) -> Self {
        Self {
            status,
            message: message.into(),
            headers: Vec::new(),
            body: None,
        }
    }

    pub(super) fn engine(refusal: Refusal) -> Self {
        let mut body = Vec::new();
        refusal.write_body(&mut body);
        let status = StatusCode::from_u16(refusal.status()).unwrap_or(StatusCode::BAD_REQUEST);
        Self {
            body: Some(body.into()),
            ..Self::new(status, refusal.to_string())
        }
    }
}
