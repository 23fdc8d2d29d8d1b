//! One packet: `<type>[<attachments>-][<namespace>,][<ack id>][JSON]` (socket.io-protocol v5, "Packet encoding").
//! Accepted is what official clients write; the reference server takes a little more (blanks as digits, events
//! without data), which only other hands write.

use std::borrow::Cow;

use serde_json::value::RawValue;

use super::auth::Auth;
use super::elements::Elements;

/// The namespace that the wire leaves out.
pub const ROOT: &str = "/";

/// As many as the reference parser takes.
pub const MAX_ATTACHMENTS: usize = 10;

/// What a packet is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Kind {
    /// A client enters a namespace, with its `auth`; the server's reply has the `sid`.
    Connect,
    /// Either side leaves a namespace.
    Disconnect,
    /// A name and arguments; an ack id asks for an answer.
    Event,
    /// The answer to an event.
    Ack,
    /// The server refuses a namespace. A client that sends it is to be closed.
    ConnectError,
    /// An event whose arguments have attachments.
    BinaryEvent,
    /// An answer whose arguments have attachments.
    BinaryAck,
}

impl Kind {
    /// Whether attachments follow.
    pub const fn is_binary(self) -> bool {
        matches!(self, Self::BinaryEvent | Self::BinaryAck)
    }

    /// Whether this is an event, with attachments or without.
    pub const fn is_event(self) -> bool {
        matches!(self, Self::Event | Self::BinaryEvent)
    }

    /// Whether this is an answer, with attachments or without.
    pub const fn is_ack(self) -> bool {
        matches!(self, Self::Ack | Self::BinaryAck)
    }

    const fn from_byte(byte: u8) -> Option<Self> {
        Some(match byte {
            b'0' => Self::Connect,
            b'1' => Self::Disconnect,
            b'2' => Self::Event,
            b'3' => Self::Ack,
            b'4' => Self::ConnectError,
            b'5' => Self::BinaryEvent,
            b'6' => Self::BinaryAck,
            _ => return None,
        })
    }
}

/// A packet, borrowed from the message that carried it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Packet<'a> {
    /// What it is for.
    pub kind: Kind,
    /// Begins with `/`; has no comma and no control character.
    pub namespace: &'a str,
    /// Which answer belongs to which event, chosen by whoever sent the event.
    pub ack: Option<u64>,
    /// How many binary messages follow, 1 to [`MAX_ATTACHMENTS`] for the binary kinds, else 0.
    pub attachments: usize,
    /// Raw JSON that goes with the kind: an array for events and acks, an object for a connect.
    pub data: Option<&'a str>,
}

impl<'a> Packet<'a> {
    /// The name and the arguments of an event; nothing for the other kinds.
    pub fn event(&self) -> Option<Event<'a>> {
        if !self.kind.is_event() {
            return None;
        }
        read_event(self.data?).ok()
    }

    /// What a connect says of its sender; nothing for the other kinds.
    pub fn auth(&self) -> Auth<'a> {
        let data = self.data.filter(|_| self.kind == Kind::Connect);
        data.map(Auth::read).unwrap_or_default()
    }

    /// The arguments of an ack; none for the other kinds.
    pub fn answer(&self) -> Elements<'a> {
        let data = self.data.filter(|_| self.kind.is_ack());
        Elements::of_array(data.unwrap_or("[]"))
    }
}

/// The parts of an event.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Event<'a> {
    /// Never a reserved one; a number stays as it was written.
    pub name: Cow<'a, str>,
    /// What follows the name, each as raw JSON.
    pub args: Elements<'a>,
}

/// Not a packet; the whole connection is to be closed, not only the namespace.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum ParseError {
    /// The first character is no type.
    #[error("a socket.io packet begins with 0 to 6")]
    Kind,
    /// A binary packet does not say how many attachments follow, or none or too many do.
    #[error("a binary packet says that 1 to 10 attachments follow")]
    AttachmentCount,
    /// A namespace has a control character.
    #[error("a namespace has no control characters")]
    Namespace,
    /// A number too large for any client to have counted to.
    #[error("an ack id is at most 2^53 - 1")]
    AckId,
    /// The data is missing, is not JSON, or is of the wrong type for the packet.
    #[error("the data is not json of the type that the packet wants")]
    Data,
    /// The first element of an event is neither a string nor a number.
    #[error("the name of an event is a string or a number")]
    EventName,
    /// The name means something else to clients.
    #[error("the name of an event is reserved")]
    ReservedEvent,
    /// A text came while attachments were due.
    #[error("a text came where an attachment was due")]
    AttachmentDue,
    /// A binary message came and no packet waits for it.
    #[error("an attachment came that no packet announced")]
    StrayAttachment,
    /// A placeholder names no attachment of its packet.
    #[error("a placeholder names an attachment that the packet has not")]
    Placeholder,
    /// A packet is larger with its attachments than the connection may send.
    #[error("a packet is too large with its attachments")]
    TooLarge,
}

/// JavaScript counts no further without skipping numbers.
const MAX_ACK: u64 = (1 << 53) - 1;

/// Reads the data of one Engine.IO message. JSON is checked as a whole, without building values.
pub fn parse(text: &str) -> Result<Packet<'_>, ParseError> {
    let kind = text
        .bytes()
        .next()
        .and_then(Kind::from_byte)
        .ok_or(ParseError::Kind)?;
    let rest = text.get(1..).unwrap_or_default();
    let (attachments, rest) = if kind.is_binary() {
        split_attachments(rest)?
    } else {
        (0, rest)
    };
    let (namespace, rest) = split_namespace(rest)?;
    let (ack, rest) = split_ack(rest)?;
    let data = (!rest.is_empty()).then_some(rest);
    check_data(kind, data)?;
    Ok(Packet {
        kind,
        namespace,
        ack,
        attachments,
        data,
    })
}

/// Whether a namespace can go over the wire.
pub fn is_namespace(name: &str) -> bool {
    name.starts_with('/') && !name.contains(',') && !name.contains(char::is_control)
}

/// Names that `emit` refuses on both sides, because clients raise them themselves.
pub fn is_reserved(event: &str) -> bool {
    matches!(
        event,
        "connect" | "connect_error" | "disconnect" | "disconnecting" | "newListener" | "removeListener"
    )
}

fn split_attachments(text: &str) -> Result<(usize, &str), ParseError> {
    let (digits, rest) = split_digits(text);
    let rest = rest.strip_prefix('-').ok_or(ParseError::AttachmentCount)?;
    match digits.parse() {
        Ok(count) if (1..=MAX_ATTACHMENTS).contains(&count) => Ok((count, rest)),
        _ => Err(ParseError::AttachmentCount),
    }
}

fn split_namespace(text: &str) -> Result<(&str, &str), ParseError> {
    if !text.starts_with('/') {
        return Ok((ROOT, text));
    }
    let (name, rest) = text.split_once(',').unwrap_or((text, ""));
    if is_namespace(name) {
        Ok((name, rest))
    } else {
        Err(ParseError::Namespace)
    }
}

fn split_ack(text: &str) -> Result<(Option<u64>, &str), ParseError> {
    match split_digits(text) {
        ("", rest) => Ok((None, rest)),
        (digits, rest) => match digits.parse() {
            Ok(id) if id <= MAX_ACK => Ok((Some(id), rest)),
            _ => Err(ParseError::AckId),
        },
    }
}

fn split_digits(text: &str) -> (&str, &str) {
    let end = text.bytes().take_while(u8::is_ascii_digit).count();
    text.split_at_checked(end).unwrap_or((text, ""))
}

fn check_data(kind: Kind, data: Option<&str>) -> Result<(), ParseError> {
    match kind {
        Kind::Disconnect if data.is_some() => Err(ParseError::Data),
        Kind::Disconnect => Ok(()),
        Kind::Connect => data.map_or(Ok(()), |data| check_json(data, b"{")),
        Kind::ConnectError => check_json(data.ok_or(ParseError::Data)?, b"{\""),
        Kind::Ack | Kind::BinaryAck => check_json(data.ok_or(ParseError::Data)?, b"["),
        Kind::Event | Kind::BinaryEvent => {
            let data = data.ok_or(ParseError::Data)?;
            check_json(data, b"[")?;
            read_event(data).map(drop)
        }
    }
}

/// Whether the whole text is one JSON value that begins with one of `first`.
fn check_json(text: &str, first: &[u8]) -> Result<(), ParseError> {
    let begins = text.bytes().next().is_some_and(|byte| first.contains(&byte));
    // A raw value is only skimmed, by a loop: deep nesting cannot overflow the stack.
    if begins && serde_json::from_str::<&RawValue>(text).is_ok() {
        Ok(())
    } else {
        Err(ParseError::Data)
    }
}

/// Splits a checked array.
pub(super) fn read_event(data: &str) -> Result<Event<'_>, ParseError> {
    let mut args = Elements::of_array(data);
    let first = args.next().ok_or(ParseError::EventName)?;
    let name = match first.bytes().next() {
        Some(b'"') => read_text(first).ok_or(ParseError::EventName)?,
        Some(b'-' | b'0'..=b'9') => Cow::Borrowed(first),
        _ => return Err(ParseError::EventName),
    };
    if is_reserved(&name) {
        return Err(ParseError::ReservedEvent);
    }
    Ok(Event { name, args })
}

/// The text of a JSON string. Half of a surrogate pair is a JSON string too, but no text that a database or
/// another client could take.
pub(super) fn read_text(json: &str) -> Option<Cow<'_, str>> {
    if let Ok(text) = serde_json::from_str::<&str>(json) {
        return Some(Cow::Borrowed(text));
    }
    serde_json::from_str(json).map(Cow::Owned).ok()
}
