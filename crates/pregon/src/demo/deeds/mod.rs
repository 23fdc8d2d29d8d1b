//! What can happen in the examples: one file per example, each with a list of named deeds. The first of a list is what
//! the demo's traffic does; a page asks for any of them by name, with a body of its own.
//!
//! A deed only says what is to be done; `act` does it. SQL is written here and nowhere else, values travel beside it.

pub(super) mod live_sales;
pub(super) mod turnstile;
pub(super) mod chat_inbox;
pub(super) mod marketplace;
pub(super) mod whatsapp_router;

use anyhow::Context;
use aws_lc_rs::aead::{AES_256_GCM, Aad, LessSafeKey, Nonce, UnboundKey};
use rand::seq::IndexedRandom;
use serde_json::Value;

/// A deed by its name.
#[derive(Debug)]
pub(super) struct Deed {
    pub(super) kind: &'static str,
    /// What has to be done, in this order.
    pub(super) acts: fn(&Ask<'_>) -> anyhow::Result<Vec<Act>>,
}

/// What was asked for; traffic asks for nothing in particular.
#[derive(Debug)]
pub(super) struct Ask<'a> {
    /// The body that the page sent, or null.
    pub(super) body: &'a Value,
    /// The inbox's key.
    pub(super) key: &'a MessageKey,
}

impl Ask<'_> {
    /// A text of the body, if it is there.
    pub(super) fn text(&self, name: &str) -> anyhow::Result<Option<String>> {
        match self.body.get(name) {
            None | Some(Value::Null) => Ok(None),
            Some(Value::String(text)) => Ok(Some(text.clone())),
            Some(Value::Number(number)) => Ok(Some(number.to_string())),
            Some(_) => anyhow::bail!("`{name}` has to be a text or a number"),
        }
    }

    /// Whether the body says `true`.
    pub(super) fn is(&self, name: &str) -> bool {
        self.body.get(name) == Some(&Value::Bool(true))
    }
}

/// One thing that is done.
#[derive(Debug)]
pub(super) enum Act {
    Sql(Sql),
    /// A statement whose rows (channel, message, key) are published in Redis, by a service that does not give up when it is away.
    Announce(Sql),
    /// A delivery of WhatsApp.
    Deliver(Delivery),
}

/// A statement that returns, as text, what its event carries under the page's key; no row means that nothing happened.
#[derive(Debug)]
pub(super) struct Sql {
    pub(super) text: &'static str,
    /// For `$1`, `$2` and so on, whatever their types.
    pub(super) values: Vec<Option<String>>,
    /// It makes no event.
    pub(super) quiet: bool,
}

/// A message of the services, in a channel of Redis.
#[derive(Debug)]
pub(super) struct Message {
    pub(super) channel: String,
    pub(super) json: String,
    /// What the event carries under the page's key.
    pub(super) key: String,
}

/// A delivery, and what its event carries under the page's key.
#[derive(Debug)]
pub(super) struct Delivery {
    pub(super) json: String,
    pub(super) key: String,
    /// It makes no event that the page knows by a key.
    pub(super) quiet: bool,
}

/// The secret that the demo signs its deliveries with; its router is reachable from this machine only.
pub(super) const APP_SECRET: &str = "demo";

/// What people write.
const TEXTS: [&str; 8] = [
    "Hola, ¿tienen cita para mañana?",
    "Gracias, ahí nos vemos",
    "¿Cuánto cuesta el plan anual?",
    "Ya hice la transferencia",
    "¿Me pueden llamar por la tarde?",
    "Perfecto, quedo al pendiente",
    "No me llegó el correo",
    "¿Abren los domingos?",
];

/// One of a list.
fn any<T: Copy>(list: &[T], otherwise: T) -> T {
    list.choose(&mut rand::rng()).copied().unwrap_or(otherwise)
}

fn any_text() -> String {
    any(&TEXTS, "Hola").to_owned()
}

/// The key of the inbox's messages, made for one run of the demo.
#[derive(Clone)]
pub(super) struct MessageKey([u8; 32]);

impl std::fmt::Debug for MessageKey {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("MessageKey")
    }
}

impl MessageKey {
    pub(super) fn random() -> Self {
        Self(rand::random())
    }

    /// 64 hexadecimal digits, as the example's gateway wants it.
    pub(super) fn hex(&self) -> String {
        hex::encode(self.0)
    }

    /// Hex `iv:tag:data`, as the inbox stores its texts.
    pub(super) fn encrypt(&self, text: &str) -> anyhow::Result<String> {
        let key = UnboundKey::new(&AES_256_GCM, &self.0).context("a key of 32 bytes")?;
        let iv: [u8; 12] = rand::random();
        let mut data = text.as_bytes().to_vec();
        let tag = LessSafeKey::new(key)
            .seal_in_place_separate_tag(Nonce::assume_unique_for_key(iv), Aad::empty(), &mut data)
            .context("a text that cannot be encrypted")?;
        let parts = [hex::encode(iv), hex::encode(tag.as_ref()), hex::encode(data)];
        Ok(parts.join(":"))
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn a_text_is_stored_as_three_hexadecimal_parts() {
        let sealed = MessageKey::random().encrypt("hola").unwrap();
        let lengths: Vec<usize> = sealed.split(':').map(str::len).collect();
        assert_eq!(lengths, [24, 32, 8]);
    }
}
