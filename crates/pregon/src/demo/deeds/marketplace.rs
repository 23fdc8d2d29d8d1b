//! The marketplace: its services tell in Redis what has changed.

use serde_json::json;

use super::{Act, Ask, Deed, Message};

pub(in crate::demo) const DEEDS: &[Deed] = &[Deed {
    kind: "pedido",
    acts: order,
}];

/// An order was paid: the administrators hear of it, or its seller, whose events an administrator must not get.
fn order(_: &Ask<'_>) -> anyhow::Result<Vec<Act>> {
    let order = rand::random_range(10_000..1_000_000);
    let body = if rand::random_range(0..3) == 0 {
        json!({"type": "SELLER_STATS_UPDATED", "seller_id": "42", "metadata": {"order_id": order, "status": "payment_confirmed"}})
    } else {
        json!({"type": "ADMIN_STATS_UPDATED", "metadata": {"order_id": order, "action": "payment_verified"}})
    };
    Ok(vec![Act::Publish(Message {
        channel: "events".to_owned(),
        json: body.to_string(),
        key: order.to_string(),
    })])
}
