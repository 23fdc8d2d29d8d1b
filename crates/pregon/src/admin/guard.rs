//! Who may see the dashboard's data: whoever sends the token, and only as often as nobody guesses one.
//!
//! The token travels in a header that no page of another origin can make a browser send; requests that name another origin are refused
//! all the same, so that a name that is pointed at this machine (DNS rebinding) opens nothing.

use std::net::IpAddr;
use std::sync::Arc;
use std::time::Instant;

use axum::extract::{Request, State};
use axum::middleware::Next;
use axum::response::Response;
use hashbrown::HashMap;
use http::{HeaderMap, HeaderValue, StatusCode, header};
use parking_lot::Mutex;

use super::Admin;
use crate::api::refuse;
use crate::auth::{same_key, token};
use crate::metrics::Reason;
use crate::transport::ClientAddress;
use crate::transport::refused::Refused;

/// Wrong tokens in a row that one address may send.
const BURST: f64 = 10.0;

/// Seconds until one more may be sent: 14,400 guesses a day against 16 characters.
const PAUSE: f64 = 6.0;

/// Addresses whose failures are remembered; beyond them all others share one account.
const ADDRESSES: usize = 4096;

/// Wrong tokens by address: how many may still be sent, as of when. An account that is full again is forgotten.
#[derive(Debug, Default)]
pub(super) struct Failures {
    accounts: Mutex<HashMap<Option<IpAddr>, (f64, Instant)>>,
}

impl Failures {
    /// Whether an address may try.
    fn may_try(&self, address: Option<IpAddr>, now: Instant) -> bool {
        let accounts = self.accounts.lock();
        accounts
            .get(&address)
            .is_none_or(|account| left(*account, now) >= 1.0)
    }

    fn failed(&self, address: Option<IpAddr>, now: Instant) {
        let mut accounts = self.accounts.lock();
        if accounts.len() >= ADDRESSES {
            accounts.retain(|_, account| left(*account, now) < BURST);
        }
        let full = accounts.len() >= ADDRESSES && !accounts.contains_key(&address);
        let account = accounts.entry(address.filter(|_| !full)).or_insert((BURST, now));
        *account = (left(*account, now) - 1.0, now);
    }
}

fn left((left, since): (f64, Instant), now: Instant) -> f64 {
    let passed = now.saturating_duration_since(since).as_secs_f64();
    (left + passed / PAUSE).min(BURST)
}

/// Lets a request through, or refuses it. Answers are for nobody's cache.
pub(super) async fn guard(State(admin): State<Arc<Admin>>, request: Request, next: Next) -> Response {
    let address = request
        .extensions()
        .get::<ClientAddress>()
        .map(|address| address.0);
    let mut response = match admit(&admin, request.headers(), address) {
        Ok(()) => next.run(request).await,
        Err(refused) => refuse(refused),
    };
    let headers = response.headers_mut();
    headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
    headers.insert(
        header::X_CONTENT_TYPE_OPTIONS,
        HeaderValue::from_static("nosniff"),
    );
    response
}

fn admit(admin: &Admin, headers: &HeaderMap, address: Option<IpAddr>) -> Result<(), Refused> {
    if !is_own_origin(headers) {
        admin.metrics.dropped(Reason::Forbidden);
        let message = "the dashboard answers its own page only, not those of other origins; a proxy before it must pass on the Host header";
        return Err(Refused::new(StatusCode::FORBIDDEN, message));
    }
    let now = Instant::now();
    if !admin.failures.may_try(address, now) {
        admin.metrics.dropped(Reason::Rate);
        let mut refused = Refused::new(
            StatusCode::TOO_MANY_REQUESTS,
            "too many wrong tokens from this address: wait a minute",
        );
        refused.headers.push(("Retry-After", "60".into()));
        return Err(refused);
    }
    match token::by_header(headers) {
        Some(given) if same_key(&given, admin.token.reveal()) => Ok(()),
        given => {
            // Who sends none guesses nothing.
            if given.is_some() {
                admin.failures.failed(address, now);
                tracing::warn!(?address, "a wrong token for the dashboard");
            }
            admin.metrics.dropped(Reason::Token);
            let mut refused = Refused::new(
                StatusCode::UNAUTHORIZED,
                "send the token of [admin]: Authorization: Bearer …",
            );
            refused.headers.push(("WWW-Authenticate", "Bearer".into()));
            Err(refused)
        }
    }
}

/// Whether a request is of a page that this node served, or of no page.
fn is_own_origin(headers: &HeaderMap) -> bool {
    let Some(origin) = headers.get(header::ORIGIN) else {
        return true;
    };
    let host = headers.get(header::HOST).and_then(|host| host.to_str().ok());
    let origin = origin.to_str().ok().and_then(|origin| origin.split_once("://"));
    matches!((origin, host), (Some((_, origin)), Some(host)) if origin.eq_ignore_ascii_case(host))
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Duration;

    #[test]
    fn guesses_run_out_for_one_address_and_come_back_slowly() {
        let (failures, now) = (Failures::default(), Instant::now());
        let (here, there) = (
            Some(IpAddr::from([10, 0, 0, 1])),
            Some(IpAddr::from([10, 0, 0, 2])),
        );
        for _ in 0..10 {
            assert!(failures.may_try(here, now));
            failures.failed(here, now);
        }
        assert!(!failures.may_try(here, now) && failures.may_try(there, now));
        let later = now + Duration::from_secs(7);
        assert!(failures.may_try(here, later));
        failures.failed(here, later);
        assert!(!failures.may_try(here, later));
    }

    #[test]
    fn many_addresses_share_an_account_and_take_no_more_memory() {
        let (failures, now) = (Failures::default(), Instant::now());
        for number in 0..2 * ADDRESSES as u32 {
            failures.failed(Some(IpAddr::from(number.to_be_bytes())), now);
        }
        assert!(failures.accounts.lock().len() <= ADDRESSES + 1);
        assert!(!failures.may_try(None, now));
    }

    #[test]
    fn pages_of_other_origins_are_told_apart() {
        let request = |host: &'static str, origin: Option<&'static str>| {
            let mut headers = HeaderMap::new();
            headers.insert(header::HOST, HeaderValue::from_static(host));
            if let Some(origin) = origin {
                headers.insert(header::ORIGIN, HeaderValue::from_static(origin));
            }
            is_own_origin(&headers)
        };
        assert!(request("127.0.0.1:8080", None));
        assert!(request("127.0.0.1:8080", Some("http://127.0.0.1:8080")));
        assert!(request("pregon.example", Some("https://Pregon.example")));
        assert!(!request("127.0.0.1:8080", Some("http://localhost:3000")));
        assert!(!request("127.0.0.1:8080", Some("null")));
    }
}
