//! What a client saw, in its order: the only evidence that the checker gets.

use serde_json::Value;

/// One thing that reached a client.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Seen {
    /// A committed insert: row `n` of a writer, on the channel of its room.
    Fact { room: u32, writer: u32, n: i64 },
    /// An update of a contended row: its version after it.
    Row { id: u32, version: i64 },
    /// Something may be missing here; every channel of the client without a name.
    Gap { channel: Option<String> },
    /// An event that nobody should have made: it cannot be read.
    Strange(String),
}

/// The channel of contended rows.
pub(crate) const ROWS: &str = "rows";

/// The channel of a room.
pub(crate) fn room_channel(room: u32) -> String {
    format!("room_{room}")
}

impl Seen {
    /// Reads an event's payload as it came on `channel`.
    pub(crate) fn event(channel: &str, data: &Value) -> Self {
        let number = |name: &str| data.get(name).and_then(Value::as_i64);
        let small = |name: &str| number(name).and_then(|n| u32::try_from(n).ok());
        let strange = || Self::Strange(format!("{channel}: {data}"));
        if channel == ROWS {
            return match (small("id"), number("version")) {
                (Some(id), Some(version)) => Self::Row { id, version },
                _ => strange(),
            };
        }
        match (small("room"), small("writer"), number("n")) {
            (Some(room), Some(writer), Some(n)) if room_channel(room) == channel => {
                Self::Fact { room, writer, n }
            }
            _ => strange(),
        }
    }
}

impl Seen {
    /// Reads an event that came without the name of its channel: the payload says which it must have been.
    pub(crate) fn named(event: &str, data: &Value) -> Self {
        let room = data
            .get("room")
            .and_then(Value::as_u64)
            .and_then(|room| u32::try_from(room).ok());
        match (event, room) {
            ("row", _) => Self::event(ROWS, data),
            ("fact", Some(room)) => Self::event(&room_channel(room), data),
            _ => Self::Strange(format!("{event}: {data}")),
        }
    }
}

/// All that one client saw, and what it may see.
#[derive(Debug, Default)]
pub(crate) struct Record {
    /// For the report: its number and transport.
    pub(crate) name: String,
    pub(crate) rooms: Vec<u32>,
    /// Whether it follows the contended rows.
    pub(crate) rows: bool,
    pub(crate) seen: Vec<Seen>,
    /// How often it connected.
    pub(crate) connects: u64,
    /// How often the server said that nothing is missing.
    pub(crate) recovered: u64,
    /// Subscribes to channels that its token does not grant and that were not refused.
    pub(crate) let_in: u64,
}

impl Record {
    /// The channels that it follows.
    pub(crate) fn channels(&self) -> Vec<String> {
        let rooms = self.rooms.iter().map(|&room| room_channel(room));
        rooms.chain(self.rows.then(|| ROWS.to_owned())).collect()
    }
}
