//! Checks `[auth]`, `[[endpoint]]` and `[[channel]]`.

use std::time::Duration;

use super::{is_own_path, is_path, naming};
use crate::auth::{SetupError, Verifier};
use crate::config::tree::Tree;
use crate::config::{Auth, Channel, Config, Endpoint, Period, TokenRule};
use crate::route::expr::{Expr, Kind};
use crate::route::template::{Pattern, Template};
use crate::session::decide::check_name;
use pregon_capture::query::NamedSql;

/// Checks keys, algorithms and the channels that claims join.
pub(super) fn auth(config: &Config, tree: &mut Tree) {
    let auth = &config.auth;
    if let Err(error) = Verifier::build(auth) {
        setup(auth, &error, tree);
    }
    if auth.required == Some(true) && !auth.configured() {
        let remedy = "set JWT_SECRET, or one of `secret_file`, `public_key_file`, `jwks_url`";
        tree.report(
            "auth.required",
            Some("true".into()),
            "tokens are required but no key is configured",
            remedy,
        );
    }
    if let Some(cookie) = &auth.cookie {
        if cookie.is_empty() || cookie.contains(|c: char| !c.is_ascii_graphic() || "=;,\"".contains(c)) {
            tree.report(
                "auth.cookie",
                Some(cookie.clone()),
                "is not the name of a cookie",
                "use letters, digits, `-` and `_`",
            );
        }
        if config.server.origins.iter().any(|origin| origin == "*") {
            let remedy = "name the origins: with a cookie, any page could otherwise act for its visitor";
            tree.report(
                "server.origins",
                Some("*".into()),
                "every origin is allowed although tokens come by cookie",
                remedy,
            );
        }
    }
    for (index, text) in auth.join.iter().enumerate() {
        claims_template(text, &format!("auth.join[{index}]"), tree);
    }
    for (index, text) in auth.anonymous_join.iter().enumerate() {
        let key = format!("auth.anonymous_join[{index}]");
        if claims_template(text, &key, tree).is_some_and(|template| template.names().next().is_some()) {
            tree.report(
                &key,
                Some(text.clone()),
                "a session without a token has no claims",
                "name a fixed channel",
            );
        }
    }
}

fn setup(auth: &Auth, error: &SetupError, tree: &mut Tree) {
    let key_file = if auth.secret_file.is_some() {
        "auth.secret_file"
    } else {
        "auth.public_key_file"
    };
    let (key, remedy) = match error {
        SetupError::SeveralKeys => (
            "auth",
            "keep one of `secret`, `secret_file`, `public_key_file`, `jwks_url`",
        ),
        SetupError::EmptySecret => ("auth.secret", "set JWT_SECRET or write the secret into a file"),
        SetupError::Unreadable { .. } => (
            key_file,
            "check the path (it is relative to the configuration's folder) and its permissions",
        ),
        SetupError::NoPublicKey(_) => (key_file, "give the public key, `-----BEGIN PUBLIC KEY-----`"),
        SetupError::Mismatch { .. } => (
            "auth.algorithms",
            "remove `algorithms` for the default of this kind of key",
        ),
        SetupError::InsecureJwks => ("auth.jwks_url", "use https"),
        SetupError::Client(_) => ("auth.jwks_url", "check the machine's certificates"),
    };
    let source = std::error::Error::source(error)
        .map(|source| format!(": {source}"))
        .unwrap_or_default();
    tree.report(key, None, format!("{error}{source}"), remedy);
}

/// A template over claims: `{sub}` or `{claims.sub}`.
fn claims_template(text: &str, key: &str, tree: &mut Tree) -> Option<Template> {
    match Template::parse(text) {
        Err(error) => {
            tree.report(key, Some(text.into()), error.to_string(), "");
            None
        }
        Ok(template) => {
            let wrong = template.names().find(|name| {
                ["row", "old", "message"]
                    .iter()
                    .any(|root| name.split('.').next() == Some(root))
            });
            if let Some(name) = wrong {
                let message = format!("`{{{name}}}` is of an event, and here are only claims");
                tree.report(
                    key,
                    Some(text.into()),
                    message,
                    "use a claim, for example `{sub}`",
                );
                return None;
            }
            if let Err(error) = template.separated() {
                tree.report(key, Some(text.into()), error.to_string(), "");
            }
            Some(template)
        }
    }
}

/// Checks the paths and channels of bare endpoints.
pub(super) fn endpoints(config: &Config, tree: &mut Tree) {
    for (index, endpoint) in config.endpoint.iter().enumerate() {
        let at = format!("endpoint[{index}]");
        endpoint_path(config, index, endpoint, &at, tree);
        if endpoint.token == Some(TokenRule::Required) && !config.auth.configured() {
            let remedy = "configure a key in [auth], or write `token = \"none\"`";
            tree.report(
                &format!("{at}.token"),
                Some("required".into()),
                "a token is required but no key is configured",
                remedy,
            );
        }
        if endpoint.channels.is_empty() && endpoint.rooms.is_none() && tree.has(&format!("{at}.channels")) {
            tree.report(
                &format!("{at}.channels"),
                None,
                "names no channel",
                "add the channels that this path follows",
            );
        }
        for (place, text) in endpoint.channels.iter().enumerate() {
            let key = format!("{at}.channels[{place}]");
            let claims =
                claims_template(text, &key, tree).is_some_and(|template| template.names().next().is_some());
            if claims && endpoint.token == Some(TokenRule::None) {
                let remedy = "remove `token = \"none\"` or name a fixed channel";
                tree.report(
                    &key,
                    Some(text.clone()),
                    "needs claims, but this endpoint takes no token",
                    remedy,
                );
            }
        }
        if let Some(rooms) = &endpoint.rooms {
            rooms_template(rooms, &format!("{at}.rooms"), tree);
        }
    }
}

/// The channel of a room: a template over the room alone.
fn rooms_template(text: &str, key: &str, tree: &mut Tree) {
    let (message, remedy) = match Template::parse(text) {
        Err(error) => (error.to_string(), ""),
        Ok(template) => match template.names().find(|name| *name != "room") {
            Some(name) => (
                format!("`{{{name}}}` is not known here"),
                "`{room}` is all that a room has: `chat_{room}`",
            ),
            None if template.names().next().is_none() => (
                "would be one channel for all rooms".to_owned(),
                "put `{room}` into it, for example `chat_{room}`",
            ),
            None => return,
        },
    };
    tree.report(key, Some(text.into()), message, remedy);
}

fn endpoint_path(config: &Config, index: usize, endpoint: &Endpoint, at: &str, tree: &mut Tree) {
    let (key, path) = (format!("{at}.path"), &endpoint.path);
    if !tree.has(&key) {
        return;
    }
    if !is_path(path) {
        tree.report(&key, Some(path.clone()), "must be a path", "begin it with `/`");
    } else if is_own_path(path) {
        tree.report(
            &key,
            Some(path.clone()),
            "is a path that pregón serves itself",
            "choose another",
        );
    } else if is_socketio(config, path) {
        tree.report(
            &key,
            Some(path.clone()),
            "is below the path of Socket.IO",
            "choose another, or another `socketio.path`",
        );
    } else if is_centrifuge(config, path) {
        tree.report(
            &key,
            Some(path.clone()),
            "is the path of the clients of Centrifugo",
            "choose another, or another `centrifuge.path`",
        );
    } else if *path == config.server.path {
        tree.report(
            &key,
            Some(path.clone()),
            "is the path of the full protocol too",
            "choose another, or another `server.path`",
        );
    } else if config
        .endpoint
        .iter()
        .take(index)
        .any(|other| other.path == *path)
    {
        tree.report(
            &key,
            Some(path.clone()),
            "another endpoint has this path",
            "name all channels in one of them",
        );
    }
}

/// Whether Socket.IO answers at this path.
fn is_socketio(config: &Config, path: &str) -> bool {
    let Some(socketio) = &config.socketio else {
        return false;
    };
    let rest = path.strip_prefix(socketio.path.trim_end_matches('/'));
    rest.is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
}

/// Whether clients of Centrifugo connect at this path.
fn is_centrifuge(config: &Config, path: &str) -> bool {
    config
        .centrifuge
        .as_ref()
        .is_some_and(|centrifuge| centrifuge.path == path)
}

/// Checks `[centrifuge]`.
pub(super) fn centrifuge(config: &Config, tree: &mut Tree) {
    let Some(path) = config.centrifuge.as_ref().map(|centrifuge| &centrifuge.path) else {
        return;
    };
    let (message, remedy) = if !is_path(path) {
        (
            "must be a path",
            "begin it with `/`; `/connection/websocket` is usual",
        )
    } else if is_own_path(path) || *path == config.server.path || is_socketio(config, path) {
        (
            "is a path that pregón serves itself",
            "choose another, in the clients too",
        )
    } else {
        return;
    };
    tree.report("centrifuge.path", Some(path.clone()), message, remedy);
}

/// Shortest `recheck`: each asks for every distinct pair of user and channel.
const SHORTEST: Duration = Duration::from_secs(1);

/// Checks names and rules of channels.
pub(super) fn channels(config: &Config, tree: &mut Tree) {
    for (index, channel) in config.channel.iter().enumerate() {
        let at = format!("channel[{index}]");
        if !tree.has(&format!("{at}.name")) {
            continue;
        }
        let captures = channel_name(config, index, channel, &at, tree);
        let publish = (format!("{at}.publish"), &channel.publish);
        let written = if tree.has(&format!("{at}.allow")) {
            "allow"
        } else {
            "subscribe"
        };
        for (key, text) in [(format!("{at}.{written}"), &channel.subscribe), publish] {
            let Some(text) = text else { continue };
            if let Err(error) = Expr::compile(text, Kind::Client) {
                tree.report(&key, Some(text.clone()), error.to_string(), "");
            }
        }
        for (place, text) in channel.follow.iter().enumerate() {
            claims_template(text, &format!("{at}.follow[{place}]"), tree);
        }
        for (place, event) in channel.volatile.iter().enumerate() {
            if let Err(message) = check_name(event) {
                let remedy = "name an event as clients see it, or `*` for all";
                tree.report(
                    &format!("{at}.volatile[{place}]"),
                    Some(event.clone()),
                    message,
                    remedy,
                );
            }
        }
        naming::followed(channel, &at, written, tree);
        if let Some(sql) = &channel.allow_sql {
            allow_sql(config, sql, captures.as_deref(), &format!("{at}.allow_sql"), tree);
        }
        if let Some(period) = channel.recheck {
            recheck(channel, period, &format!("{at}.recheck"), tree);
        }
    }
}

fn recheck(channel: &Channel, period: Period, key: &str, tree: &mut Tree) {
    let (message, remedy) = if channel.allow_sql.is_none() {
        (
            "asks nothing: the claims of a session stay what they are",
            "add `allow_sql`, or take it out",
        )
    } else if period.0 < SHORTEST {
        ("asks the database too often", "choose one second or more")
    } else {
        return;
    };
    tree.report(key, Some(period.to_string()), message, remedy);
}

/// The captures of the name, if it is one.
fn channel_name(
    config: &Config,
    index: usize,
    channel: &Channel,
    at: &str,
    tree: &mut Tree,
) -> Option<Vec<String>> {
    let key = format!("{at}.name");
    if config
        .channel
        .iter()
        .take(index)
        .any(|other| other.name == channel.name)
    {
        tree.report(
            &key,
            Some(channel.name.clone()),
            "another section has this name, and the first decides",
            "join them",
        );
    }
    match Pattern::parse(&channel.name) {
        Ok(pattern) => Some(pattern.captures().map(str::to_owned).collect()),
        Err(error) => {
            tree.report(&key, Some(channel.name.clone()), error.to_string(), "");
            None
        }
    }
}

fn allow_sql(config: &Config, sql: &str, captures: Option<&[String]>, key: &str, tree: &mut Tree) {
    let query = match NamedSql::select(sql) {
        Ok(query) => query,
        Err(error) => {
            tree.report(
                key,
                Some(sql.into()),
                error.to_string(),
                "write `SELECT true FROM … WHERE …`",
            );
            return;
        }
    };
    if config.postgres.is_none() {
        tree.report(
            key,
            Some(sql.into()),
            "needs a database",
            "add a [postgres] section",
        );
    }
    for name in query.names() {
        let known = match name.split_once('.') {
            Some(("channel", capture)) => {
                captures.is_none_or(|captures| captures.iter().any(|known| known == capture))
            }
            Some(("claims", _)) => true,
            _ => false,
        };
        if !known {
            let remedy = "use `:channel.<capture>` with a capture of the name, or `:claims.<claim>`";
            tree.report(
                key,
                Some(sql.into()),
                format!("`:{name}` is not known here"),
                remedy,
            );
        }
    }
}
