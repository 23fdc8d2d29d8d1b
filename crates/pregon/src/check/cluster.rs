//! `[cluster]`, and what a log that nodes share needs.

use crate::config::Config;
use crate::config::tree::Tree;

/// Longest name: it stands in names of locks and connections, which PostgreSQL cuts.
const LONGEST: usize = 40;

pub(super) fn cluster(config: &Config, tree: &mut Tree) {
    let (kind, cluster) = (config.log.kind, &config.cluster);
    if !kind.is_shared() {
        if tree.has("cluster") {
            let message = format!(
                "has no effect: a log of kind `{}` belongs to one node",
                kind.as_str()
            );
            let remedy = "set `kind = \"postgres\"` in [log], or remove the section";
            tree.report("cluster", None, message, remedy);
        }
        return;
    }
    if config.postgres.is_none() {
        let message = "lies in the database, and none is configured";
        let remedy = "add [postgres] with url, or set DATABASE_URL beside an empty [postgres]";
        tree.report("log.kind", Some(kind.as_str().to_owned()), message, remedy);
    }
    for (key, name) in [
        ("cluster.name", Some(&cluster.name)),
        ("cluster.node", cluster.node.as_ref()),
    ] {
        let Some(name) = name.filter(|name| !is_name(name)) else {
            continue;
        };
        let remedy = "use letters, digits, `.`, `_`, `-` and `:`, at most 40";
        tree.report(key, Some(name.clone()), "is not a name", remedy);
    }
}

fn is_name(name: &str) -> bool {
    let fits = |c: char| c.is_ascii_alphanumeric() || ".-_:".contains(c);
    !name.is_empty() && name.len() <= LONGEST && name.chars().all(fits)
}
