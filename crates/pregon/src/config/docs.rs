//! The reference page, the JSON schema and the commented default file, all made from the structs.

use std::fmt::Write;

use schemars::Schema;
use serde_json::{Map, Value};

use super::Config;

/// The schema of the structs.
pub(super) fn schema() -> Schema {
    schemars::generate::SchemaSettings::draft2020_12()
        .into_generator()
        .into_root_schema_for::<Config>()
}

/// The JSON schema of `pregon.toml`, for editors.
pub fn schema_json() -> String {
    let mut text = serde_json::to_string_pretty(&schema()).unwrap_or_default();
    text.push('\n');
    text
}

/// Sections within sections: the outer one, the header, the struct.
const NESTED: [(&str, &str, &str); 7] = [
    ("postgres", "[postgres.outbox]", "Outbox"),
    ("redis", "[[redis.channel]]", "RedisChannel"),
    ("redis", "[[redis.pattern]]", "RedisPattern"),
    ("redis", "[[redis.stream]]", "RedisStream"),
    ("route", "[route.enrich]", "Enrich"),
    ("router", "[router.queue]", "RouterQueue"),
    ("router", "[[router.rule]]", "RouterRule"),
];

/// One section of the file.
struct Section {
    /// `[server]` or `[[watch]]`.
    header: String,
    text: String,
    keys: Vec<Key>,
}

struct Key {
    name: String,
    text: String,
    /// As TOML; `None` where there is no default.
    default: Option<String>,
    kind: String,
    required: bool,
}

/// The reference page of the configuration.
pub fn reference_markdown() -> String {
    let mut out = String::from(
        "# Configuration\n\nEvery key of `pregon.toml`. `pregon check` names everything that is wrong with a file at once. \
         This page is made from the program (`UPDATE_DOCS=1 cargo test -p pregon config`).\n\n\
         Lengths of time are written `\"500ms\"`, `\"5s\"`, `\"2m\"`, `\"1h\"`, `\"7d\"`; sizes `\"64KiB\"`, `\"1MiB\"`. Paths of files are relative to the \
         folder of `pregon.toml`.\n\nThe environment overrides the file: `DATABASE_URL`, `PREGON_ADMIN_URL`, `REDIS_URL` (or `REDIS_ADDR` and `REDIS_PASSWORD`), `JWT_SECRET`, \
         `PREGON_LISTEN` (`PORT` where the file names no address), `PREGON_API_KEY`, `PREGON_ADMIN_TOKEN`, `PREGON_DATA`, `PREGON_NODE`, `WHATSAPP_APP_SECRET`, `WHATSAPP_VERIFY_TOKEN`, `WHATSAPP_TOKEN`, `WHATSAPP_GRAPH_URL`. A variable whose section the file does not have is ignored.\n",
    );
    for section in sections() {
        let _ = write!(
            out,
            "\n## `{}`\n\n{}\n\n| key | | default |\n|---|---|---|\n",
            section.header, section.text
        );
        for key in section.keys {
            let default = match key.default {
                Some(default) => format!("`{default}`"),
                None if key.required => "required".into(),
                None => String::new(),
            };
            let text = key.text.replace('|', "\\|");
            let _ = writeln!(out, "| `{}` ({}) | {} | {} |", key.name, key.kind, text, default);
        }
    }
    out
}

/// A file with every key commented out, at its default.
pub fn default_toml() -> String {
    let mut out =
        String::from("# pregon.toml with every key at its default. Remove the `#` of what you change.\n");
    for section in sections() {
        out.push('\n');
        comment(&mut out, &section.text);
        let _ = writeln!(out, "# {}", section.header);
        for key in section.keys {
            comment(&mut out, &format!("  {}", key.text));
            let value = key.default.unwrap_or_else(|| {
                if key.required {
                    "…  # required".into()
                } else {
                    "…".into()
                }
            });
            let _ = writeln!(out, "# {} = {value}", key.name);
        }
    }
    out
}

fn comment(out: &mut String, text: &str) {
    for line in text.lines() {
        let _ = writeln!(out, "## {line}");
    }
}

fn sections() -> Vec<Section> {
    let schema = schema();
    let root = schema.as_value();
    let order = [
        "server",
        "auth",
        "postgres",
        "watch",
        "listen",
        "redis",
        "webhook",
        "route",
        "decrypt",
        "socketio",
        "centrifuge",
        "endpoint",
        "channel",
        "router",
        "limits",
        "log",
        "cluster",
        "metrics",
        "admin",
    ];
    let mut sections = Vec::new();
    for name in order {
        let Some(property) = root.pointer(&format!("/properties/{name}")) else {
            continue;
        };
        let list = property.get("items");
        let body = resolve(root, list.unwrap_or(property));
        let header = if list.is_some() {
            format!("[[{name}]]")
        } else {
            format!("[{name}]")
        };
        sections.push(section(root, header, body));
        for (_, header, definition) in NESTED.iter().filter(|(outer, ..)| *outer == name) {
            let body = root
                .pointer(&format!("/$defs/{definition}"))
                .unwrap_or(&Value::Null);
            sections.push(section(root, (*header).into(), body));
        }
    }
    sections
}

fn section(root: &Value, header: String, body: &Value) -> Section {
    let empty = Map::new();
    let required: Vec<&str> = body
        .get("required")
        .and_then(Value::as_array)
        .into_iter()
        .flatten()
        .filter_map(Value::as_str)
        .collect();
    let keys = body
        .get("properties")
        .and_then(Value::as_object)
        .unwrap_or(&empty)
        .iter()
        .filter(|(_, property)| !is_sections(root, property))
        .map(|(name, property)| {
            let required = required.contains(&name.as_str());
            let default = property
                .get("default")
                .filter(|value| !value.is_null() && !required && **value != "")
                .map(Value::to_string);
            Key {
                name: name.clone(),
                text: text(property),
                default,
                kind: kind(root, property),
                required,
            }
        });
    Section {
        header,
        text: text(body),
        keys: keys.collect(),
    }
}

/// Whether a key is a section or a list of them, which have headers of their own.
fn is_sections(root: &Value, property: &Value) -> bool {
    let inner = property.get("items").or_else(|| {
        property
            .get("default")
            .filter(|default| default.is_object())
            .and(Some(property))
    });
    let inner = inner.map(|inner| resolve(root, inner));
    inner.is_some_and(|inner| inner.get("properties").is_some())
}

/// A description on one line.
fn text(schema: &Value) -> String {
    schema
        .get("description")
        .and_then(Value::as_str)
        .unwrap_or("")
        .split_whitespace()
        .collect::<Vec<_>>()
        .join(" ")
}

fn resolve<'s>(root: &'s Value, schema: &'s Value) -> &'s Value {
    let branches = schema
        .get("anyOf")
        .or_else(|| schema.get("allOf"))
        .and_then(Value::as_array);
    let schema = branches
        .and_then(|branches| branches.iter().find(|branch| branch.get("$ref").is_some()))
        .unwrap_or(schema);
    let target = schema
        .get("$ref")
        .and_then(Value::as_str)
        .map(|target| target.trim_start_matches('#'));
    target.and_then(|target| root.pointer(target)).unwrap_or(schema)
}

fn kind(root: &Value, property: &Value) -> String {
    let schema = resolve(root, property);
    if let Some(words) = schema.get("enum").and_then(Value::as_array) {
        let words: Vec<String> = words
            .iter()
            .filter(|word| !word.is_null())
            .map(Value::to_string)
            .collect();
        return words.join(", ");
    }
    match schema.get("format").and_then(Value::as_str) {
        Some("period") => return "time".into(),
        Some("size") => return "size".into(),
        Some("secret") => return "secret".into(),
        _ => {}
    }
    let names: Vec<&str> = match schema.get("type") {
        Some(Value::String(one)) => vec![one],
        Some(Value::Array(many)) => many.iter().filter_map(Value::as_str).collect(),
        _ => Vec::new(),
    };
    let word = |name: &&str| match *name {
        "string" => Some("text"),
        "integer" => Some("number"),
        "boolean" => Some("true/false"),
        "array" => Some("list"),
        "object" => Some("table"),
        _ => None,
    };
    names.iter().filter_map(word).collect::<Vec<_>>().join(" or ")
}
