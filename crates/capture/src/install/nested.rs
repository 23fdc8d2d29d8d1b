//! A partition that is watched beside a table above it: the server publishes its changes under the uppermost name only.

use tokio_postgres::Client;

use super::error::Problem;
use super::watch::DesiredWatch;
use crate::catalog::pieces::above;

const ABOVE: &str = concat!(above!(), "SELECT oid FROM above WHERE oid <> $1");

/// Refuses watches of tables that other watches have through a root.
pub(super) async fn check(
    client: &Client,
    watches: &[DesiredWatch<'_>],
    problems: &mut Vec<Problem>,
) -> Result<(), tokio_postgres::Error> {
    for watch in watches.iter().filter(|watch| watch.table.is_partition) {
        for row in client.query(ABOVE, &[&watch.table.oid]).await? {
            let above: u32 = row.try_get(0)?;
            let Some(root) = watches.iter().find(|other| other.table.oid == above) else {
                continue;
            };
            problems.push(Problem::new(
                &watch.spec.name,
                format!(
                    "{} is a partition of {}, which watch \"{}\" has: in the WAL its changes come under that name only",
                    watch.table.plain_name(),
                    root.table.plain_name(),
                    root.spec.name
                ),
                "watch the root alone, with a `where` for this part of it, or capture with triggers (capture = \"outbox\")",
            ));
        }
    }
    Ok(())
}
