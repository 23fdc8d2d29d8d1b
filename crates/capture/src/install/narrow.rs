//! Somebody else's publications that cannot go with whole old rows: the server would refuse the application's UPDATE and DELETE.

use tokio_postgres::Client;

use super::error::Problem;
use crate::catalog::names::ident;
use crate::catalog::pieces::above;

/// A publication that names some columns of the table only, or, since 18, leaves out its generated ones.
const NARROW: &str = concat!(
    above!(),
    "SELECT p.pubname::text FROM pg_publication p
     WHERE (p.pubupdate OR p.pubdelete) AND p.pubname <> $2
       AND (EXISTS (SELECT 1 FROM pg_publication_rel r JOIN above a ON a.oid = r.prrelid
                     WHERE r.prpubid = p.oid AND to_jsonb(r)->>'prattrs' IS NOT NULL)
            OR (to_jsonb(p)->>'pubgencols' = 'n'
                AND EXISTS (SELECT 1 FROM pg_attribute g WHERE g.attrelid = $1 AND g.attgenerated <> '' AND NOT g.attisdropped)
                AND EXISTS (SELECT 1 FROM pg_get_publication_tables(p.pubname) t JOIN above a ON a.oid = t.relid)))
     ORDER BY 1"
);

/// Names of the publications, beside our `own`, with which whole old rows of the table `oid` cannot be.
pub(crate) async fn publications(
    client: &Client,
    own: &str,
    oid: u32,
) -> Result<Vec<String>, tokio_postgres::Error> {
    let rows = client.query(NARROW, &[&oid, &own]).await?;
    rows.iter().map(|row| row.try_get(0)).collect()
}

/// Why this table may not get whole old rows.
pub(super) async fn problem(
    client: &Client,
    own: &str,
    watch: &str,
    (oid, name): (u32, &str),
) -> Result<Option<Problem>, tokio_postgres::Error> {
    let found = publications(client, own, oid).await?;
    let Some(first) = found.first() else {
        return Ok(None);
    };
    Ok(Some(Problem::new(
        watch,
        format!(
            "the watch needs whole old rows of {name}, but publication {} has some of its columns only: the application's UPDATE and DELETE \
             would fail",
            found.join(", ")
        ),
        format!(
            "leave `old` and the condition out of this watch, let the publication have all columns (ALTER PUBLICATION {} …), or capture \
             the watch with triggers (capture = \"outbox\")",
            ident(first)
        ),
    )))
}
