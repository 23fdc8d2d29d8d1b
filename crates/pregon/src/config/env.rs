//! The environment over the file. A variable whose section the file does not have is ignored, and so is an empty one.

use super::address;
use super::tree::Tree;
use super::units::Secret;
use super::{Config, Postgres, Redis, Router, admin};

/// Lays the variables over the configuration.
pub(super) fn overlay(config: &mut Config, tree: &mut Tree, env: &dyn Fn(&str) -> Option<String>) {
    let variable = |name: &str| env(name).filter(|value| !value.is_empty());
    if let Some(postgres) = &mut config.postgres {
        overlay_postgres(postgres, &variable);
    }
    if let Some(redis) = &mut config.redis {
        overlay_redis(redis, tree, &variable);
    }
    // A shared secret beside a public key could only weaken it, so the variable is not for such a section.
    let shared = tree.has("auth") && config.auth.public_key_file.is_none() && config.auth.jwks_url.is_none();
    if let Some(secret) = variable("JWT_SECRET").filter(|_| shared) {
        config.auth.secret = Some(Secret::new(secret));
        config.auth.secret_file = None;
    }
    for decrypt in &mut config.decrypt {
        let key = decrypt.key_env.as_deref().and_then(&variable);
        decrypt.key = key.map(Secret::new);
    }
    for webhook in &mut config.webhook {
        if let Some(secret) = webhook.secret_env.as_deref().and_then(&variable) {
            webhook.secret = Some(Secret::new(secret));
        }
    }
    if let Some(router) = &mut config.router {
        overlay_router(router, &variable);
    }
    if let Some(key) = variable("PREGON_API_KEY") {
        config.server.api_key = Some(Secret::new(key));
    }
    if let Some(token) = variable("PREGON_ADMIN_TOKEN").map(Secret::new) {
        if let Some(weakness) = admin::weakness(&token) {
            tree.report_variable("PREGON_ADMIN_TOKEN", weakness, admin::REMEDY);
        }
        config.admin.token = Some(token);
    }
    if let Some(folder) = variable("PREGON_DATA") {
        // Relative to where the program was started, unlike paths in the file.
        let folder = std::path::absolute(&folder).unwrap_or_else(|_| folder.into());
        config.log.path = Some(folder.display().to_string());
    }
    if let Some(node) = variable("PREGON_NODE") {
        config.cluster.node = Some(node);
    }
    if let Some(listen) = variable("PREGON_LISTEN") {
        if super::net::is_listen_address(&listen) {
            if let Some(router) = &mut config.router {
                router.listen.clone_from(&listen);
            }
            config.server.listen = listen;
        } else {
            tree.report_variable(
                "PREGON_LISTEN",
                "must be `address:port`",
                "write it like `0.0.0.0:8080`",
            );
        }
    } else if let Some(port) = variable("PORT") {
        overlay_port(config, tree, &port);
    }
}

fn overlay_postgres(postgres: &mut Postgres, variable: &dyn Fn(&str) -> Option<String>) {
    if let Some(url) = variable("DATABASE_URL") {
        postgres.url = Some(Secret::new(url));
    }
    if let Some(url) = variable("PREGON_ADMIN_URL") {
        postgres.admin_url = Some(Secret::new(url));
    }
}

fn overlay_router(router: &mut Router, variable: &dyn Fn(&str) -> Option<String>) {
    for (name, secret) in [
        ("WHATSAPP_APP_SECRET", &mut router.app_secret),
        ("WHATSAPP_VERIFY_TOKEN", &mut router.verify_token),
        ("WHATSAPP_TOKEN", &mut router.token),
    ] {
        if let Some(value) = variable(name) {
            *secret = Some(Secret::new(value));
        }
    }
    if let Some(url) = variable("WHATSAPP_GRAPH_URL") {
        router.graph_url = url;
    }
}

/// `REDIS_URL` says everything; without it `REDIS_ADDR` and `REDIS_PASSWORD` change hosts and password of the file's address.
fn overlay_redis(redis: &mut Redis, tree: &mut Tree, variable: &dyn Fn(&str) -> Option<String>) {
    if let Some(url) = variable("REDIS_URL") {
        redis.url = Some(Secret::new(url));
        redis.password = None;
        return;
    }
    if let Some(hosts) = variable("REDIS_ADDR") {
        let given = redis.url.as_ref().map_or("redis://", Secret::reveal);
        match address::with_hosts(given, &hosts) {
            Some(url) => redis.url = Some(Secret::new(url)),
            None => tree.report_variable(
                "REDIS_ADDR",
                "must be `host:port`",
                "write it like `127.0.0.1:6379`, or set REDIS_URL",
            ),
        }
    }
    if let Some(password) = variable("REDIS_PASSWORD") {
        redis.password = Some(Secret::new(password));
    }
}

/// `PORT` is for a file that names no address: platforms set it, and what the file says is meant. Such a gateway listens everywhere, because
/// a platform's clients come from outside.
fn overlay_port(config: &mut Config, tree: &mut Tree, port: &str) {
    let Ok(port) = port.parse::<u16>() else {
        tree.report_variable("PORT", "must be a port", "write a number from 0 to 65535");
        return;
    };
    let everywhere = format!("0.0.0.0:{port}");
    if let Some(router) = config.router.as_mut().filter(|_| !tree.has("router.listen")) {
        router.listen.clone_from(&everywhere);
    }
    if !tree.has("server.listen") {
        config.server.listen = everywhere;
    }
}
