//! Words that several codecs spell each in its way.

use std::borrow::Cow;

/// What a client can ask for. Names are not judged here: the session knows the limits.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Command<'a> {
    /// The token, when none came with the request.
    Auth {
        /// A JWT.
        token: Cow<'a, str>,
    },
    /// Follow a channel, perhaps from the past on.
    Subscribe {
        /// The channel's name.
        channel: Cow<'a, str>,
        /// A position or a duration such as `5m`.
        since: Option<Cow<'a, str>>,
        /// At most that many entries of the past.
        last: Option<u32>,
    },
    /// No longer follow a channel.
    Unsubscribe {
        /// The channel's name.
        channel: Cow<'a, str>,
    },
    /// Put an event into a channel.
    Publish {
        /// The channel's name.
        channel: Cow<'a, str>,
        /// The event's name.
        event: Cow<'a, str>,
        /// Any JSON value, as the client wrote it.
        data: &'a str,
    },
    /// An event of the application's own, for which a route decides where it goes.
    Emit {
        /// The event's name.
        event: Cow<'a, str>,
        /// Raw JSON values with commas between.
        args: &'a str,
    },
    /// Who follows a channel.
    Presence {
        /// The channel's name.
        channel: Cow<'a, str>,
        /// The last client of the answer before, where that was not all.
        since: Option<Cow<'a, str>>,
    },
    /// Is anybody there.
    Ping,
}

/// Why a replay or a live stream cannot be complete.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum GapReason {
    /// The source may have lost events (a LISTEN connection broke, a row could not be rendered).
    Source,
    /// The log no longer keeps what came after the client's position.
    Pruned,
    /// The log began anew, so the client's position belongs to another epoch.
    Restart,
}

impl GapReason {
    /// The word that clients see.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Source => "source",
            Self::Pruned => "pruned",
            Self::Restart => "restart",
        }
    }
}
