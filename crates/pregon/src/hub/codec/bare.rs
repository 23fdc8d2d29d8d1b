//! What a bare endpoint grants: its own channels, and rooms, which clients join and leave by a small message and may say something in.
//!
//! Everything that they hear is the payload of a publication, so that a refusal can only be a close code.

use std::borrow::Cow;

use pregon_wire::Command;
use pregon_wire::codes::{self, Code};
use serde::Deserialize;

use super::{Encoder, Variant};
use crate::hub::Key;
use crate::hub::shard::Shard;
use crate::log::{Body, Entry};
use crate::route::Template;
use crate::session::command::{Asked, Incoming};

/// What a client says about a room.
#[derive(Deserialize)]
struct Said<'a> {
    #[serde(borrow, rename = "type")]
    kind: Cow<'a, str>,
    #[serde(borrow)]
    room: Option<Cow<'a, str>>,
}

/// See the module.
#[derive(Debug)]
pub(crate) struct Rooms {
    /// The channel of a room, where there are some.
    pub channel: Option<Template>,
    /// The endpoint's own channels: these it grants by itself.
    pub own: Vec<Template>,
}

impl Rooms {
    /// The channel of a room. A client names it as it would in a subscribe: the rules judge the whole name.
    pub(crate) fn channel_of(&self, room: &str) -> Option<String> {
        let template = self.channel.as_ref()?;
        template.render(&|name| (name == "room" && !room.is_empty()).then_some(Cow::Borrowed(room)))
    }
}

impl Encoder {
    pub(super) fn bare(&mut self, variant: Variant, entry: &Entry, out: &mut Vec<u8>) {
        if let Body::Publication { data, .. } = &entry.body {
            self.text(variant, data.raw(), out);
        }
    }
}

impl Shard {
    /// A text message on a bare endpoint. What is about no room is passed over: such clients may say things for other servers.
    pub(in crate::hub) fn room_text(&mut self, key: Key, text: &str) {
        let Some(rooms) = self.conn(key).and_then(|conn| conn.rooms.clone()) else {
            return;
        };
        let Ok(said) = serde_json::from_str::<Said<'_>>(text) else {
            return;
        };
        let Some(room) = said.room else { return };
        let Some(channel) = rooms.channel_of(&room) else {
            return self.refuse_room(key, &codes::FORBIDDEN, "");
        };
        let command = match &*said.kind {
            "join" => Command::Subscribe {
                channel: channel.into(),
                since: None,
                last: None,
            },
            "leave" => Command::Unsubscribe {
                channel: channel.into(),
            },
            // The whole message is the payload, so that it reaches the room as it was said.
            kind => Command::Publish {
                channel: channel.into(),
                event: Cow::Owned(kind.to_owned()),
                data: text,
            },
        };
        self.command(key, Asked::default(), command, Vec::new());
    }

    /// Ends the connection for what a client may not do; what may succeed later, and leaving twice, is no reason.
    pub(in crate::hub) fn refuse_room(&mut self, key: Key, code: &'static Code, message: &str) {
        if *code == codes::FORBIDDEN {
            self.close(key, &codes::CLOSE_FORBIDDEN, message);
        } else if *code == codes::TOO_MANY_SUBSCRIPTIONS || *code == codes::RATE_LIMITED {
            self.close(key, &codes::CLOSE_RATE_LIMITED, message);
        }
    }

    /// The rooms that came with the request, as if the client had said so: the first that is not granted ends the connection.
    pub(in crate::hub) fn join_rooms(&mut self, key: Key, rooms: Vec<String>) {
        for room in rooms {
            let said = serde_json::json!({ "type": "join", "room": room }).to_string();
            self.incoming(key, Incoming::Text(said.into()));
        }
    }
}
