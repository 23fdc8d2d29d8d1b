//! HTTP long-polling of Engine.IO: requests that open a session, wait for its packets, and post some (engine.io-protocol v4).
//!
//! The HTTP library reads these requests; the session lives on a shard. A request that is given up ends its session, because
//! nobody knows what of the answer its client has read.

use axum::body::Body;
use futures_util::StreamExt as _;
use http::{Method, Request, Response, StatusCode, header};
use hyper::body::Incoming;
use pregon_wire::engineio::{Query, Refusal, Transport};
use tokio::sync::oneshot;

use super::bridge::Bridge;
use super::head::Head;
use super::refused::Refused;
use crate::hub::codec::socketio::polling::messages;
use crate::hub::codec::socketio::sid::Sid;
use crate::hub::link::{Link, Polling};
use crate::hub::{App, Codec, Framing, Newcomer, Opening, Variant};
use crate::metrics::Reason;

/// How long a browser may remember that it may ask, seconds.
const PREFLIGHT: &str = "7200";

/// Why there is no answer of the usual kind.
enum Failure {
    Engine(Refusal),
    Http(Refused),
    TooLarge,
}

impl From<Refusal> for Failure {
    fn from(refusal: Refusal) -> Self {
        Self::Engine(refusal)
    }
}

impl Bridge {
    /// Answers a request on a path of Engine.IO that asks for no WebSocket.
    pub(super) async fn polling(self, app: App, head: &Head, request: Request<Incoming>) -> Response<Body> {
        let cors = self.front.admission.origins.cors(head.header("origin"));
        let mut response = if head.method == Method::OPTIONS {
            preflight(head)
        } else {
            match self.polled(app, head, request).await {
                Ok(response) => response,
                Err(failure) => self.failed(failure),
            }
        };
        for (name, value) in cors {
            if let Ok(value) = value.parse() {
                response.headers_mut().insert(name, value);
            }
        }
        let no_store = header::HeaderValue::from_static("no-store");
        response.headers_mut().insert(header::CACHE_CONTROL, no_store);
        response
    }

    async fn polled(
        &self,
        app: App,
        head: &Head,
        request: Request<Incoming>,
    ) -> Result<Response<Body>, Failure> {
        let query = Query::parse(head.query.as_deref().unwrap_or_default())?;
        let Some(sid) = &query.sid else {
            query.begins(head.method.as_str(), false)?;
            return self.begin(app, head).await;
        };
        let sid: Sid = sid.parse().map_err(|_| Refusal::UnknownSid)?;
        query.continues(Transport::Polling, false)?;
        match head.method {
            Method::GET => {
                let body = self.front.hub.poll(sid).await?;
                Ok(text("text/plain; charset=UTF-8", body))
            }
            Method::POST => self.post(sid, head, request).await,
            _ => Err(Refusal::BadRequest.into()),
        }
    }

    /// A new session: its first packet answers this request.
    async fn begin(&self, app: App, head: &Head) -> Result<Response<Body>, Failure> {
        let handshake = self
            .front
            .admission
            .handshake(head)
            .await
            .map_err(Failure::Http)?;
        // A session outlives the connection that began it, so that it needs a place of its own.
        let Ok(permit) = self.permit.again() else {
            self.front.metrics.dropped(Reason::Connections);
            let message = "too many connections, try again later";
            return Err(Failure::Http(Refused::new(
                StatusCode::SERVICE_UNAVAILABLE,
                message,
            )));
        };
        let (request, answer) = oneshot::channel();
        let mut polling = Polling::default();
        polling.wait(request);
        let variant = Variant {
            codec: Codec::Engine,
            framing: Framing::Polling,
        };
        self.front.hub.adopt(Newcomer {
            link: Link::Polling(polling),
            opening: Opening {
                engine: Some((app, handshake)),
                ..Opening::new(variant)
            },
            greeting: Vec::new(),
            leftover: Vec::new(),
            permit,
        });
        let body = answer.await.unwrap_or(Err(Refusal::UnknownSid))?;
        Ok(text("text/plain; charset=UTF-8", body))
    }

    async fn post(
        &self,
        sid: Sid,
        head: &Head,
        request: Request<Incoming>,
    ) -> Result<Response<Body>, Failure> {
        if head
            .header("content-type")
            .is_some_and(|kind| kind.starts_with("application/octet-stream"))
        {
            return Err(Refusal::BadRequest.into());
        }
        let post = self.front.hub.post(sid).await?;
        let patience = self.front.admission.limits.handshake.0;
        let body = match tokio::time::timeout(patience, self.body(request)).await {
            Ok(Ok(Some(body))) => body,
            Ok(Ok(None)) => {
                self.front.metrics.dropped(Reason::TooLarge);
                // The session cannot go on without what was too large; that it is over is all there is to know.
                let _ = post.take(None).await;
                return Err(Failure::TooLarge);
            }
            // Too slow, or cut: what is there may be the beginning of something else.
            Ok(Err(_)) | Err(_) => return Err(Refusal::BadRequest.into()),
        };
        post.take(messages(&body).ok()).await?;
        // Not text/plain: a page that asks for this must not be read as one (as in the reference).
        Ok(text("text/html", b"ok".to_vec()))
    }

    /// The whole body; `None` if it is larger than a message may be, an error if it broke off.
    async fn body(&self, request: Request<Incoming>) -> Result<Option<Vec<u8>>, axum::Error> {
        let most = self.front.hub.payload();
        let mut pieces = Body::new(request.into_body()).into_data_stream();
        let mut whole = Vec::new();
        while let Some(piece) = pieces.next().await {
            let piece = piece?;
            if whole.len() + piece.len() > most {
                return Ok(None);
            }
            whole.extend_from_slice(&piece);
        }
        Ok(Some(whole))
    }

    fn failed(&self, failure: Failure) -> Response<Body> {
        let (status, kind, body) = match failure {
            Failure::Engine(refusal) => {
                let mut body = Vec::new();
                refusal.write_body(&mut body);
                let status = StatusCode::from_u16(refusal.status()).unwrap_or(StatusCode::BAD_REQUEST);
                (status, "application/json", body)
            }
            Failure::Http(refused) => {
                let body = super::accept::refusal_body(&refused).to_vec();
                (refused.status, "application/json", body)
            }
            Failure::TooLarge => (StatusCode::PAYLOAD_TOO_LARGE, "text/plain", Vec::new()),
        };
        let mut response = text(kind, body);
        *response.status_mut() = status;
        response
    }
}

fn text(kind: &'static str, body: Vec<u8>) -> Response<Body> {
    let mut response = Response::new(Body::from(body));
    let kind = header::HeaderValue::from_static(kind);
    response.headers_mut().insert(header::CONTENT_TYPE, kind);
    response
}

/// What a page may send: said to those origins alone that get the other CORS headers too.
fn preflight(head: &Head) -> Response<Body> {
    let mut response = Response::new(Body::empty());
    *response.status_mut() = StatusCode::NO_CONTENT;
    let asked = head.header("access-control-request-headers");
    let allowed = [
        (header::ACCESS_CONTROL_ALLOW_METHODS, Some("GET, POST")),
        (
            header::ACCESS_CONTROL_ALLOW_HEADERS,
            asked.or(Some("content-type")),
        ),
        (header::ACCESS_CONTROL_MAX_AGE, Some(PREFLIGHT)),
    ];
    for (name, value) in allowed {
        if let Some(Ok(value)) = value.map(str::parse) {
            response.headers_mut().insert(name, value);
        }
    }
    response
}
