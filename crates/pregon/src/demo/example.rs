//! The examples that the demo runs, with the files that they are shipped with, and plausible people and goods for them.

use rand::seq::IndexedRandom;

/// An example and how to make traffic for it.
#[derive(Debug)]
pub(super) struct Example {
    pub(super) name: &'static str,
    pub(super) config: &'static str,
    pub(super) schema: &'static str,
    /// SQL that brings what must be there before traffic comes.
    pub(super) people: &'static str,
    /// The bare endpoint.
    pub(super) path: &'static str,
    /// The key by which the page finds the statement of an event.
    pub(super) key: &'static str,
    pub(super) needs_token: bool,
    /// One more row, as SQL that returns its key.
    pub(super) statement: fn() -> String,
}

pub(super) static EXAMPLES: [Example; 2] = [
    Example {
        name: "live-sales",
        config: include_str!("../../../../examples/live-sales/pregon.toml"),
        schema: include_str!("../../../../examples/live-sales/schema.sql"),
        people: "",
        path: "/ws/sales",
        key: "id",
        needs_token: false,
        statement: sale,
    },
    Example {
        name: "turnstile",
        config: include_str!("../../../../examples/turnstile/pregon.toml"),
        schema: include_str!("../../../../examples/turnstile/schema.sql"),
        people: include_str!("members.sql"),
        path: "/ws/entradas",
        key: "id_entrada",
        needs_token: true,
        statement: entry,
    },
];

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

fn sale() -> String {
    let mut random = rand::rng();
    let (product, price) = PRODUCTS
        .choose(&mut random)
        .copied()
        .unwrap_or(("Café de olla", 3200));
    let count = [1, 1, 1, 2, 2, 3, 4].choose(&mut random).copied().unwrap_or(1);
    let cents = price * count;
    let (whole, rest) = (cents / 100, cents % 100);
    format!(
        "INSERT INTO ventas (producto, cantidad, total) VALUES ('{product}', {count}, {whole}.{rest:02}) RETURNING id"
    )
}

/// Three of four are members; the others pass without an event, which the page shows too.
fn entry() -> String {
    let (member, kind) = match rand::random_range(0..8) {
        0 => ("NULL".to_owned(), "visitante"),
        1 => ("NULL".to_owned(), "personal"),
        _ => (rand::random_range(1..=MEMBERS).to_string(), "miembro"),
    };
    format!(
        "INSERT INTO registro_entradas (id_miembro, tipo_acceso) VALUES ({member}, '{kind}') RETURNING id_entrada"
    )
}
