//! The session that a request names, so that its client may come back without a position.

use http::StatusCode;

use super::head::Head;
use super::refused::Refused;

/// Length of the text that a client names its session by: shorter ones are easily two clients'.
const SESSION: std::ops::RangeInclusive<usize> = 8..=128;

/// `?session=…`: the path and the text by which the client may come back without a position.
pub(super) fn session(head: &Head) -> Result<Option<String>, Refused> {
    let Some(session) = head.query_first("session") else {
        return Ok(None);
    };
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || b"._~-".contains(&byte);
    if !SESSION.contains(&session.len()) || !session.bytes().all(plain) {
        let message = "session must be 8 to 128 of A-Z a-z 0-9 . _ ~ -, for example crypto.randomUUID()";
        return Err(Refused::new(StatusCode::BAD_REQUEST, message));
    }
    Ok(Some(format!("{}\n{session}", head.path)))
}
