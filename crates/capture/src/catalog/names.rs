//! Names and literals in SQL text: the only place where a string from outside becomes part of a statement.

/// PostgreSQL cuts longer names silently (NAMEDATALEN - 1).
pub const MAX_NAME: usize = 63;

/// A quoted identifier: any name, spelt exactly.
pub fn ident(name: &str) -> String {
    format!("\"{}\"", name.replace('"', "\"\""))
}

/// `"schema"."name"`.
pub fn qualified(schema: &str, name: &str) -> String {
    format!("{}.{}", ident(schema), ident(name))
}

/// A string literal that means the same whatever `standard_conforming_strings` says.
pub fn literal(text: &str) -> String {
    let quoted = text.replace('\'', "''");
    if quoted.contains('\\') {
        return format!(" E'{}'", quoted.replace('\\', "\\\\"));
    }
    format!("'{quoted}'")
}

/// A name as a configuration spells it: in double quotes only where it needs them.
pub fn spelt(name: &str) -> String {
    let plain = |c: char| c.is_alphanumeric() || c == '_' || c == '$';
    if !name.is_empty() && name.chars().all(plain) {
        name.to_owned()
    } else {
        ident(name)
    }
}

/// A list of quoted identifiers.
pub fn ident_list<'a>(names: impl IntoIterator<Item = &'a str>) -> String {
    names.into_iter().map(ident).collect::<Vec<_>>().join(", ")
}

/// A dollar quote whose tag occurs nowhere but at its end.
pub fn dollar_quote(text: &str) -> String {
    let mut tag = String::from("$pregon$");
    let mut number = 0_u32;
    while format!("{text}{tag}").find(&tag) != Some(text.len()) {
        number += 1;
        tag = format!("$pregon{number}$");
    }
    format!("{tag}{text}{tag}")
}

/// Splits `name` or `schema.name`, either part quoted or not; an unquoted part is taken as it is spelt.
pub fn split_qualified(text: &str) -> (Option<String>, String) {
    let mut quoted = false;
    for (index, letter) in text.char_indices() {
        match letter {
            '"' => quoted = !quoted,
            '.' if !quoted => {
                let (schema, name) = text.split_at(index);
                return (
                    Some(unquote(schema)),
                    unquote(name.strip_prefix('.').unwrap_or(name)),
                );
            }
            _ => {}
        }
    }
    (None, unquote(text))
}

fn unquote(part: &str) -> String {
    match part.strip_prefix('"').and_then(|rest| rest.strip_suffix('"')) {
        Some(inner) => inner.replace("\"\"", "\""),
        None => part.to_owned(),
    }
}

/// A name of at most 63 bytes: a longer one is cut and ends in a hash of the whole, so that two of them stay apart.
pub fn shorten(name: &str) -> String {
    if name.len() <= MAX_NAME {
        return name.to_owned();
    }
    let hash = fingerprint(name);
    let keep = MAX_NAME - 9;
    let end = (0..=keep)
        .rev()
        .find(|index| name.is_char_boundary(*index))
        .unwrap_or(0);
    let (head, _) = name.split_at(end);
    let (short, _) = hash.split_at(8);
    format!("{head}_{short}")
}

/// FNV-1a, 64 bits, as hex: tells a changed definition from an unchanged one; no protection against intent.
pub fn fingerprint(text: &str) -> String {
    let mut hash: u64 = 0xcbf2_9ce4_8422_2325;
    for byte in text.bytes() {
        hash ^= u64::from(byte);
        hash = hash.wrapping_mul(0x0100_0000_01b3);
    }
    format!("{hash:016x}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn quotes_are_doubled() {
        assert_eq!(qualified("a\"b", "C d"), "\"a\"\"b\".\"C d\"");
        assert_eq!(literal("it's"), "'it''s'");
        assert_eq!(literal("a\\b'"), " E'a\\\\b'''");
    }

    #[test]
    fn a_dollar_quote_avoids_its_text() {
        assert_eq!(dollar_quote("x"), "$pregon$x$pregon$");
        assert_eq!(dollar_quote("a $pregon$ b"), "$pregon1$a $pregon$ b$pregon1$");
        assert_eq!(dollar_quote("a $pregon"), "$pregon1$a $pregon$pregon1$");
    }

    #[test]
    fn a_spelt_name_can_be_split_again() {
        for name in ["Ventas", "a b", "a.b", "a\"b", ""] {
            assert_eq!(split_qualified(&spelt(name)), (None, name.to_owned()));
        }
        assert_eq!(spelt("Ventas_1"), "Ventas_1");
    }

    #[test]
    fn qualified_names_split_outside_quotes() {
        assert_eq!(split_qualified("f"), (None, "f".into()));
        assert_eq!(split_qualified("app.f"), (Some("app".into()), "f".into()));
        assert_eq!(
            split_qualified("\"a.b\".\"f\"\"g\""),
            (Some("a.b".into()), "f\"g".into())
        );
    }

    #[test]
    fn long_names_are_cut_at_a_character_and_stay_apart() {
        let one = shorten(&"ñ".repeat(60));
        let two = shorten(&format!("{}x", "ñ".repeat(60)));
        assert!(one.len() <= MAX_NAME && two.len() <= MAX_NAME);
        assert_ne!(one, two);
        assert_eq!(shorten("short"), "short");
    }
}
