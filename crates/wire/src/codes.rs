//! The one table of every number that a client can see: error replies and WebSocket close codes.
//! `docs/codes.md` is [`markdown`] of this table; a code that is not in [`ALL`] must not be sent.
//!
//! The range says what to do: 100-199 terminal for that command, 200-299 may be retried,
//! 3000-3499 reconnect and resume, 3500-3999 do not reconnect, 1000-1015 as RFC 6455 says.

/// One entry of the table.
#[derive(Debug, PartialEq, Eq)]
pub struct Code {
    /// What goes over the wire.
    pub number: u16,
    /// Stable name, also on the wire.
    pub name: &'static str,
    /// Whether the same thing may succeed later: the command again, or a new connection that resumes.
    pub retry: bool,
    /// What happened and what to do, for a person.
    pub help: &'static str,
}

impl Code {
    /// Whether this number closes a connection (else it answers one command).
    pub const fn is_close(&self) -> bool {
        self.number >= 1000
    }
}

macro_rules! codes {
    ($($name:ident = $number:literal $text:literal $retry:literal $help:literal;)*) => {
        $(
            #[doc = concat!("`", stringify!($number), " ", $text, "`: ", $help)]
            pub const $name: Code = Code { number: $number, name: $text, retry: $retry, help: $help };
        )*
        /// The whole table, by number.
        pub const ALL: &[&Code] = &[$(&$name),*];
    };
}

codes! {
    BAD_REQUEST = 100 "bad_request" false "The frame is not a command: correct the JSON, the type or the named field.";
    UNAUTHORIZED = 101 "unauthorized" false "This needs a token: send auth first.";
    INVALID_TOKEN = 102 "invalid_token" false "The token is malformed, expired or not signed by a trusted key: get a new one.";
    FORBIDDEN = 103 "forbidden" false "The token does not grant this channel or action.";
    BAD_CHANNEL = 104 "bad_channel" false "The channel's name is empty, too long or has control characters.";
    BAD_POSITION = 105 "bad_position" false "`since` is neither a position from this server nor a duration such as 5m.";
    NOT_SUBSCRIBED = 106 "not_subscribed" false "The session does not follow that channel.";
    TOO_MANY_SUBSCRIPTIONS = 107 "too_many_subscriptions" false "The session follows as many channels as it may: unsubscribe from one first.";
    TOO_LARGE = 108 "too_large" false "The data is larger than this server accepts.";
    BAD_EVENT = 109 "bad_event" false "The event's name is empty, too long or has control characters.";
    UNKNOWN_EVENT = 110 "unknown_event" false "No route takes events of this name from clients.";
    NO_PRESENCE = 111 "no_presence" false "The members of this channel are not told: its section does not set `presence`.";
    INTERNAL = 200 "internal" true "The server failed; its log says why. Try again later.";
    RATE_LIMITED = 201 "rate_limited" true "Too many commands in a short time: wait and try again.";
    UNAVAILABLE = 202 "unavailable" true "A part that this needs is not attached at the moment: try again later.";
    CLOSE_PROTOCOL_ERROR = 1002 "protocol_error" false "A frame breaks RFC 6455: correct the client.";
    CLOSE_INVALID_DATA = 1007 "invalid_data" false "A text is not UTF-8, or compressed data does not inflate: correct the client.";
    CLOSE_MESSAGE_TOO_BIG = 1009 "message_too_big" false "A message is larger than this server accepts: send smaller ones.";
    CLOSE_SHUTDOWN = 3000 "shutdown" true "The server is stopping: reconnect after a short random wait and resume.";
    CLOSE_SLOW = 3001 "slow" true "The client did not read fast enough: reconnect and resume from the last position.";
    CLOSE_TOKEN_EXPIRED = 3002 "token_expired" true "The token expired: refresh it, reconnect and resume.";
    CLOSE_PING_TIMEOUT = 3003 "ping_timeout" true "Nothing was heard from the client in time: reconnect and resume.";
    CLOSE_INTERNAL = 3005 "internal" true "The server failed; its log says why. Reconnect and resume.";
    CLOSE_RATE_LIMITED = 3006 "rate_limited" true "Too many commands in a short time: reconnect later.";
    CLOSE_STANDBY = 3007 "standby" true "Another gateway reads the database instead of this one: reconnect, which leads there, and resume.";
    CLOSE_INVALID_TOKEN = 3500 "invalid_token" false "The token is malformed, expired or not signed by a trusted key: get a new one before connecting.";
    CLOSE_AUTH_TIMEOUT = 3501 "auth_timeout" false "No token came in time: send auth right after connecting.";
    CLOSE_BAD_PROTOCOL = 3502 "bad_protocol" false "The client does not speak this endpoint's protocol.";
    CLOSE_FORBIDDEN = 3503 "forbidden" false "The token does not grant this endpoint or room.";
    CLOSE_TOO_LARGE = 3504 "too_large" false "The client sent more than this server accepts.";
    CLOSE_DISCONNECTED = 3505 "disconnected" false "An operator closed this connection.";
    CLOSE_REVOKED = 3506 "revoked" false "An operator revoked this user's tokens: sign in anew for one that is newer.";
}

/// The table as a Markdown page (`docs/codes.md`).
pub fn markdown() -> String {
    let mut page = String::from(
        "# Codes\n\nGenerated from `crates/wire/src/codes.rs`.\n\n\
         100-199 are terminal for that command, 200-299 may be retried. After 3000-3499 reconnect and resume; \
         after 3500-3999 do not.\n",
    );
    section(&mut page, "Errors (in `error` replies)", |code| !code.is_close());
    section(&mut page, "Close codes", Code::is_close);
    page
}

fn section(page: &mut String, title: &str, wanted: impl Fn(&Code) -> bool) {
    page.push_str(&format!(
        "\n## {title}\n\n| code | name | retry | meaning |\n|---|---|---|---|\n"
    ));
    for code in ALL.iter().filter(|code| wanted(code)) {
        let retry = if code.retry { "yes" } else { "no" };
        page.push_str(&format!(
            "| {} | {} | {retry} | {} |\n",
            code.number, code.name, code.help
        ));
    }
}

/// The table as schemas of the AsyncAPI document (`docs/asyncapi.yaml`), two steps deep.
pub fn asyncapi() -> String {
    let mut page = String::new();
    schema(&mut page, "errorCode", |code| !code.is_close());
    schema(&mut page, "closeCode", Code::is_close);
    page
}

fn schema(page: &mut String, name: &str, wanted: impl Fn(&Code) -> bool) {
    page.push_str(&format!("    {name}:\n      type: integer\n      oneOf:\n"));
    for code in ALL.iter().filter(|code| wanted(code)) {
        // In single quotes YAML knows one escape: an apostrophe is doubled.
        page.push_str(&format!(
            "        - {{ const: {}, title: {}, description: '{}', x-retry: {} }}\n",
            code.number,
            code.name,
            code.help.replace('\'', "''"),
            code.retry
        ));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_rise_and_the_range_tells_whether_to_retry() {
        assert!(
            ALL.windows(2)
                .all(|pair| matches!(pair, [a, b] if a.number < b.number))
        );
        for code in ALL {
            let retry = matches!(code.number, 200..=299 | 3000..=3499);
            assert_eq!(code.retry, retry, "{}", code.name);
        }
    }

    #[test]
    fn markdown_lists_every_code_once() {
        let page = markdown();
        for code in ALL {
            assert_eq!(
                page.matches(&format!("| {} | {} |", code.number, code.name))
                    .count(),
                1
            );
        }
    }
}
