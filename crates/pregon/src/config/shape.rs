//! Compares the file with the schema of the structs: unknown keys, missing keys, wrong types, wrong words.
//!
//! What is wrong is reported and left out, so that everything else can still be read and checked.

use serde_json::{Map, Value};

use super::problem::nearest;
use super::tree::Tree;
use super::units::{Period, Size};

/// The values of the file that fit the schema.
pub(super) fn clean(tree: &mut Tree) -> Value {
    let schema = super::docs::schema();
    let json = tree.json();
    let mut walk = Walk {
        root: schema.as_value(),
        tree,
    };
    let root = walk.root;
    walk.value("", json, root)
        .unwrap_or_else(|| Value::Object(Map::new()))
}

struct Walk<'w> {
    root: &'w Value,
    tree: &'w mut Tree,
}

impl<'w> Walk<'w> {
    fn value(&mut self, path: &str, value: Value, schema: &'w Value) -> Option<Value> {
        let schema = resolve(self.root, schema);
        if let Some(words) = schema.get("enum").and_then(Value::as_array) {
            return self.word(path, value, words, schema);
        }
        let types = types(schema);
        if !types.iter().any(|name| fits(name, &value)) {
            let shown = shown(&value, schema);
            self.tree.report(
                path,
                shown,
                format!("must be {}, not {}", expected(schema, &types), kind(&value)),
                "",
            );
            return None;
        }
        match value {
            Value::Object(map) => self.object(path, map, schema),
            Value::Array(items) => {
                let item = schema.get("items")?;
                let items = items.into_iter().enumerate();
                Some(
                    items
                        .filter_map(|(index, value)| self.value(&format!("{path}[{index}]"), value, item))
                        .collect(),
                )
            }
            Value::String(text) => self.text(path, text, schema),
            Value::Number(number) => self.number(path, number, schema),
            other => Some(other),
        }
    }

    fn object(&mut self, path: &str, map: Map<String, Value>, schema: &'w Value) -> Option<Value> {
        let below = |key: &str| {
            if path.is_empty() {
                key.to_owned()
            } else {
                format!("{path}.{key}")
            }
        };
        let mut clean = Map::new();
        let Some(known) = schema.get("properties").and_then(Value::as_object) else {
            let entry = schema.get("additionalProperties")?;
            for (key, value) in map {
                if let Some(value) = self.value(&below(&key), value, entry) {
                    clean.insert(key, value);
                }
            }
            return Some(Value::Object(clean));
        };
        let missing = schema
            .get("required")
            .and_then(Value::as_array)
            .into_iter()
            .flatten()
            .filter_map(Value::as_str);
        for key in missing.filter(|key| !map.contains_key(*key)) {
            self.tree.report_key(
                &below(key),
                format!("the key `{key}` is missing"),
                format!("add `{key}` to this section"),
            );
        }
        for (key, value) in map {
            let alias = schema
                .pointer(&format!("/x-aliases/{key}"))
                .and_then(Value::as_str);
            let name = alias.unwrap_or(&key);
            let Some(entry) = known.get(name) else {
                self.unknown(&below(&key), &key, known);
                continue;
            };
            if alias.is_some() && clean.contains_key(name) {
                self.tree.report_key(
                    &below(&key),
                    format!("`{key}` and `{name}` are the same key"),
                    "keep one of them",
                );
                continue;
            }
            if let Some(value) = self.value(&below(&key), value, entry) {
                clean.insert(name.to_owned(), value);
            }
        }
        Some(Value::Object(clean))
    }

    fn unknown(&mut self, path: &str, key: &str, known: &Map<String, Value>) {
        let remedy = match nearest(key, known.keys().map(String::as_str)) {
            Some(near) => format!("did you mean `{near}`?"),
            None => format!(
                "known are {}",
                known.keys().cloned().collect::<Vec<_>>().join(", ")
            ),
        };
        self.tree.report_key(path, format!("unknown key `{key}`"), remedy);
    }

    fn word(&mut self, path: &str, value: Value, words: &[Value], schema: &Value) -> Option<Value> {
        if words.contains(&value) {
            return Some(value);
        }
        let words: Vec<&str> = words.iter().filter_map(Value::as_str).collect();
        let list = words.join("`, `");
        let text = value.as_str().unwrap_or("");
        let later = schema
            .get("x-later")
            .and_then(Value::as_array)
            .is_some_and(|later| later.contains(&value));
        if later {
            self.tree.report(
                path,
                Some(text.into()),
                format!("`{text}` comes later"),
                format!("use `{list}`"),
            );
        } else {
            let remedy = nearest(text, words.iter().copied())
                .filter(|_| !text.is_empty())
                .map(|near| format!("did you mean `{near}`?"));
            self.tree.report(
                path,
                Some(show(&value)),
                format!("must be one of `{list}`"),
                remedy.unwrap_or_default(),
            );
        }
        None
    }

    fn text(&mut self, path: &str, text: String, schema: &Value) -> Option<Value> {
        let (good, example) = match schema.get("format").and_then(Value::as_str) {
            Some("period") => (Period::parse(&text).is_some(), "\"5s\", \"2m\" or \"1h\""),
            Some("size") => (
                Size::parse(&text).is_some(),
                "\"64KiB\", \"1MiB\" or a number of bytes",
            ),
            _ => (true, ""),
        };
        if !good {
            let what = if example.contains("KiB") {
                "a size"
            } else {
                "a length of time"
            };
            self.tree.report(
                path,
                Some(text),
                format!("is not {what}"),
                format!("write it like {example}"),
            );
            return None;
        }
        Some(Value::String(text))
    }

    fn number(&mut self, path: &str, number: serde_json::Number, schema: &Value) -> Option<Value> {
        let least = schema
            .get("minimum")
            .and_then(Value::as_i64)
            .or_else(|| (schema.get("format")? == "size").then_some(0));
        let most = match schema.get("format").and_then(Value::as_str) {
            Some("uint32") => i64::from(u32::MAX),
            _ => i64::MAX,
        };
        let value = number.as_i64().unwrap_or_default();
        if least.is_some_and(|least| value < least) || value > most {
            let message = format!("must be between {} and {most}", least.unwrap_or(i64::MIN));
            self.tree.report(path, Some(number.to_string()), message, "");
            return None;
        }
        Some(Value::Number(number))
    }
}

/// Follows `$ref` and takes the branch of an optional value that is not null.
fn resolve<'w>(root: &'w Value, schema: &'w Value) -> &'w Value {
    if let Some(target) = schema.get("$ref").and_then(Value::as_str) {
        return root
            .pointer(target.trim_start_matches('#'))
            .map_or(schema, |schema| resolve(root, schema));
    }
    match schema.get("anyOf").and_then(Value::as_array) {
        Some(branches) => {
            let branch = branches
                .iter()
                .find(|branch| branch.get("type") != Some(&Value::from("null")));
            branch.map_or(schema, |branch| resolve(root, branch))
        }
        None => schema,
    }
}

fn types(schema: &Value) -> Vec<&str> {
    match schema.get("type") {
        Some(Value::String(one)) => vec![one],
        Some(Value::Array(many)) => many
            .iter()
            .filter_map(Value::as_str)
            .filter(|name| *name != "null")
            .collect(),
        _ => Vec::new(),
    }
}

fn fits(name: &str, value: &Value) -> bool {
    match name {
        "string" => value.is_string(),
        "integer" => value.is_i64(),
        "number" => value.is_number(),
        "boolean" => value.is_boolean(),
        "array" => value.is_array(),
        "object" => value.is_object(),
        _ => false,
    }
}

fn expected(schema: &Value, types: &[&str]) -> String {
    match schema.get("format").and_then(Value::as_str) {
        Some("period") => return "a length of time such as \"5s\"".into(),
        Some("size") => return "a size such as \"64KiB\"".into(),
        _ => {}
    }
    let word = |name: &&str| match *name {
        "string" => "a text",
        "integer" => "a whole number",
        "number" => "a number",
        "boolean" => "true or false",
        "array" => "a list",
        "object" => "a section",
        _ => "something else",
    };
    types.iter().map(word).collect::<Vec<_>>().join(" or ")
}

fn kind(value: &Value) -> &'static str {
    match value {
        Value::Null => "a date or a number out of range",
        Value::Bool(_) => "true or false",
        Value::Number(number) if number.is_f64() => "a number with a fraction",
        Value::Number(_) => "a number",
        Value::String(_) => "a text",
        Value::Array(_) => "a list",
        Value::Object(_) => "a section",
    }
}

/// The value for the report; secrets are not shown.
fn shown(value: &Value, schema: &Value) -> Option<String> {
    let secret = schema.get("format").is_some_and(|format| format == "secret");
    (!secret && !value.is_null()).then(|| show(value))
}

fn show(value: &Value) -> String {
    value.as_str().map_or_else(|| value.to_string(), str::to_owned)
}
