//! Rights that were granted once and that nothing needs any more: another way of capturing, fewer watches, fewer columns.
//!
//! Only what `pregon.meta` remembers as given by us is looked at, and only of the roles that this target is about: another gateway of the
//! database may have a role of its own. The application's own queries (enrichment, `allow_sql`) may have come to rely on such a right, so one
//! whose table they name stays.

use std::collections::HashSet;

use tokio_postgres::Client;

use super::InstallError;
use super::found::Found;
use super::granted::{Granted, Wanted};
use super::spec::Target;
use crate::catalog::names::ident;

/// What is to be taken back from `roles`.
pub(crate) async fn stale(
    client: &Client,
    found: &Found,
    target: &Target,
    roles: &[&str],
    wanted: &[Wanted],
) -> Result<Vec<Granted>, InstallError> {
    let mut stale = Vec::new();
    if !target.prune {
        return Ok(stale);
    }
    for (key, value) in found.meta.iter().flatten() {
        // A note that cannot be read is told when everything is removed.
        let Some(granted) = key
            .strip_prefix("grant:")
            .and_then(|_| serde_json::from_str::<Granted>(value).ok())
        else {
            continue;
        };
        let needed = wanted.iter().any(|one| one.granted == granted);
        if roles.contains(&granted.role.as_str())
            && !needed
            && !is_queried(&granted, &target.queries)
            && granted.is_there(client).await?
        {
            stale.push(granted);
        }
    }
    let tables = stale.clone();
    let mut kept = Vec::with_capacity(stale.len());
    for granted in stale {
        if granted.table.is_some() || !reads_more(client, &granted, &tables).await? {
            kept.push(granted);
        }
    }
    Ok(kept)
}

/// Whether one of the queries may be about it. Rather one too many: names in comments and texts count.
fn is_queried(granted: &Granted, queries: &[String]) -> bool {
    let name = granted.table.as_deref().unwrap_or(&granted.schema);
    let lower = name.to_lowercase();
    queries.iter().any(|query| {
        let words: HashSet<String> = query
            .split(|c: char| !c.is_alphanumeric() && c != '_' && c != '$')
            .map(str::to_lowercase)
            .collect();
        words.contains(&lower) || query.contains(&ident(name))
    })
}

/// Whether the role reads something else in that schema, which it then still has to be able to use.
async fn reads_more(
    client: &Client,
    usage: &Granted,
    stale: &[Granted],
) -> Result<bool, tokio_postgres::Error> {
    const READS: &str = "
        SELECT EXISTS (SELECT 1 FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace
                        WHERE n.nspname = $2 AND c.relkind IN ('r', 'p', 'v', 'm', 'f') AND c.relname <> ALL ($3)
                          AND (has_table_privilege($1::name, c.oid, 'SELECT') OR has_any_column_privilege($1::name, c.oid, 'SELECT')))";
    let same = stale
        .iter()
        .filter(|one| one.role == usage.role && one.schema == usage.schema);
    let tables: Vec<&str> = same.filter_map(|one| one.table.as_deref()).collect();
    client
        .query_one(READS, &[&usage.role, &usage.schema, &tables])
        .await?
        .try_get(0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_right_that_a_query_may_need_is_found_by_its_words() {
        let on = |schema: &str, table: Option<&str>| Granted {
            role: "r".into(),
            schema: schema.into(),
            table: table.map(str::to_owned),
            columns: Vec::new(),
        };
        let queries = ["SELECT true FROM App.members m JOIN \"My Table\" ON true".to_owned()];
        assert!(is_queried(&on("app", Some("members")), &queries));
        assert!(is_queried(&on("app", Some("My Table")), &queries));
        assert!(is_queried(&on("app", None), &queries));
        assert!(!is_queried(&on("app", Some("member")), &queries));
        assert!(!is_queried(&on("other", None), &queries));
    }
}
