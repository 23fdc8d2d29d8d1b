//! Who makes partitions of a watched table: PostgreSQL hands our row triggers down to a new partition in the name of whoever
//! makes it, and refuses the partition where that role may not execute the function.
//!
//! Only who owns a partitioned table may make partitions of it, and who owns it writes into it as well: the right to
//! execute the function gives its owner nothing more to tell clients than it has already.

use tokio_postgres::Client;

use super::InstallError;
use super::plan::{Step, StepKind};
use super::watch::DesiredWatch;
use crate::catalog::Kind;
use crate::catalog::names::ident;

/// Owners of the partitioned tables of a tree who may not execute the function, superusers apart.
const OWNERS: &str = "
    SELECT DISTINCT r.rolname::text
      FROM pg_partition_tree($1::oid::regclass) t
      JOIN pg_class c ON c.oid = t.relid AND c.relkind = 'p'
      JOIN pg_roles r ON r.oid = c.relowner
     WHERE NOT r.rolsuper
       AND NOT EXISTS (SELECT 1 FROM pg_proc p JOIN pg_namespace n ON n.oid = p.pronamespace
                        WHERE n.nspname = $2 AND p.proname = $3 AND p.pronargs = 0
                          AND has_function_privilege(r.oid, p.oid, 'EXECUTE'))
     ORDER BY 1";

/// Steps for every right that is missing.
pub(crate) async fn steps(
    client: &Client,
    watches: &[DesiredWatch<'_>],
    steps: &mut Vec<Step>,
) -> Result<(), InstallError> {
    let partitioned =
        |watch: &&DesiredWatch<'_>| watch.table.kind == Kind::Partitioned && !watch.triggers.is_empty();
    for watch in watches.iter().filter(partitioned) {
        let (oid, schema, name) = (&watch.table.oid, &watch.function_schema, &watch.function_name);
        for row in client.query(OWNERS, &[oid, schema, name]).await? {
            let owner: String = row.try_get(0)?;
            steps.push(Step {
                sql: format!(
                    "GRANT EXECUTE ON FUNCTION {}() TO {}",
                    watch.function(),
                    ident(&owner)
                ),
                reason: format!(
                    "{owner} makes partitions of {}, which take over its triggers",
                    watch.table.plain_name()
                ),
                object: format!("function {schema}.{name}"),
                // Changes are captured without it.
                kind: StepKind::Tidy("grant"),
            });
        }
    }
    Ok(())
}
