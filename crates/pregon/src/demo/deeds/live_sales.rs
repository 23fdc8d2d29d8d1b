//! The shop: something is sold, a product is restocked.

use super::{Act, Ask, Deed, Sql, any};

pub(in crate::demo) const DEEDS: &[Deed] = &[
    Deed {
        kind: "venta",
        acts: sale,
    },
    Deed {
        kind: "reponer",
        acts: restock,
    },
];

/// Product and price in cents; page.sql of the example has the same products.
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

const SALE: &str = "INSERT INTO ventas (producto, cantidad, total) VALUES ($1, $2, $3) RETURNING id::text";

/// Only what runs low, so that each is one event; its key is the product and how many there are now.
const RESTOCK: &str = "UPDATE productos SET existencias = minimo + $2 WHERE producto = $1 AND existencias <= minimo \
                       RETURNING producto || ':' || existencias";

/// One of so many of traffic's sales brings a product that is sold out, so that the shop goes on.
const RESTOCKED: u32 = 5;

/// Most of a product in one sale that a page asks for.
const MOST: u32 = 100;

/// Anything, or so many of a product: `producto` and `cantidad`.
fn sale(ask: &Ask<'_>) -> anyhow::Result<Vec<Act>> {
    let (product, price) = match ask.text("producto")? {
        None => any(&PRODUCTS, ("Café de olla", 3200)),
        Some(named) => {
            let known = PRODUCTS.iter().find(|(product, _)| *product == named);
            *known.ok_or_else(|| anyhow::anyhow!("the shop has no {named}"))?
        }
    };
    let count = match ask.text("cantidad")? {
        None => any(&[1, 1, 1, 2, 2, 3, 4], 1),
        Some(count) => count.parse()?,
    };
    anyhow::ensure!((1..=MOST).contains(&count), "`cantidad` goes from 1 to {MOST}");
    let cents = price * count;
    let total = format!("{}.{:02}", cents / 100, cents % 100);
    let values = vec![Some(product.to_owned()), Some(count.to_string()), Some(total)];
    let mut acts = vec![sql(SALE, values)];
    if ask.body.is_null() && rand::random_range(0..RESTOCKED) == 0 {
        acts.push(restocking(product.to_owned()));
    }
    Ok(acts)
}

fn restock(ask: &Ask<'_>) -> anyhow::Result<Vec<Act>> {
    let product = ask.text("producto")?;
    let product = product.ok_or_else(|| anyhow::anyhow!("`producto` is missing"))?;
    Ok(vec![restocking(product)])
}

fn restocking(product: String) -> Act {
    let count = rand::random_range(12..40).to_string();
    sql(RESTOCK, vec![Some(product), Some(count)])
}

fn sql(text: &'static str, values: Vec<Option<String>>) -> Act {
    Act::Sql(Sql {
        text,
        values,
        quiet: false,
    })
}
