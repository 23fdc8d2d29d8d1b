//! The gym: somebody passes the turnstile.

use super::{Act, Ask, Deed, Sql, any};

pub(in crate::demo) const DEEDS: &[Deed] = &[Deed {
    kind: "entrada",
    acts: entry,
}];

/// As many as members.sql has, and those of them whose membership has ended.
const MEMBERS: u32 = 16;
const EXPIRED: [u32; 3] = [6, 9, 14];

const ENTRY: &str =
    "INSERT INTO registro_entradas (id_miembro, tipo_acceso) VALUES ($1, $2) RETURNING id_entrada::text";

/// Three of four of traffic are members; the others pass without an event, which the page shows too.
fn entry(ask: &Ask<'_>) -> anyhow::Result<Vec<Act>> {
    let member = rand::random_range(1..=MEMBERS);
    let (member, kind) = match rand::random_range(0..8) {
        _ if ask.is("vencida") => (Some(any(&EXPIRED, 6).to_string()), "miembro"),
        _ if !ask.body.is_null() => {
            let named = ask.text("id_miembro")?;
            (Some(named.unwrap_or_else(|| member.to_string())), "miembro")
        }
        0 => (None, "visitante"),
        1 => (None, "personal"),
        _ => (Some(member.to_string()), "miembro"),
    };
    Ok(vec![Act::Sql(Sql {
        text: ENTRY,
        values: vec![member, Some(kind.to_owned())],
        quiet: kind != "miembro",
    })])
}
