//! Checks that the names of channels can be taken apart again.

use super::data::item;
use crate::config::tree::Tree;
use crate::config::{Channel, Config};
use crate::route::expr::{Expr, Kind};
use crate::route::naming::Naming;
use crate::route::template::Template;
use pregon_capture::query::NamedSql;

/// Reports touching holes in channels whose parts somebody compares: their values can never be told apart.
pub(super) fn routes(config: &Config, tree: &mut Tree) {
    // What stops this is reported where it stands.
    let Ok(naming) = Naming::build(config) else { return };
    for (index, route) in config.route.iter().enumerate() {
        for (place, text) in route.to.iter().enumerate() {
            let Ok(template) = Template::parse(text) else {
                continue;
            };
            if let Err(error) = template.separated()
                && naming.is_compared(&template)
            {
                let key = item(tree, &format!("route[{index}].to"), place);
                tree.report(&key, Some(text.clone()), error.to_string(), "");
            }
        }
    }
}

/// Reports captures in the rules of a section that stands for other channels: when rights are asked again, only these are known.
pub(super) fn followed(channel: &Channel, at: &str, written: &str, tree: &mut Tree) {
    if channel.follow.is_empty() {
        return;
    }
    let subscribe = channel.subscribe.as_deref().map(|text| {
        let expr = Expr::compile(text, Kind::Client).ok();
        (written, text, expr.map(|expr| expr.captures()))
    });
    let query = channel.allow_sql.as_deref().map(|text| {
        let query = NamedSql::select(text).ok();
        let captures = query.map(|query| {
            let names = query.names().iter();
            let captures = names.filter_map(|name| name.strip_prefix("channel."));
            Some(captures.map(str::to_owned).collect())
        });
        ("allow_sql", text, captures)
    });
    for (key, text, captures) in subscribe.into_iter().chain(query) {
        let capture = match captures {
            Some(Some(names)) if names.is_empty() => continue,
            Some(Some(names)) => names
                .first()
                .map_or("channel".into(), |name: &String| format!("channel.{name}")),
            Some(None) => "channel".into(),
            None => continue,
        };
        tree.report(
            &format!("{at}.{key}"),
            Some(text.into()),
            format!("`{capture}` is not known when a followed channel is asked for again"),
            "let the rules of a section with `follow` look at claims alone",
        );
    }
}
