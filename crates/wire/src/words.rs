//! Words that several codecs spell the same way.

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
