//! The upgrade: judging the request's headers and writing the 101 head.
//! The transport parses the request and passes header values; a repeated header is passed joined with commas.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use sha1::{Digest as _, Sha1};

/// RFC 6455 §1.3.
const GUID: &str = "258EAFA5-E914-47DA-95CA-C5AB0DC85B11";

/// RFC 7692 §7.1.2: window sizes are 8 to 15 bits, 15 when nothing is said.
const FULL_WINDOW: u8 = 15;

/// Why a request is not upgraded.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum HandshakeError {
    /// A plain HTTP request came to a WebSocket path.
    #[error("this path speaks websocket only: send upgrade: websocket and connection: upgrade")]
    NotAnUpgrade,
    /// A protocol version other than 13.
    #[error("unsupported websocket version: send sec-websocket-version: 13")]
    Version,
    /// The key is missing or not 16 bytes in base64.
    #[error("sec-websocket-key must be 16 bytes in base64")]
    Key,
}

impl HandshakeError {
    /// The HTTP status of the refusal.
    pub const fn status(self) -> u16 {
        match self {
            Self::NotAnUpgrade | Self::Version => 426,
            Self::Key => 400,
        }
    }

    /// Headers that the refusal must carry.
    pub const fn headers(self) -> &'static [(&'static str, &'static str)] {
        match self {
            Self::NotAnUpgrade | Self::Version => &[
                ("Upgrade", "websocket"),
                ("Connection", "Upgrade"),
                ("Sec-WebSocket-Version", "13"),
            ],
            Self::Key => &[],
        }
    }
}

/// One permessage-deflate offer of a client.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Offer {
    /// The client asks us to compress with at most that window.
    pub server_max_window_bits: Option<u8>,
    /// The client could compress with a smaller window (we inflate with the full one, so this changes nothing).
    pub client_max_window_bits: bool,
}

/// An accepted offer: both sides compress every message from an empty window.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Deflate {
    /// The offer named our window, so the answer must too.
    name_window: bool,
}

/// Checks the four headers of an upgrade.
pub fn validate(
    upgrade: Option<&str>,
    connection: Option<&str>,
    version: Option<&str>,
    key: Option<&str>,
) -> Result<(), HandshakeError> {
    if !has_token(upgrade, "websocket") || !has_token(connection, "upgrade") {
        return Err(HandshakeError::NotAnUpgrade);
    }
    if version.map(str::trim) != Some("13") {
        return Err(HandshakeError::Version);
    }
    match STANDARD.decode(key.unwrap_or_default().trim()) {
        Ok(nonce) if nonce.len() == 16 => Ok(()),
        _ => Err(HandshakeError::Key),
    }
}

/// The answer to a client's `Sec-WebSocket-Key`.
pub fn accept_key(key: &str) -> String {
    let digest = Sha1::new().chain_update(key.trim()).chain_update(GUID).finalize();
    STANDARD.encode(digest)
}

/// Picks the first acceptable permessage-deflate offer of `Sec-WebSocket-Extensions`.
///
/// We always answer without context takeover: a frame is compressed once and shared by all its readers, and no
/// connection keeps a window. Shared frames use the full window, so an offer that limits ours is declined.
pub fn negotiate_deflate(header: Option<&str>) -> Option<Deflate> {
    header?
        .split(',')
        .filter_map(parse_offer)
        .find_map(|offer| match offer.server_max_window_bits {
            None => Some(Deflate { name_window: false }),
            Some(FULL_WINDOW) => Some(Deflate { name_window: true }),
            Some(_) => None,
        })
}

/// The head of the 101 response.
pub fn response(key: &str, subprotocol: Option<&str>, deflate: Option<Deflate>) -> Vec<u8> {
    let mut head = String::with_capacity(256);
    head.push_str("HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n");
    head.push_str("Sec-WebSocket-Accept: ");
    head.push_str(&accept_key(key));
    // The client's own word goes back into a header: nothing that could start another one.
    if let Some(name) = subprotocol.filter(|name| is_token(name)) {
        head.push_str("\r\nSec-WebSocket-Protocol: ");
        head.push_str(name);
    }
    if let Some(deflate) = deflate {
        head.push_str("\r\nSec-WebSocket-Extensions: permessage-deflate");
        head.push_str("; server_no_context_takeover; client_no_context_takeover");
        if deflate.name_window {
            head.push_str("; server_max_window_bits=15");
        }
    }
    head.push_str("\r\n\r\n");
    head.into_bytes()
}

/// One element of the extensions header, `None` when it is another extension or malformed (which declines it).
fn parse_offer(element: &str) -> Option<Offer> {
    let mut parts = element.split(';').map(str::trim);
    if parts.next()? != "permessage-deflate" {
        return None;
    }
    let mut offer = Offer::default();
    let mut seen = Vec::new();
    for part in parts {
        let (name, value) = match part.split_once('=') {
            Some((name, value)) => (name.trim(), Some(value.trim().trim_matches('"'))),
            None => (part, None),
        };
        if seen.contains(&name) {
            return None;
        }
        seen.push(name);
        match (name, value) {
            ("server_no_context_takeover" | "client_no_context_takeover", None) => {}
            ("client_max_window_bits", None) => offer.client_max_window_bits = true,
            ("client_max_window_bits", Some(bits)) => {
                window_bits(bits)?;
                offer.client_max_window_bits = true;
            }
            ("server_max_window_bits", Some(bits)) => offer.server_max_window_bits = Some(window_bits(bits)?),
            _ => return None,
        }
    }
    Some(offer)
}

/// 8 to 15 without leading zeros.
fn window_bits(text: &str) -> Option<u8> {
    let bits: u8 = text.parse().ok()?;
    ((8..=FULL_WINDOW).contains(&bits) && !text.starts_with(['0', '+'])).then_some(bits)
}

fn has_token(header: Option<&str>, wanted: &str) -> bool {
    header
        .unwrap_or_default()
        .split(',')
        .any(|token| token.trim().eq_ignore_ascii_case(wanted))
}

/// RFC 9110 §5.6.2.
fn is_token(text: &str) -> bool {
    !text.is_empty()
        && text
            .bytes()
            .all(|b| b.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&b))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The example of RFC 6455 §1.3.
    const KEY: &str = "dGhlIHNhbXBsZSBub25jZQ==";

    #[test]
    fn the_key_is_answered_as_in_the_rfc() {
        assert_eq!(accept_key(KEY), "s3pPLMBiTxaQ9kYGzzhZRbK+xOo=");
    }

    #[test]
    fn a_browser_and_a_proxy_that_adds_keep_alive_are_upgraded() {
        let connection = Some("keep-alive, Upgrade");
        assert_eq!(
            validate(Some("WebSocket"), connection, Some("13"), Some(KEY)),
            Ok(())
        );
    }

    #[test]
    fn refusals_name_what_is_wrong() {
        let (upgrade, connection) = (Some("websocket"), Some("upgrade"));
        let cases = [
            (validate(None, connection, Some("13"), Some(KEY)), 426),
            (validate(upgrade, Some("close"), Some("13"), Some(KEY)), 426),
            (validate(upgrade, connection, Some("8"), Some(KEY)), 426),
            (validate(upgrade, connection, Some("13"), None), 400),
            (validate(upgrade, connection, Some("13"), Some("c2hvcnQ=")), 400),
        ];
        for (result, status) in cases {
            let error = result.expect_err("refused");
            assert_eq!(error.status(), status);
            let version = ("Sec-WebSocket-Version", "13");
            assert_eq!(error.headers().contains(&version), status == 426);
        }
    }

    #[test]
    fn deflate_takes_the_first_offer_that_shared_frames_can_keep() {
        let plain = Some(Deflate { name_window: false });
        let cases = [
            (None, None),
            (Some(""), None),
            (Some("x-webkit-deflate-frame"), None),
            (Some("permessage-deflate"), plain),
            (Some("permessage-deflate; client_max_window_bits"), plain),
            (Some("permessage-deflate; client_max_window_bits=10"), plain),
            (
                Some("permessage-deflate;server_no_context_takeover;client_no_context_takeover"),
                plain,
            ),
            (Some("permessage-deflate; server_max_window_bits=10"), None),
            (
                Some("permessage-deflate; server_max_window_bits=10, permessage-deflate"),
                plain,
            ),
            (
                Some("foo, permessage-deflate; server_max_window_bits=\"15\""),
                Some(Deflate { name_window: true }),
            ),
            (Some("permessage-deflate; server_max_window_bits"), None),
            (Some("permessage-deflate; client_max_window_bits=7"), None),
            (Some("permessage-deflate; client_max_window_bits=08"), None),
            (
                Some("permessage-deflate; client_max_window_bits; client_max_window_bits"),
                None,
            ),
            (Some("permessage-deflate; server_no_context_takeover=1"), None),
            (Some("permessage-deflate; unknown"), None),
        ];
        for (header, wanted) in cases {
            assert_eq!(negotiate_deflate(header), wanted, "{header:?}");
        }
    }

    #[test]
    fn the_response_head_is_exact() {
        let head = response(KEY, Some("pregon"), negotiate_deflate(Some("permessage-deflate")));
        let wanted = "HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\
            Sec-WebSocket-Accept: s3pPLMBiTxaQ9kYGzzhZRbK+xOo=\r\nSec-WebSocket-Protocol: pregon\r\n\
            Sec-WebSocket-Extensions: permessage-deflate; server_no_context_takeover; \
            client_no_context_takeover\r\n\r\n";
        assert_eq!(String::from_utf8_lossy(&head), wanted);
    }

    #[test]
    fn a_subprotocol_cannot_add_a_header() {
        let head = response(KEY, Some("a\r\nSet-Cookie: b=c"), None);
        assert!(!String::from_utf8_lossy(&head).contains("Set-Cookie"));
    }
}
