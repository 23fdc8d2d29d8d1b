//! The layouts of the messages: `[uid, packet, opts]` of the Redis emitter, its requests, and the documents of all other adapters.
//! Unknown keys are passed over, because adapters add some with every version.

use std::borrow::Cow;

use bytes::Bytes;
use serde::Deserialize;
use serde::de::IgnoredAny;
use serde_json::value::RawValue;

use super::super::packet::{ROOT, read_event};
use super::super::placeholder::placeholders_fit;
use super::msgpack;
use super::{Action, Broadcast, EmitError, Emitted, MAX_ROOMS, Noted, RoomChange, Target};

/// Numbers of a cluster's messages (`MessageType` of socket.io-adapter).
mod cluster_kind {
    pub(super) const BROADCAST: u64 = 3;
    pub(super) const JOIN: u64 = 4;
    pub(super) const LEAVE: u64 = 5;
    pub(super) const DISCONNECT: u64 = 6;
}

/// Numbers of the Redis emitter's requests (`RequestType`).
mod request_kind {
    pub(super) const JOIN: u64 = 2;
    pub(super) const LEAVE: u64 = 3;
    pub(super) const DISCONNECT: u64 = 4;
}

/// Numbers of packets that are events, with bytes or without.
const EVENTS: [u64; 2] = [2, 5];

#[derive(Deserialize)]
struct RawPacket<'a> {
    #[serde(rename = "type")]
    kind: u64,
    #[serde(borrow)]
    data: &'a RawValue,
    #[serde(borrow)]
    nsp: Option<Cow<'a, str>>,
}

#[derive(Deserialize, Default)]
struct Opts {
    rooms: Option<Vec<Room>>,
    except: Option<Vec<Room>>,
    flags: Option<Flags>,
}

#[derive(Deserialize)]
struct Flags {
    volatile: Option<bool>,
}

/// JavaScript takes numbers for names of rooms.
#[derive(Deserialize)]
#[serde(untagged)]
enum Room {
    Text(String),
    Number(serde_json::Number),
}

impl From<Room> for String {
    fn from(room: Room) -> Self {
        match room {
            Room::Text(text) => text,
            Room::Number(number) => number.to_string(),
        }
    }
}

#[derive(Deserialize)]
struct Request {
    #[serde(rename = "type")]
    kind: u64,
    opts: Option<Opts>,
    #[serde(flatten)]
    change: Change,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Document<'a> {
    #[serde(rename = "type")]
    kind: u64,
    #[serde(borrow)]
    data: Option<&'a RawValue>,
    #[serde(borrow)]
    nsp: Option<Cow<'a, str>>,
    attachment_id: Option<Id>,
}

/// `bigserial`, which the Node driver reads as a text.
#[derive(Deserialize)]
#[serde(untagged)]
enum Id {
    Text(String),
    Number(i64),
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct BroadcastData<'a> {
    #[serde(borrow)]
    packet: RawPacket<'a>,
    opts: Opts,
    request_id: Option<IgnoredAny>,
}

#[derive(Deserialize)]
struct ChangeData {
    opts: Opts,
    #[serde(flatten)]
    change: Change,
}

#[derive(Deserialize)]
struct Change {
    rooms: Option<Vec<Room>>,
    close: Option<bool>,
}

/// A message as JSON, whatever it was written in.
struct Message<'a> {
    json: Cow<'a, str>,
    attachments: Vec<Bytes>,
}

impl<'a> Message<'a> {
    /// In MessagePack `[` and `{` are numbers, which no message is.
    fn read(bytes: &'a [u8]) -> Result<Self, EmitError> {
        if let Some(b'[' | b'{') = bytes.first() {
            let json = std::str::from_utf8(bytes).map_err(|error| EmitError::Layout(error.to_string()))?;
            return Ok(Self {
                json: Cow::Borrowed(json),
                attachments: Vec::new(),
            });
        }
        let msgpack::Transcoded { json, attachments } = msgpack::to_json(bytes)?;
        Ok(Self {
            json: Cow::Owned(json),
            attachments,
        })
    }
}

fn parse<'a, T: Deserialize<'a>>(json: &'a str) -> Result<T, EmitError> {
    serde_json::from_str(json).map_err(|error| EmitError::Layout(error.to_string()))
}

/// A list is of the classic emitter or adapter, a map of the sharded adapter.
pub(super) fn broadcast_or_cluster(namespace: &str, bytes: &[u8]) -> Result<Emitted, EmitError> {
    let Message { json, attachments } = Message::read(bytes)?;
    if json.starts_with('{') {
        return match parse(&json)? {
            Document {
                attachment_id: Some(_),
                ..
            } => Err(no_row()),
            document => whole(namespace, &document, attachments),
        };
    }
    let (_, packet, opts): (IgnoredAny, RawPacket<'_>, Opts) = parse(&json)?;
    if packet.nsp.as_deref().unwrap_or(ROOT) != namespace {
        return Ok(OTHER_NAMESPACE);
    }
    broadcast(namespace, &packet, opts, attachments)
}

pub(super) fn request(namespace: &str, bytes: &[u8]) -> Result<Emitted, EmitError> {
    let Message { json, .. } = Message::read(bytes)?;
    let Request { kind, opts, change } = parse(&json)?;
    // Servers of old versions name one socket instead, and wait for an answer.
    let Some(opts) = opts else { return Ok(NOT_FOR_US) };
    match kind {
        request_kind::JOIN => room_change(namespace, opts, change, Action::Join),
        request_kind::LEAVE => room_change(namespace, opts, change, Action::Leave),
        request_kind::DISCONNECT => disconnect(namespace, opts, &change),
        _ => Ok(NOT_FOR_US),
    }
}

pub(super) fn notification(namespace: &str, bytes: &[u8]) -> Result<Noted, EmitError> {
    let Message { json, attachments } = Message::read(bytes)?;
    let document: Document<'_> = parse(&json)?;
    let delivered = cluster_kind::BROADCAST..=cluster_kind::DISCONNECT;
    let id = match &document.attachment_id {
        None => return whole(namespace, &document, attachments).map(Noted::Whole),
        Some(_) if !delivered.contains(&document.kind) => return Ok(Noted::Whole(NOT_FOR_US)),
        Some(Id::Number(id)) => *id,
        Some(Id::Text(text)) => text.parse().map_err(|_| no_row())?,
    };
    Ok(Noted::Stored(id))
}

pub(super) fn cluster(namespace: &str, bytes: &[u8]) -> Result<Emitted, EmitError> {
    let Message { json, attachments } = Message::read(bytes)?;
    match parse(&json)? {
        Document {
            attachment_id: Some(_),
            ..
        } => Err(no_row()),
        document => whole(namespace, &document, attachments),
    }
}

fn whole(namespace: &str, document: &Document<'_>, attachments: Vec<Bytes>) -> Result<Emitted, EmitError> {
    if document.nsp.as_deref().is_some_and(|nsp| nsp != namespace) {
        return Ok(OTHER_NAMESPACE);
    }
    let data = document.data.map_or("null", RawValue::get);
    if document.kind == cluster_kind::BROADCAST {
        let BroadcastData {
            packet,
            opts,
            request_id,
        } = parse(data)?;
        return match request_id {
            Some(_) => Ok(Emitted::Ignored("an event that wants acknowledgements")),
            None => broadcast(namespace, &packet, opts, attachments),
        };
    }
    let action = match document.kind {
        cluster_kind::JOIN => Action::Join,
        cluster_kind::LEAVE => Action::Leave,
        cluster_kind::DISCONNECT => {
            let ChangeData { opts, change } = parse(data)?;
            return disconnect(namespace, opts, &change);
        }
        _ => return Ok(NOT_FOR_US),
    };
    let ChangeData { opts, change } = parse(data)?;
    room_change(namespace, opts, change, action)
}

fn broadcast(
    namespace: &str,
    packet: &RawPacket<'_>,
    opts: Opts,
    attachments: Vec<Bytes>,
) -> Result<Emitted, EmitError> {
    if !EVENTS.contains(&packet.kind) {
        return Ok(Emitted::Ignored("a packet that is not an event"));
    }
    if packet.nsp.as_deref().is_some_and(|nsp| nsp != namespace) {
        return Ok(OTHER_NAMESPACE);
    }
    let data = packet.data.get();
    if !data.starts_with('[') {
        return Err(EmitError::Layout("an event is a list".into()));
    }
    if !attachments.is_empty() && !placeholders_fit(data, attachments.len()) {
        return Err(EmitError::Placeholder);
    }
    let event = read_event(data).map_err(EmitError::Event)?;
    let volatile = opts.flags.as_ref().and_then(|flags| flags.volatile) == Some(true);
    Ok(Emitted::Broadcast(Broadcast {
        to: target(namespace, opts)?,
        volatile,
        event: event.name.into_owned(),
        args: event.args.as_str().to_owned(),
        count: event.args.count(),
        attachments,
    }))
}

fn room_change(
    namespace: &str,
    opts: Opts,
    change: Change,
    action: fn(Vec<String>) -> Action,
) -> Result<Emitted, EmitError> {
    let rooms = names(change.rooms)?;
    Ok(Emitted::Change(RoomChange {
        to: target(namespace, opts)?,
        action: action(rooms),
    }))
}

fn disconnect(namespace: &str, opts: Opts, change: &Change) -> Result<Emitted, EmitError> {
    Ok(Emitted::Change(RoomChange {
        to: target(namespace, opts)?,
        action: Action::Disconnect {
            close: change.close == Some(true),
        },
    }))
}

fn target(namespace: &str, opts: Opts) -> Result<Target, EmitError> {
    let (rooms, except) = (names(opts.rooms)?, names(opts.except)?);
    if rooms.len() + except.len() > MAX_ROOMS {
        return Err(EmitError::TooManyRooms);
    }
    Ok(Target {
        namespace: namespace.to_owned(),
        rooms,
        except,
    })
}

fn names(rooms: Option<Vec<Room>>) -> Result<Vec<String>, EmitError> {
    let rooms = rooms.unwrap_or_default();
    if rooms.len() > MAX_ROOMS {
        return Err(EmitError::TooManyRooms);
    }
    Ok(rooms.into_iter().map(String::from).collect())
}

const OTHER_NAMESPACE: Emitted = Emitted::Ignored("a message of another namespace");
const NOT_FOR_US: Emitted = Emitted::Ignored("a matter among servers");

fn no_row() -> EmitError {
    EmitError::Layout("the attachment that it names cannot exist".into())
}
