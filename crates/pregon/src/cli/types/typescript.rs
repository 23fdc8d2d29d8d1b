//! Tables and events as the text of a `.d.ts`.

use std::fmt::Write as _;

use super::Table;
use super::events::{Event, Name, Payload, Value};
use pregon_capture::catalog::shape::{Field, Shape};

const HEAD: &str = "// Written by `pregon types` from the configuration and the database: do not edit.\n";

/// The whole file.
pub(super) fn render(tables: &[Table], events: &[Event]) -> String {
    let names = interfaces(tables);
    let mut out = String::from(HEAD);
    for (table, name) in tables.iter().zip(&names) {
        let _ = write!(
            out,
            "\n/** A row of {}. */\nexport interface {name} {{\n",
            comment(&table.title)
        );
        for field in &table.fields {
            if let Some(lost) = lost(&field.shape) {
                let _ = writeln!(out, "  /** {lost} */");
            }
            let _ = writeln!(out, "  {}: {};", key(&field.name), field_type(field));
        }
        out.push_str("}\n");
    }
    out.push_str("\n/** Events by name: `createClient<Events>(…)`. */\nexport interface Events {\n");
    for event in events {
        let data = if is_ambiguous(event, events) {
            "unknown".to_owned()
        } else {
            let types: Vec<String> = event
                .payloads
                .iter()
                .map(|payload| payload_type(payload, &names))
                .collect();
            types.join(" | ")
        };
        let _ = writeln!(out, "  {}: {data};", event_key(&event.name));
    }
    out.push_str("}\n");
    out
}

/// One name for each table's interface, of letters and digits, no two the same.
fn interfaces(tables: &[Table]) -> Vec<String> {
    let mut names: Vec<String> = Vec::with_capacity(tables.len());
    for table in tables {
        let base = pascal(&table.watch);
        let taken = |name: &String| names.contains(name) || name == "Events";
        let mut name = base.clone();
        let mut number = 2;
        while taken(&name) {
            name = format!("{base}{number}");
            number += 1;
        }
        names.push(name);
    }
    names
}

fn pascal(name: &str) -> String {
    let mut out = String::new();
    for word in name.split(|letter: char| !letter.is_alphanumeric()) {
        let mut letters = word.chars();
        if let Some(first) = letters.next() {
            out.extend(first.to_uppercase());
            out.push_str(letters.as_str());
        }
    }
    if out.starts_with(|first: char| first.is_alphabetic()) {
        out
    } else {
        format!("Row{out}")
    }
}

/// How much of a column a JavaScript number does not keep, in words for its reader.
fn lost(shape: &Shape) -> Option<&'static str> {
    match shape {
        Shape::BigInteger => Some(
            "bigint: exact up to 9007199254740991 (2^53 - 1); for larger ones send it as text (`as_text` of the route)",
        ),
        Shape::Decimal => Some(
            "numeric: JSON.parse keeps 15 to 17 digits and no trailing zeros; for money send it as text (`as_text` of the route)",
        ),
        _ => None,
    }
}

fn field_type(field: &Field) -> String {
    let base = match &field.shape {
        Shape::Number | Shape::BigInteger | Shape::Decimal => "number".to_owned(),
        Shape::Boolean => "boolean".to_owned(),
        Shape::Text => "string".to_owned(),
        Shape::Any => return "any".to_owned(),
        Shape::OneOf(labels) if labels.is_empty() => "string".to_owned(),
        Shape::OneOf(labels) => labels
            .iter()
            .map(|label| quoted(label))
            .collect::<Vec<_>>()
            .join(" | "),
    };
    let base = if field.array {
        format!("({base} | null)[]")
    } else {
        base
    };
    if field.not_null {
        base
    } else {
        format!("{base} | null")
    }
}

fn payload_type(payload: &Payload, names: &[String]) -> String {
    let column =
        |(table, column): &(usize, String)| Some(format!("{}[{}]", names.get(*table)?, quoted(column)));
    match payload {
        Payload::Row(table) => names.get(*table).cloned().unwrap_or_else(|| "any".to_owned()),
        Payload::Object(keys) => {
            let entry = |(name, value): &(String, Value)| {
                let data = match value {
                    Value::Any => "any".to_owned(),
                    Value::Column(table, name) => {
                        column(&(*table, name.clone())).unwrap_or_else(|| "any".to_owned())
                    }
                    Value::Text(field) => field_type(field),
                };
                format!("{}: {data}", key(name))
            };
            format!("{{ {} }}", keys.iter().map(entry).collect::<Vec<_>>().join("; "))
        }
        Payload::Nothing => "null".to_owned(),
        Payload::Anything => "any".to_owned(),
    }
}

/// Whether TypeScript would hold the type of a pattern against that of another event whose name may fit it.
fn is_ambiguous(event: &Event, events: &[Event]) -> bool {
    let Name::Pattern(before, behind) = &event.name else {
        return false;
    };
    events
        .iter()
        .filter(|other| other.name != event.name)
        .any(|other| match &other.name {
            Name::Fixed(name) => {
                name.starts_with(before) && name.ends_with(behind) && other.payloads != event.payloads
            }
            Name::Pattern(first, _) => first.starts_with(before) || before.starts_with(first),
        })
}

fn event_key(name: &Name) -> String {
    match name {
        Name::Fixed(name) => key(name),
        Name::Pattern(before, behind) if before.is_empty() && behind.is_empty() => {
            "[event: string]".to_owned()
        }
        Name::Pattern(before, behind) => {
            format!("[event: `{}${{string}}{}`]", literal(before), literal(behind))
        }
    }
}

/// A property's name, quoted where it is no identifier.
fn key(name: &str) -> String {
    let plain = |letter: char| letter.is_ascii_alphanumeric() || letter == '_' || letter == '$';
    if name.starts_with(|first: char| first.is_ascii_digit()) || name.is_empty() || !name.chars().all(plain) {
        quoted(name)
    } else {
        name.to_owned()
    }
}

/// A text in double quotes; JSON's are TypeScript's.
fn quoted(text: &str) -> String {
    serde_json::Value::from(text).to_string()
}

/// A text inside of backquotes.
fn literal(text: &str) -> String {
    text.replace('\\', "\\\\")
        .replace('`', "\\`")
        .replace("${", "\\${")
}

/// A text that cannot end the comment that it stands in.
fn comment(text: &str) -> String {
    text.replace("*/", "* /")
}
