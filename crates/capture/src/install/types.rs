//! Schemas in which the types of watched columns live. A row becomes JSON by functions of its types: the output function, or that of a cast to
//! json (PostGIS, hstore, one's own), and what these look up by name is only found by a role that may use the schema. The trigger function runs
//! as the owner of our objects, whatever the writer may do.

use tokio_postgres::Client;

use super::InstallError;
use super::granted::Wanted;
use super::grants::usage;
use super::watch::DesiredWatch;

/// Why such a right is wanted.
pub(crate) const REASON: &str = "functions that make JSON of the watched columns' types are in it";

/// Types of the columns `$2` of table `$1` (of all, where none is named), those that they are made of, and of these the schemas where functions
/// are called that make text or JSON of a value; who has the right, and who can give it.
const SCHEMAS: &str = "
    WITH RECURSIVE used (oid) AS (
        SELECT a.atttypid FROM pg_attribute a
         WHERE a.attrelid = $1 AND a.attnum > 0 AND NOT a.attisdropped AND (cardinality($2::text[]) = 0 OR a.attname = ANY ($2))
        UNION
        SELECT part.oid FROM used JOIN pg_type t ON t.oid = used.oid CROSS JOIN LATERAL (
            SELECT t.typbasetype WHERE t.typbasetype <> 0
            UNION ALL SELECT t.typelem WHERE t.typelem <> 0
            UNION ALL SELECT r.rngsubtype FROM pg_range r WHERE r.rngtypid = t.oid
            -- Only 14 and later have multiranges.
            UNION ALL SELECT r.rngtypid FROM pg_range r WHERE (to_jsonb(r) ->> 'rngmultitypid')::oid = t.oid
            UNION ALL SELECT a.atttypid FROM pg_attribute a WHERE a.attrelid = t.typrelid AND a.attnum > 0 AND NOT a.attisdropped
          ) AS part (oid)),
    called (type, schema) AS (
        SELECT t.oid, s.schema FROM used JOIN pg_type t ON t.oid = used.oid JOIN pg_proc p ON p.oid = t.typoutput
          CROSS JOIN LATERAL (VALUES (t.typnamespace), (p.pronamespace)) AS s (schema) WHERE t.typtype = 'b' AND t.typcategory <> 'A'
        UNION
        SELECT t.oid, s.schema FROM used JOIN pg_type t ON t.oid = used.oid
          JOIN pg_cast c ON c.castsource = t.oid AND c.casttarget = 'json'::regtype JOIN pg_proc p ON p.oid = c.castfunc
          CROSS JOIN LATERAL (VALUES (t.typnamespace), (p.pronamespace)) AS s (schema))
    SELECT n.nspname::text, min(format_type(called.type, NULL)), coalesce(bool_and(has_schema_privilege(r.oid, n.oid, 'USAGE')), false),
           bool_and(has_schema_privilege(n.oid, 'USAGE WITH GRANT OPTION'))
      FROM called JOIN pg_namespace n ON n.oid = called.schema LEFT JOIN pg_roles r ON r.rolname = $3
     WHERE n.nspname NOT IN ('pg_catalog', 'information_schema', 'pregon') GROUP BY n.nspname ORDER BY 1";

/// What `role` wants so that rows become JSON; warnings say what who installs cannot give. `columns` are those that are read, all if empty.
pub(crate) async fn schemas(
    client: &Client,
    role: &str,
    watch: &DesiredWatch<'_>,
    columns: &[String],
    wanted: &mut Vec<Wanted>,
) -> Result<Vec<String>, InstallError> {
    let mut warnings = Vec::new();
    for row in client
        .query(SCHEMAS, &[&watch.table.oid, &columns, &role])
        .await?
    {
        let (schema, kind): (String, String) = (row.try_get(0)?, row.try_get(1)?);
        let (held, may_grant): (bool, bool) = (row.try_get(2)?, row.try_get(3)?);
        if !held && !may_grant {
            warnings.push(format!(
                "watch {}: role {role} may not use schema {schema}, where type {kind} of a column lives, and you cannot grant that; if a function that \
                 makes JSON of it looks for something there, each row becomes a gap: GRANT USAGE ON SCHEMA {schema} TO {role}",
                watch.spec.name
            ));
            continue;
        }
        wanted.push(Wanted {
            granted: usage(role, &schema),
            held,
            reason: REASON,
        });
    }
    Ok(warnings)
}
