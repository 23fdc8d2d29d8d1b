//! Checks `[socketio]`.

use pregon_wire::socketio::{is_namespace, room};

use super::data::{LONGEST_NAME, is_table};
use super::{is_own_path, is_path};
use crate::config::tree::Tree;
use crate::config::{Config, Emitter, Socketio};

/// Checks that emitters can be heard, and what they are told by.
pub(super) fn socketio(config: &Config, tree: &mut Tree) {
    let socketio = config.socketio();
    for (index, emitter) in socketio.emitters.iter().enumerate() {
        let (there, message, remedy) = match emitter {
            Emitter::Postgres => (
                config.postgres.is_some(),
                "needs a database",
                "add a [postgres] section with `url`, or set DATABASE_URL beside it",
            ),
            Emitter::Redis => (
                config.redis.is_some(),
                "needs a Redis",
                "add a [redis] section with `url`, or set REDIS_URL beside it",
            ),
        };
        if !there {
            tree.report_key(&format!("socketio.emitters[{index}]"), message, remedy);
        }
    }
    path(config, tree);
    namespaces(socketio, tree);
    for (key, prefix) in [
        ("socketio.redis_prefix", &socketio.redis_prefix),
        ("socketio.postgres_prefix", &socketio.postgres_prefix),
    ] {
        if prefix.is_empty() || prefix.chars().any(char::is_control) {
            tree.report(
                key,
                Some(prefix.clone()),
                "is not a prefix of an emitter",
                "remove it for the default",
            );
        }
    }
    if !is_table(&socketio.postgres_table) {
        let remedy = "write `table` or `schema.table`, with double quotes around a part that has a dot in it";
        let table = Some(socketio.postgres_table.clone());
        tree.report(
            "socketio.postgres_table",
            table,
            "is not the name of a table",
            remedy,
        );
    }
    channels(config, tree);
}

fn path(config: &Config, tree: &mut Tree) {
    let Some(socketio) = &config.socketio else {
        return;
    };
    let trimmed = socketio.path.trim_end_matches('/');
    let (message, remedy) = if !is_path(&socketio.path) || trimmed.is_empty() {
        (
            "must be a path of its own",
            "begin it with `/`; `/socket.io/` is the default of clients",
        )
    } else if is_own_path(trimmed) || config.server.path == trimmed {
        (
            "is a path that pregón serves itself",
            "choose another, in the clients too",
        )
    } else {
        return;
    };
    tree.report("socketio.path", Some(socketio.path.clone()), message, remedy);
}

fn namespaces(socketio: &Socketio, tree: &mut Tree) {
    for (index, namespace) in socketio.namespaces.iter().enumerate() {
        let key = format!("socketio.namespaces[{index}]");
        let value = Some(namespace.clone());
        if !is_namespace(namespace) || !room::is_mappable(namespace) {
            let remedy = "begin it with `/`, without `,` and `#`, for example `/admin`";
            tree.report(&key, value, "is not a namespace", remedy);
        } else if socketio
            .all_namespaces()
            .take(index + 1)
            .any(|other| other == namespace)
        {
            tree.report(&key, value, "is there already", "remove it; `/` is always there");
        }
    }
}

/// The channels are names of PostgreSQL, and nobody else's.
fn channels(config: &Config, tree: &mut Tree) {
    for (channel, _) in config.socketio().postgres_channels() {
        if channel.len() > LONGEST_NAME {
            let message = format!("makes the channel `{channel}` longer than {LONGEST_NAME} bytes");
            let remedy = "PostgreSQL takes no longer one: shorten `postgres_prefix` or the namespace, in the emitters too";
            tree.report("socketio.postgres_prefix", None, message, remedy);
        }
        let listened = config.listen.iter().position(|listen| listen.channel == channel);
        if let Some(index) = listened {
            tree.report(
                &format!("listen[{index}].channel"),
                Some(channel),
                "is a channel of the emitters of [socketio]",
                "remove the [[listen]], or `postgres` from `emitters`",
            );
        }
    }
}
