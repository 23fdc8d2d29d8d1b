//! The marketplace: its services write to the shop's database, and tell in Redis what has changed. What each request does, and whom
//! it tells, is in the example's page.sql.

use super::{Act, Ask, Deed, Sql, any};

pub(in crate::demo) const DEEDS: &[Deed] = &[
    Deed {
        kind: "algo",
        acts: something,
    },
    Deed {
        kind: "pedido",
        acts: order,
    },
    Deed {
        kind: "producto",
        acts: product,
    },
    Deed {
        kind: "cliente",
        acts: customer,
    },
];

const ORDER: &str = "SELECT channel, message::text, key FROM shop_order($1, $2, $3)";
const CHANGE: &str = "SELECT channel, message::text, key FROM shop_change($1, $2, $3)";
const REGISTER: &str = "SELECT channel, message::text, key FROM shop_register($1)";

/// Who registers while nobody looks.
const NAMES: [&str; 8] = [
    "Paloma Carrasco",
    "Héctor Zamora",
    "Valeria Quintana",
    "Nicolás Güell",
    "Sofía Ibáñez",
    "Emiliano Cruz",
    "Lucía Fernández",
    "Tomás Aguirre",
];

/// What traffic does: mostly orders, now and then a fresh customer, and more of what there is least of.
fn something(ask: &Ask<'_>) -> anyhow::Result<Vec<Act>> {
    match rand::random_range(0..12) {
        0 => announce(REGISTER, [Some(any(&NAMES, "Paloma Carrasco").to_owned())]),
        1 | 2 => announce(CHANGE, [None, Some(any(&[6, 8, 12], 8).to_string()), zero()]),
        _ => order(ask),
    }
}

/// `product`, `quantity` and the name of the `customer`; without them, one of anything for the guest.
fn order(ask: &Ask<'_>) -> anyhow::Result<Vec<Act>> {
    let quantity = ask.text("quantity")?.unwrap_or_else(|| "1".to_owned());
    announce(
        ORDER,
        [ask.text("product")?, Some(quantity), ask.text("customer")?],
    )
}

/// `more` of a `product`, or a `discount` in per cent.
fn product(ask: &Ask<'_>) -> anyhow::Result<Vec<Act>> {
    let more = ask.text("more")?.or_else(zero);
    let discount = ask.text("discount")?.or_else(zero);
    announce(CHANGE, [ask.text("product")?, more, discount])
}

fn customer(ask: &Ask<'_>) -> anyhow::Result<Vec<Act>> {
    let name = ask
        .text("name")?
        .ok_or_else(|| anyhow::anyhow!("`name` is missing"))?;
    announce(REGISTER, [Some(name)])
}

fn zero() -> Option<String> {
    Some("0".to_owned())
}

fn announce<const N: usize>(text: &'static str, values: [Option<String>; N]) -> anyhow::Result<Vec<Act>> {
    Ok(vec![Act::Announce(Sql {
        text,
        values: values.to_vec(),
        quiet: true,
    })])
}
