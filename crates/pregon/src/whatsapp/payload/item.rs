//! What a delivery consists of, as the inbox keeps it.

use serde::Serialize;
use serde_json::Value;

use pregon_capture::router::LANES;

/// One thing to do.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[serde(tag = "kind", rename_all = "lowercase")]
pub enum Item {
    /// Somebody said something: the contact, or the business from its telephone.
    Message(Message),
    /// How far a message of ours came.
    Status(Status),
    /// A contact has another name from now on.
    Alias(Alias),
    /// Anything else, kept as it came.
    Event(Other),
    /// A body that is no JSON.
    Unreadable { why: String },
}

/// A message of a conversation.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Message {
    /// The business number's id.
    pub numero: String,
    pub wamid: String,
    /// The contact's number, digits only; users with a user name may hide it.
    pub telefono: Option<String>,
    /// The contact's business-scoped user id.
    pub user_id: Option<String>,
    pub nombre: Option<String>,
    pub remitente_tipo: Sender,
    pub tipo: String,
    /// Text, caption or title.
    pub mensaje: Option<String>,
    /// Seconds since 1970.
    pub at: i64,
    pub raw: Value,
    /// What the rules say of it; nothing where none matched.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub reglas: Vec<Value>,
}

/// Who said it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Sender {
    User,
    Agent,
    System,
}

/// What became of a message.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Status {
    pub numero: String,
    pub wamid: String,
    pub estado: String,
    pub telefono: Option<String>,
    pub user_id: Option<String>,
    pub at: i64,
    pub raw: Value,
}

/// Two names of one contact, each `tel:<digits>` or `id:<user id>`.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Alias {
    pub numero: String,
    pub old: String,
    pub new: String,
    pub field: String,
    pub raw: Value,
}

/// Something that is no message, kept as it came.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Other {
    pub numero: Option<String>,
    pub field: String,
    pub raw: Value,
}

impl Item {
    /// The lane in which it is worked on: one contact's items have the same, so that they are stored in order.
    pub fn lane(&self) -> u16 {
        self.who().map_or(0, lane)
    }

    /// The contact that it is of, as a number; nothing for what is of nobody. What fails holds up the items of the same contact.
    pub fn who(&self) -> Option<u64> {
        let name = match self {
            Self::Message(message) => message.user_id.as_deref().or(message.telefono.as_deref()),
            Self::Status(status) => status.user_id.as_deref().or(status.telefono.as_deref()),
            Self::Alias(alias) => alias.old.split_once(':').map(|(_, name)| name),
            Self::Event(_) | Self::Unreadable { .. } => None,
        };
        name.map(hash)
    }
}

/// FNV-1a. The same in every process and version: work waits over restarts and upgrades.
fn hash(who: &str) -> u64 {
    who.bytes().fold(0xcbf2_9ce4_8422_2325_u64, |hash, byte| {
        (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3)
    })
}

/// The bits are mixed once more, because numbers that differ in their last digits differ in few of them.
fn lane(hash: u64) -> u16 {
    let mixed = (hash ^ (hash >> 32)).wrapping_mul(0x9E37_79B9_7F4A_7C15);
    u16::try_from(((mixed >> 32) * u64::from(LANES)) >> 32).unwrap_or(0)
}
