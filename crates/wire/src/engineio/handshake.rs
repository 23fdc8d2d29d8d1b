//! The query of a request and why a request is refused (engine.io-protocol v4, "Protocol").
//! Refusals are judged in the order of the reference server, because the suites look at the code.

use std::borrow::Cow;
use std::io::Write as _;

/// How the bytes of a session move.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Transport {
    /// GETs that wait and POSTs.
    Polling,
    /// One WebSocket.
    WebSocket,
}

/// Why a request is refused. The body is [`Refusal::write_body`], its type `application/json`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Refusal {
    /// `transport` is neither `polling` nor `websocket`.
    #[error("Transport unknown")]
    UnknownTransport,
    /// There is no such session, perhaps no longer.
    #[error("Session ID unknown")]
    UnknownSid,
    /// A session begins with a GET.
    #[error("Bad handshake method")]
    BadHandshakeMethod,
    /// The request does not go with the session's transport.
    #[error("Bad request")]
    BadRequest,
    /// The origin is not allowed, or the client may not connect.
    #[error("Forbidden")]
    Forbidden,
    /// `EIO` is not 4; 3 is what Socket.IO 2 speaks.
    #[error("Unsupported protocol version")]
    UnsupportedVersion,
}

impl Refusal {
    /// The number that clients see.
    pub const fn code(self) -> u8 {
        match self {
            Self::UnknownTransport => 0,
            Self::UnknownSid => 1,
            Self::BadHandshakeMethod => 2,
            Self::BadRequest => 3,
            Self::Forbidden => 4,
            Self::UnsupportedVersion => 5,
        }
    }

    /// The HTTP status.
    pub const fn status(self) -> u16 {
        match self {
            Self::Forbidden => 403,
            _ => 400,
        }
    }

    /// Appends `{"code":…,"message":…}`.
    pub fn write_body(self, out: &mut Vec<u8>) {
        let _ = write!(out, r#"{{"code":{},"message":"{self}"}}"#, self.code());
    }
}

/// What a request with a session's id does.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Continuation {
    /// A GET or POST of a session that polls.
    Poll,
    /// A WebSocket that a polling session wants to move to.
    Upgrade,
    /// A WebSocket although the session has one: accept it and close it, as the reference does.
    Surplus,
}

/// The parts of the query that Engine.IO reads.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Query<'a> {
    /// What carries this request.
    pub transport: Transport,
    /// The session; a new one begins without.
    pub sid: Option<Cow<'a, str>>,
    /// Whether `EIO` is 4.
    supported: bool,
}

impl<'a> Query<'a> {
    /// Reads a query without its `?`. A repeated name counts once, the first time.
    pub fn parse(query: &'a str) -> Result<Self, Refusal> {
        let (mut transport, mut sid, mut revision) = (None, None, None);
        for (name, value) in form_urlencoded::parse(query.as_bytes()) {
            let slot = match name.as_ref() {
                "transport" => &mut transport,
                "sid" => &mut sid,
                "EIO" => &mut revision,
                _ => continue,
            };
            slot.get_or_insert(value);
        }
        let transport = match transport.as_deref() {
            Some("polling") => Transport::Polling,
            Some("websocket") => Transport::WebSocket,
            _ => return Err(Refusal::UnknownTransport),
        };
        Ok(Self {
            transport,
            sid: sid.filter(|sid| !sid.is_empty()),
            supported: revision.as_deref() == Some("4"),
        })
    }

    /// Judges a request without a session. `upgrade` says whether it asks for a WebSocket.
    pub fn begins(&self, method: &str, upgrade: bool) -> Result<(), Refusal> {
        if method != "GET" {
            return Err(Refusal::BadHandshakeMethod);
        }
        if (self.transport == Transport::WebSocket) != upgrade {
            return Err(Refusal::BadRequest);
        }
        if !self.supported {
            return Err(Refusal::UnsupportedVersion);
        }
        Ok(())
    }

    /// Judges a request of a known session that is carried by `current`.
    pub fn continues(&self, current: Transport, upgrade: bool) -> Result<Continuation, Refusal> {
        if !self.supported || (self.transport == Transport::WebSocket) != upgrade {
            return Err(Refusal::BadRequest);
        }
        match (current, self.transport) {
            (Transport::Polling, Transport::Polling) => Ok(Continuation::Poll),
            (Transport::Polling, Transport::WebSocket) => Ok(Continuation::Upgrade),
            (Transport::WebSocket, Transport::WebSocket) => Ok(Continuation::Surplus),
            (Transport::WebSocket, Transport::Polling) => Err(Refusal::BadRequest),
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn refusals_are_those_of_the_reference_server() {
        let cases = [
            (
                Refusal::UnknownTransport,
                400,
                r#"{"code":0,"message":"Transport unknown"}"#,
            ),
            (
                Refusal::UnknownSid,
                400,
                r#"{"code":1,"message":"Session ID unknown"}"#,
            ),
            (
                Refusal::BadHandshakeMethod,
                400,
                r#"{"code":2,"message":"Bad handshake method"}"#,
            ),
            (Refusal::BadRequest, 400, r#"{"code":3,"message":"Bad request"}"#),
            (Refusal::Forbidden, 403, r#"{"code":4,"message":"Forbidden"}"#),
            (
                Refusal::UnsupportedVersion,
                400,
                r#"{"code":5,"message":"Unsupported protocol version"}"#,
            ),
        ];
        for (refusal, status, body) in cases {
            let mut out = Vec::new();
            refusal.write_body(&mut out);
            assert_eq!(
                (refusal.status(), String::from_utf8(out).as_deref()),
                (status, Ok(body))
            );
        }
    }

    #[test]
    fn a_session_begins_as_the_reference_server_judges() {
        let judged = |query, method, upgrade| Query::parse(query)?.begins(method, upgrade);
        let cases = [
            ("EIO=4&transport=polling", "GET", false, Ok(())),
            ("EIO=4&transport=websocket&sid=", "GET", true, Ok(())),
            ("t=1&EIO=4&transport=poll%69ng&EIO=3", "GET", false, Ok(())),
            ("EIO=4", "GET", false, Err(Refusal::UnknownTransport)),
            ("", "GET", false, Err(Refusal::UnknownTransport)),
            (
                "EIO=4&transport=abc",
                "GET",
                false,
                Err(Refusal::UnknownTransport),
            ),
            (
                "EIO=4&transport=webtransport",
                "GET",
                false,
                Err(Refusal::UnknownTransport),
            ),
            (
                "EIO=4&transport=polling",
                "POST",
                false,
                Err(Refusal::BadHandshakeMethod),
            ),
            (
                "EIO=4&transport=websocket",
                "GET",
                false,
                Err(Refusal::BadRequest),
            ),
            ("EIO=4&transport=polling", "GET", true, Err(Refusal::BadRequest)),
            (
                "EIO=3&transport=polling",
                "GET",
                false,
                Err(Refusal::UnsupportedVersion),
            ),
            (
                "EIO=abc&transport=websocket",
                "GET",
                true,
                Err(Refusal::UnsupportedVersion),
            ),
            (
                "transport=polling",
                "GET",
                false,
                Err(Refusal::UnsupportedVersion),
            ),
        ];
        for (query, method, upgrade, wanted) in cases {
            assert_eq!(judged(query, method, upgrade), wanted, "{method} {query}");
        }
    }

    #[test]
    fn a_session_goes_on_over_its_transport_or_a_new_websocket() {
        use Transport::{Polling, WebSocket};
        let judged = |query, current, upgrade| Query::parse(query)?.continues(current, upgrade);
        let (poll, socket) = ("EIO=4&transport=polling&sid=x", "EIO=4&transport=websocket&sid=x");
        assert_eq!(
            Query::parse(poll).map(|query| query.sid),
            Ok(Some(Cow::Borrowed("x")))
        );
        assert_eq!(judged(poll, Polling, false), Ok(Continuation::Poll));
        assert_eq!(judged(socket, Polling, true), Ok(Continuation::Upgrade));
        assert_eq!(judged(socket, WebSocket, true), Ok(Continuation::Surplus));
        assert_eq!(judged(poll, WebSocket, false), Err(Refusal::BadRequest));
        assert_eq!(judged(socket, Polling, false), Err(Refusal::BadRequest));
        assert_eq!(
            judged("EIO=3&transport=polling&sid=x", Polling, false),
            Err(Refusal::BadRequest)
        );
    }

    proptest! {
        #[test]
        fn any_query_is_read_or_refused(query in any::<String>(), upgrade in any::<bool>()) {
            if let Ok(query) = Query::parse(&query) {
                let _ = query.begins("GET", upgrade);
                let _ = query.continues(Transport::Polling, upgrade);
            }
        }
    }
}
