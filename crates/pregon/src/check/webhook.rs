//! Checks `[[webhook]]`.

use super::data::source_name;
use super::{is_own_path, is_path};
use crate::config::tree::Tree;
use crate::config::{Config, Preset, Webhook};

/// Checks names, paths, headers and that there is a secret.
pub(super) fn webhooks(config: &Config, tree: &mut Tree) {
    let before = config.sources().count() - config.webhook.len();
    for (index, webhook) in config.webhook.iter().enumerate() {
        let at = format!("webhook[{index}]");
        let names: Vec<&str> = config.sources().take(before + index).collect();
        source_name(&webhook.name, &names, &at, tree);
        if webhook.name.is_empty() && tree.has(&format!("{at}.name")) {
            tree.report(&format!("{at}.name"), None, "is empty", "name it, for its routes");
        }
        path(config, index, webhook, &at, tree);
        if webhook.secrets().is_empty() {
            let remedy = match &webhook.secret_env {
                Some(variable) => format!("set {variable}"),
                None => "write `secret`, or name a variable with `secret_env`".into(),
            };
            tree.report_key(
                &format!("{at}.secret"),
                "nobody could be believed without a secret",
                remedy,
            );
        }
        let bad_header = http::HeaderName::from_bytes(webhook.header.as_bytes()).is_err();
        if webhook.preset == Preset::Hmac && bad_header {
            tree.report(
                &format!("{at}.header"),
                Some(webhook.header.clone()),
                "is not the name of a header",
                "",
            );
        }
        if webhook.body.0 == 0 {
            tree.report(
                &format!("{at}.body"),
                None,
                "must not be zero",
                "remove it for the default",
            );
        }
    }
}

fn path(config: &Config, index: usize, webhook: &Webhook, at: &str, tree: &mut Tree) {
    let key = format!("{at}.path");
    if !tree.has(&key) {
        return;
    }
    let value = Some(webhook.path.clone());
    let others = config.webhook.iter().take(index).map(|other| &other.path);
    let mut taken = others
        .chain(config.endpoint.iter().map(|endpoint| &endpoint.path))
        .chain([&config.server.path]);
    if !is_path(&webhook.path) || webhook.path.contains(['{', '}', '*']) {
        tree.report(
            &key,
            value,
            "must be a path",
            "begin it with `/`, without `{`, `}` and `*`",
        );
    } else if is_own_path(&webhook.path) || taken.any(|path| *path == webhook.path) {
        tree.report(
            &key,
            value,
            "is taken already",
            "choose another, for example `/hooks/stripe`",
        );
    }
}
