//! Why something did not reach a client, or a client did not stay: the label `reason`.

use std::fmt::Write as _;

use prometheus_client::encoding::{EncodeLabelValue, LabelValueEncoder};

/// See the module.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Reason {
    /// An entry had no subscriber.
    Nobody,
    /// A session fell behind its queue limit.
    Slow,
    /// A source's queue overflowed.
    Overflow,
    /// A condition, template or payload could not be evaluated.
    Rule,
    /// An enrichment query failed or timed out.
    Enrich,
    /// A trigger could not render a row.
    Render,
    /// A limit refused a connection.
    Connections,
    /// A message of a Socket.IO emitter could not be read, fetched or carried out.
    Emitter,
    /// A client was faster than a rate allows.
    Rate,
    /// A message was larger than the limit.
    TooLarge,
    /// A client had too many subscriptions.
    Subscriptions,
    /// No token, or a bad one.
    Token,
    /// The rights say no.
    Forbidden,
    /// A handshake or first-message token took too long.
    Handshake,
    /// The client's bytes break its protocol.
    Protocol,
    /// The operator denies the address.
    Denied,
    /// There was no room for the body of a request.
    Bodies,
    /// A value would have made a channel's name that is taken apart wrongly.
    Ambiguous,
}

impl Reason {
    /// All of them, in the order of their declaration.
    pub const ALL: [Self; 18] = [
        Self::Nobody,
        Self::Slow,
        Self::Overflow,
        Self::Rule,
        Self::Enrich,
        Self::Render,
        Self::Connections,
        Self::Emitter,
        Self::Rate,
        Self::TooLarge,
        Self::Subscriptions,
        Self::Token,
        Self::Forbidden,
        Self::Handshake,
        Self::Protocol,
        Self::Denied,
        Self::Bodies,
        Self::Ambiguous,
    ];

    /// The label's value.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Nobody => "nobody",
            Self::Slow => "slow",
            Self::Overflow => "overflow",
            Self::Rule => "rule",
            Self::Enrich => "enrich",
            Self::Render => "render",
            Self::Connections => "connections",
            Self::Emitter => "emitter",
            Self::Rate => "rate",
            Self::TooLarge => "too_large",
            Self::Subscriptions => "subscriptions",
            Self::Token => "token",
            Self::Forbidden => "forbidden",
            Self::Handshake => "handshake",
            Self::Protocol => "protocol",
            Self::Denied => "denied",
            Self::Bodies => "bodies",
            Self::Ambiguous => "ambiguous",
        }
    }
}

impl EncodeLabelValue for Reason {
    fn encode(&self, encoder: &mut LabelValueEncoder<'_>) -> Result<(), std::fmt::Error> {
        encoder.write_str(self.as_str())
    }
}
