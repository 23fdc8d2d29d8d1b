//! The router: somebody writes by WhatsApp, an agent answers, a telephone tells how far the answer came. All three are deliveries,
//! as Meta would post them; answers are echoes of what was written on the shop's own telephone.

use serde_json::{Value, json};

use super::{Act, Ask, Deed, Delivery, any_text};

pub(in crate::demo) const DEEDS: &[Deed] = &[
    Deed {
        kind: "mensaje",
        acts: message,
    },
    Deed {
        kind: "respuesta",
        acts: reply,
    },
    Deed {
        kind: "estado",
        acts: status,
    },
];

/// As many as writers.sql has.
const WRITERS: u32 = 3;

/// From whoever was put there by writers.sql; `telefono`, `nombre` and `texto` choose.
fn message(ask: &Ask<'_>) -> anyhow::Result<Vec<Act>> {
    let text = ask.text("texto")?.unwrap_or_else(any_text);
    let from = ask.text("telefono")?;
    let from = from.unwrap_or_else(|| format!("521550000000{}", rand::random_range(1..=WRITERS)));
    let contact = match ask.text("nombre")? {
        Some(name) => json!({ "wa_id": from, "profile": { "name": name } }),
        None => json!({ "wa_id": from }),
    };
    let number = number();
    let message = json!({ "from": from, "id": wamid(number), "timestamp": seconds(), "demo": number,
        "type": "text", "text": { "body": text } });
    Ok(vec![delivery(
        "messages",
        json!({ "contacts": [contact], "messages": [message] }),
        Some(number),
    )])
}

/// The shop's answer to `telefono`, and word that WhatsApp took it.
fn reply(ask: &Ask<'_>) -> anyhow::Result<Vec<Act>> {
    let (to, text) = (needed(ask, "telefono")?, needed(ask, "texto")?);
    let number = number();
    let echo = json!({ "from": "109", "to": to, "id": wamid(number), "timestamp": seconds(), "demo": number,
        "type": "text", "text": { "body": text } });
    let echoes = delivery(
        "smb_message_echoes",
        json!({ "message_echoes": [echo] }),
        Some(number),
    );
    Ok(vec![echoes, told(&wamid(number), &to, "sent")])
}

/// How far the message `wamid` came: `delivered` or `read`.
fn status(ask: &Ask<'_>) -> anyhow::Result<Vec<Act>> {
    let (wamid, to, state) = (
        needed(ask, "wamid")?,
        needed(ask, "telefono")?,
        needed(ask, "estado")?,
    );
    Ok(vec![told(&wamid, &to, &state)])
}

fn needed(ask: &Ask<'_>, name: &str) -> anyhow::Result<String> {
    ask.text(name)?
        .ok_or_else(|| anyhow::anyhow!("`{name}` is missing"))
}

fn told(wamid: &str, to: &str, state: &str) -> Act {
    let status = json!({ "id": wamid, "recipient_id": to, "status": state, "timestamp": seconds() });
    delivery("messages", json!({ "statuses": [status] }), None)
}

/// The page knows messages by their numbers; word of a status has none.
fn delivery(field: &str, mut value: Value, number: Option<u64>) -> Act {
    if let Some(map) = value.as_object_mut() {
        map.insert("messaging_product".into(), "whatsapp".into());
        map.insert("metadata".into(), json!({ "phone_number_id": "109" }));
    }
    let body = json!({ "object": "whatsapp_business_account",
        "entry": [{ "id": "1", "changes": [{ "field": field, "value": value }] }] });
    Act::Deliver(Delivery {
        json: body.to_string(),
        key: number.map(|number| number.to_string()).unwrap_or_default(),
        quiet: number.is_none(),
    })
}

fn number() -> u64 {
    rand::random_range(10_000_000..1_000_000_000)
}

fn wamid(number: u64) -> String {
    format!("wamid.demo.{number}")
}

fn seconds() -> String {
    ((crate::demo::statements::now() / 1_000.0) as u64).to_string()
}
