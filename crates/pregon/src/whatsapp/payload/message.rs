//! One message or status: who, what, when, and the text that people read.

use serde_json::Value;

use super::item::{Alias, Item, Message, Other, Sender, Status};

/// Where a message was found.
pub(super) struct Place<'p> {
    pub(super) numero: &'p str,
    pub(super) field: &'p str,
    /// The `contacts` of the same value.
    pub(super) contacts: &'p [Value],
    /// When the delivery came, for messages without a time, in seconds since 1970.
    pub(super) received: i64,
}

/// The items of a message: itself, and a second name where it tells one. Without an id or a sender it is an event.
pub(super) fn message(raw: Value, place: &Place<'_>, ours: bool, items: &mut Vec<Item>) {
    let (who, who_id) = if ours {
        ("to", "to_user_id")
    } else {
        ("from", "from_user_id")
    };
    let (telefono, user_id) = (digits(&raw, who), user_id(&raw, who_id, who));
    let contact = contact(place.contacts, telefono.as_deref(), user_id.as_deref());
    let telefono = telefono.or_else(|| digits(contact?, "wa_id"));
    let user_id = user_id.or_else(|| text(contact?, "user_id"));
    let Some(wamid) = text(&raw, "id").filter(|_| telefono.is_some() || user_id.is_some()) else {
        return items.push(event(raw, place));
    };
    let tipo = text(&raw, "type").unwrap_or_else(|| "unknown".into());
    let alias = renamed(&raw, telefono.as_deref(), place);
    items.push(Item::Message(Message {
        numero: place.numero.to_owned(),
        wamid,
        telefono,
        user_id,
        nombre: contact.and_then(name),
        remitente_tipo: match (ours, tipo.as_str()) {
            (true, _) => Sender::Agent,
            (false, "system") => Sender::System,
            (false, _) => Sender::User,
        },
        mensaje: said(&raw),
        at: seconds(&raw, place.received),
        tipo,
        raw,
        reglas: Vec::new(),
    }));
    items.extend(alias.map(Item::Alias));
}

/// A status; without a message's id it is an event.
pub(super) fn status(raw: Value, place: &Place<'_>) -> Item {
    let (Some(wamid), Some(estado)) = (text(&raw, "id"), text(&raw, "status")) else {
        return event(raw, place);
    };
    Item::Status(Status {
        numero: place.numero.to_owned(),
        wamid,
        estado,
        telefono: digits(&raw, "recipient_id"),
        user_id: user_id(&raw, "recipient_user_id", "recipient_id"),
        at: seconds(&raw, place.received),
        raw,
    })
}

/// What is kept as it came.
pub(super) fn event(raw: Value, place: &Place<'_>) -> Item {
    Item::Event(Other {
        numero: Some(place.numero.to_owned()).filter(|numero| !numero.is_empty()),
        field: place.field.to_owned(),
        raw,
    })
}

/// The text, the caption or the title: what a person reads in the inbox.
fn said(message: &Value) -> Option<String> {
    let kind = message.get("type")?.as_str()?;
    let body = message.get(kind)?;
    let found = match kind {
        "text" | "system" => body.get("body"),
        "image" | "video" | "audio" | "document" | "sticker" => body.get("caption"),
        "button" | "order" => body.get("text"),
        "interactive" => ["button_reply", "list_reply"]
            .iter()
            .find_map(|reply| body.get(reply)?.get("title")),
        "edit" => return said(body.get("message")?),
        _ => None,
    };
    Some(found?.as_str()?.to_owned())
}

/// The second name of a contact whose number has changed.
fn renamed(raw: &Value, old: Option<&str>, place: &Place<'_>) -> Option<Alias> {
    let system = raw.get("system")?;
    let new = digits(system, "wa_id").or_else(|| digits(system, "new_wa_id"))?;
    let old = old.filter(|old| *old != new)?;
    Some(Alias {
        numero: place.numero.to_owned(),
        old: format!("tel:{old}"),
        new: format!("tel:{new}"),
        field: place.field.to_owned(),
        raw: system.clone(),
    })
}

/// The contact that a message is of; the only one where the message names nobody.
fn contact<'c>(contacts: &'c [Value], telefono: Option<&str>, user_id: Option<&str>) -> Option<&'c Value> {
    let by_id = |contact: &&Value| user_id.is_some() && text(contact, "user_id").as_deref() == user_id;
    let by_number = |contact: &&Value| telefono.is_some() && digits(contact, "wa_id").as_deref() == telefono;
    let only = || match contacts {
        [one] if telefono.is_none() && user_id.is_none() => Some(one),
        _ => None,
    };
    contacts
        .iter()
        .find(by_id)
        .or_else(|| contacts.iter().find(by_number))
        .or_else(only)
}

fn name(contact: &Value) -> Option<String> {
    let profile = contact.get("profile")?;
    text(profile, "name").or_else(|| text(profile, "username"))
}

/// A text that is not empty.
fn text(value: &Value, key: &str) -> Option<String> {
    let text = value.get(key)?.as_str()?;
    (!text.is_empty()).then(|| text.to_owned())
}

/// A business-scoped user id, in its own key or in the place of a number.
fn user_id(value: &Value, key: &str, number: &str) -> Option<String> {
    text(value, key).or_else(|| text(value, number).filter(|text| text.contains(char::is_alphabetic)))
}

/// The digits of a number, however it is written; what has letters is none.
pub(super) fn digits(value: &Value, key: &str) -> Option<String> {
    let digits: String = match value.get(key)? {
        Value::String(text) if text.contains(char::is_alphabetic) => return None,
        Value::String(text) => text.chars().filter(char::is_ascii_digit).collect(),
        Value::Number(number) => number.as_u64()?.to_string(),
        _ => return None,
    };
    (!digits.is_empty()).then_some(digits)
}

/// The last second that is taken for a time: the end of 2099.
const LATEST: i64 = 4_102_444_799;

/// Seconds since 1970, as text or number; the time of the delivery where there is none that makes sense.
fn seconds(value: &Value, received: i64) -> i64 {
    let at = match value.get("timestamp") {
        Some(Value::String(text)) => text.parse().ok(),
        Some(Value::Number(number)) => number.as_i64(),
        _ => None,
    };
    at.filter(|at| (1..=LATEST).contains(at)).unwrap_or(received)
}
