//! What happens in the examples: plausible rows and messages, one more at each call.

use anyhow::Context;
use aws_lc_rs::aead::{AES_256_GCM, Aad, LessSafeKey, Nonce, UnboundKey};
use rand::seq::IndexedRandom;
use serde_json::json;

/// What makes one more event.
#[derive(Debug, Clone, Copy)]
pub(super) enum Deed {
    /// A row: an INSERT that returns its key.
    Row(fn(&MessageKey) -> anyhow::Result<String>),
    /// A message in Redis.
    Message(fn() -> Message),
    /// A delivery of WhatsApp.
    Webhook(fn() -> Delivery),
}

/// A message of the marketplace's services.
#[derive(Debug)]
pub(super) struct Message {
    pub(super) channel: &'static str,
    pub(super) json: String,
    /// What the event carries under the example's key.
    pub(super) key: String,
}

/// A delivery, and what the event carries under the example's key.
#[derive(Debug)]
pub(super) struct Delivery {
    pub(super) json: String,
    pub(super) key: String,
}

/// The secret that the demo signs its deliveries with; its router is reachable from this machine only.
pub(super) const APP_SECRET: &str = "demo";

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
    fn encrypt(&self, text: &str) -> anyhow::Result<String> {
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

/// Product and price in cents.
const PRODUCTS: [(&str, u32); 12] = [
    ("Café de olla", 3200),
    ("Chilaquiles verdes", 9800),
    ("Pan de muerto", 2850),
    ("Agua de jamaica", 2400),
    ("Tamal de rajas", 2600),
    ("Torta de milanesa", 7900),
    ("Churros con cajeta", 4500),
    ("Jugo de naranja", 3800),
    ("Enchiladas suizas", 11200),
    ("Concha de vainilla", 1750),
    ("Té de hierbabuena", 2700),
    ("Molletes", 6400),
];

/// As many as members.sql has.
const MEMBERS: u32 = 16;

/// As many as the inbox of the demo has.
const CONVERSATIONS: u32 = 3;

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

pub(super) fn sale(_: &MessageKey) -> anyhow::Result<String> {
    let mut random = rand::rng();
    let (product, price) = PRODUCTS
        .choose(&mut random)
        .copied()
        .unwrap_or(("Café de olla", 3200));
    let count = [1, 1, 1, 2, 2, 3, 4].choose(&mut random).copied().unwrap_or(1);
    let cents = price * count;
    let (whole, rest) = (cents / 100, cents % 100);
    Ok(format!(
        "INSERT INTO ventas (producto, cantidad, total) VALUES ('{product}', {count}, {whole}.{rest:02}) RETURNING id"
    ))
}

/// Three of four are members; the others pass without an event, which the page shows too.
pub(super) fn entry(_: &MessageKey) -> anyhow::Result<String> {
    let (member, kind) = match rand::random_range(0..8) {
        0 => ("NULL".to_owned(), "visitante"),
        1 => ("NULL".to_owned(), "personal"),
        _ => (rand::random_range(1..=MEMBERS).to_string(), "miembro"),
    };
    Ok(format!(
        "INSERT INTO registro_entradas (id_miembro, tipo_acceso) VALUES ({member}, '{kind}') RETURNING id_entrada"
    ))
}

/// A text of the inbox, encrypted as the application would.
pub(super) fn message(key: &MessageKey) -> anyhow::Result<String> {
    let text = TEXTS
        .choose(&mut rand::rng())
        .copied()
        .unwrap_or("¿Abren los domingos?");
    let (conversation, sealed) = (rand::random_range(1..=CONVERSATIONS), key.encrypt(text)?);
    Ok(format!(
        "INSERT INTO messages (conversation_id, sender, message) VALUES ({conversation}, 'user', '{sealed}') RETURNING id"
    ))
}

/// An order was paid: the administrators hear of it, or its seller, whose events the page's administrator must not get.
pub(super) fn stats() -> Message {
    let order = rand::random_range(10_000..1_000_000);
    let body = if rand::random_range(0..3) == 0 {
        json!({"type": "SELLER_STATS_UPDATED", "seller_id": "42", "metadata": {"order_id": order, "status": "payment_confirmed"}})
    } else {
        json!({"type": "ADMIN_STATS_UPDATED", "metadata": {"order_id": order, "action": "payment_verified"}})
    };
    Message {
        channel: "events",
        json: body.to_string(),
        key: order.to_string(),
    }
}

/// Somebody writes by WhatsApp; whoever was put there by writers.sql.
pub(super) fn delivery() -> Delivery {
    let text = TEXTS
        .choose(&mut rand::rng())
        .copied()
        .unwrap_or("¿Abren los domingos?");
    let (number, who) = (
        rand::random_range(10_000_000..1_000_000_000_u64),
        rand::random_range(1..=CONVERSATIONS),
    );
    let from = format!("521550000000{who}");
    let now = (super::traffic::now() / 1_000.0) as u64;
    let message = json!({ "from": from, "id": format!("wamid.demo.{number}"), "timestamp": now.to_string(), "demo": number,
        "type": "text", "text": { "body": text } });
    let value = json!({ "messaging_product": "whatsapp", "metadata": { "phone_number_id": "109" },
        "contacts": [{ "wa_id": from }], "messages": [message] });
    let body = json!({ "object": "whatsapp_business_account",
        "entry": [{ "id": "1", "changes": [{ "field": "messages", "value": value }] }] });
    Delivery {
        json: body.to_string(),
        key: number.to_string(),
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
