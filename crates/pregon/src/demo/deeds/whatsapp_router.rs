//! The router: somebody writes by WhatsApp.

use serde_json::json;

use super::{Act, Ask, Deed, Delivery, any_text};

pub(in crate::demo) const DEEDS: &[Deed] = &[Deed {
    kind: "mensaje",
    acts: delivery,
}];

/// As many as writers.sql has.
const WRITERS: u32 = 3;

/// From whoever was put there by writers.sql; `telefono` and `texto` choose.
fn delivery(ask: &Ask<'_>) -> anyhow::Result<Vec<Act>> {
    let text = ask.text("texto")?.unwrap_or_else(any_text);
    let from = ask.text("telefono")?;
    let from = from.unwrap_or_else(|| format!("521550000000{}", rand::random_range(1..=WRITERS)));
    let number = rand::random_range(10_000_000..1_000_000_000_u64);
    let now = (crate::demo::statements::now() / 1_000.0) as u64;
    let message = json!({ "from": from, "id": format!("wamid.demo.{number}"), "timestamp": now.to_string(), "demo": number,
        "type": "text", "text": { "body": text } });
    let value = json!({ "messaging_product": "whatsapp", "metadata": { "phone_number_id": "109" },
        "contacts": [{ "wa_id": from }], "messages": [message] });
    let body = json!({ "object": "whatsapp_business_account",
        "entry": [{ "id": "1", "changes": [{ "field": "messages", "value": value }] }] });
    Ok(vec![Act::Deliver(Delivery {
        json: body.to_string(),
        key: number.to_string(),
    })])
}
