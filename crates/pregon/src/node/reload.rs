//! What a reload does not take over.

use serde_json::Value;

use crate::config::Config;

/// The keys that changed and that a reload does not take over, as `section.key`. A secret is named by its section.
pub(super) fn needs_restart(old: &Config, new: &Config) -> Vec<String> {
    let frozen = |config: &Config| {
        let mut config = Config {
            route: Vec::new(),
            channel: Vec::new(),
            decrypt: Vec::new(),
            ..config.clone()
        };
        config.server.deny.clear();
        config.auth.join.clear();
        config.auth.anonymous_join.clear();
        config
    };
    let (old, new) = (frozen(old), frozen(new));
    if old == new {
        return Vec::new();
    }
    let json = |config: &Config| serde_json::to_value(config).unwrap_or_default();
    let mut changed = Vec::new();
    differences(&json(&old), &json(&new), "", &mut changed);
    if changed.is_empty() {
        changed.push("a secret".to_owned());
    }
    changed
}

/// The paths at which two configurations differ; lists are compared as a whole.
fn differences(old: &Value, new: &Value, at: &str, changed: &mut Vec<String>) {
    let (Value::Object(before), Value::Object(after)) = (old, new) else {
        if old != new {
            changed.push(at.to_owned());
        }
        return;
    };
    for (key, value) in before {
        let path = if at.is_empty() {
            key.clone()
        } else {
            format!("{at}.{key}")
        };
        differences(value, after.get(key).unwrap_or(&Value::Null), &path, changed);
    }
    changed.extend(after.keys().filter(|key| !before.contains_key(*key)).cloned());
}
