//! What is in the database already: our objects, and others that carry a name which we want.

use tokio_postgres::{Client, Row};

use super::{ADVISORY_LOCK, InstallError, MARK, OWNER_ROLE, PUBLISHER_ROLE, SCHEMA};

/// Everything that a plan compares with.
#[derive(Debug)]
pub(crate) struct Found {
    pub(crate) version: i32,
    pub(crate) version_text: String,
    pub(crate) standby: bool,
    pub(crate) me: Me,
    pub(crate) owner: Option<RoleFacts>,
    pub(crate) publisher: Option<RoleFacts>,
    pub(crate) schema: Option<SchemaFacts>,
    pub(crate) relations: Vec<RelationFacts>,
    pub(crate) functions: Vec<FunctionFacts>,
    pub(crate) triggers: Vec<TriggerFacts>,
    /// Rows of `pregon.meta`; `None` when it is there and this role may not read it.
    pub(crate) meta: Option<Vec<(String, String)>>,
}

/// The role that the plan was made with.
#[derive(Debug)]
pub(crate) struct Me {
    pub(crate) name: String,
    pub(crate) superuser: bool,
    pub(crate) create_role: bool,
}

/// A role of ours.
#[derive(Debug)]
pub(crate) struct RoleFacts {
    pub(crate) oid: u32,
    pub(crate) marked: bool,
    pub(crate) superuser: bool,
    /// Whether the present role can act as it.
    pub(crate) member: bool,
}

#[derive(Debug)]
pub(crate) struct SchemaFacts {
    pub(crate) oid: u32,
    pub(crate) marked: bool,
    pub(crate) owner: String,
    pub(crate) public_usage: bool,
}

/// A table, sequence or the like in our schema.
#[derive(Debug)]
pub(crate) struct RelationFacts {
    pub(crate) oid: u32,
    pub(crate) name: String,
    pub(crate) kind: String,
    pub(crate) owner: String,
}

#[derive(Debug)]
pub(crate) struct FunctionFacts {
    pub(crate) oid: u32,
    pub(crate) schema: String,
    pub(crate) name: String,
    pub(crate) arguments: String,
    pub(crate) body: String,
    pub(crate) definer: bool,
    pub(crate) settings: Vec<String>,
    pub(crate) owner: String,
    pub(crate) returns_trigger: bool,
    pub(crate) comment: String,
    pub(crate) public_execute: bool,
}

impl FunctionFacts {
    pub(crate) fn is_ours(&self) -> bool {
        self.comment.starts_with(MARK)
    }

    /// The watch that a function of ours was made for.
    pub(crate) fn watch(&self) -> Option<&str> {
        let (_, watch) = self.comment.strip_prefix(MARK)?.split_once("watch=")?;
        Some(watch)
    }

    /// The configuration's part that it was made of; earlier versions did not note it.
    pub(crate) fn identity(&self) -> Option<&str> {
        let (_, value) = self.comment.strip_prefix(MARK)?.split_once("spec=")?;
        value.split(' ').next()
    }

    /// The body's fingerprint when it was installed.
    pub(crate) fn installed_fingerprint(&self) -> Option<&str> {
        let (_, value) = self.comment.strip_prefix(MARK)?.split_once("body=")?;
        value.split(' ').next()
    }
}

#[derive(Debug)]
pub(crate) struct TriggerFacts {
    pub(crate) schema: String,
    pub(crate) table: String,
    pub(crate) name: String,
    pub(crate) type_bits: i16,
    pub(crate) enabled: String,
    pub(crate) rows_alias: Option<String>,
    pub(crate) argument: String,
    pub(crate) condition: bool,
    pub(crate) constraint: bool,
    pub(crate) function_oid: u32,
    pub(crate) function: String,
}

impl TriggerFacts {
    /// Whether it fires for ordinary writes.
    pub(crate) fn fires(&self) -> bool {
        self.enabled == "O" || self.enabled == "A"
    }
}

const SERVER: &str = "
    SELECT current_setting('server_version_num')::int, current_setting('server_version'), pg_is_in_recovery(),
           current_user::text, r.rolsuper, r.rolcreaterole
      FROM pg_roles r WHERE r.rolname = current_user";

const ROLES: &str = "
    SELECT r.rolname::text, r.oid, coalesce(shobj_description(r.oid, 'pg_authid'), '') LIKE $2 || '%', r.rolsuper,
           pg_has_role(current_user, r.oid, 'MEMBER')
      FROM pg_roles r WHERE r.rolname = ANY($1)";

const SCHEMAS: &str = "
    SELECT n.oid, coalesce(obj_description(n.oid, 'pg_namespace'), '') LIKE $2 || '%', pg_get_userbyid(n.nspowner)::text,
           EXISTS (SELECT 1 FROM aclexplode(n.nspacl) a WHERE a.grantee = 0)
      FROM pg_namespace n WHERE n.nspname = $1";

const RELATIONS: &str = "
    SELECT c.oid, c.relname::text, c.relkind::text, pg_get_userbyid(c.relowner)::text
      FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace
     WHERE n.nspname = $1 AND c.relkind <> 'i' ORDER BY c.relname";

const FUNCTIONS: &str = "
    SELECT p.oid, n.nspname::text, p.proname::text, pg_get_function_identity_arguments(p.oid), p.prosrc, p.prosecdef,
           coalesce(p.proconfig, '{}'), r.rolname::text, p.prorettype = 'trigger'::regtype,
           coalesce(d.description, ''),
           EXISTS (SELECT 1 FROM aclexplode(coalesce(p.proacl, acldefault('f', p.proowner))) a WHERE a.grantee = 0)
      FROM pg_proc p JOIN pg_namespace n ON n.oid = p.pronamespace JOIN pg_roles r ON r.oid = p.proowner
      LEFT JOIN pg_description d ON d.objoid = p.oid AND d.classoid = 'pg_proc'::regclass AND d.objsubid = 0
     WHERE n.nspname = $1 OR d.description LIKE $2 || '%'
        OR (n.nspname::text, p.proname::text) IN (SELECT * FROM unnest($3::text[], $4::text[]))
     ORDER BY n.nspname, p.proname";

const TRIGGERS: &str = "
    SELECT n.nspname::text, c.relname::text, t.tgname::text, t.tgtype, t.tgenabled::text, t.tgnewtable::text, t.tgargs,
           t.tgqual IS NOT NULL, t.tgconstraint <> 0, t.tgfoid, p.oid::regproc::text
      FROM pg_trigger t JOIN pg_class c ON c.oid = t.tgrelid JOIN pg_namespace n ON n.oid = c.relnamespace
      JOIN pg_proc p ON p.oid = t.tgfoid
     WHERE NOT t.tgisinternal AND t.tgparentid = 0 AND (t.tgrelid = ANY($1) OR t.tgfoid = ANY($2))
     ORDER BY n.nspname, c.relname, t.tgname";

/// Begins to read: no installer changes anything until [`end`], so that what is read fits together. Our SQL means the server's own
/// functions, whatever the search path of the role says.
pub(crate) async fn begin(client: &Client) -> Result<(), tokio_postgres::Error> {
    let sql = format!(
        "BEGIN READ ONLY; SET LOCAL search_path = pg_catalog, pg_temp; SET LOCAL lock_timeout = '30s'; SELECT pg_advisory_xact_lock_shared({ADVISORY_LOCK})"
    );
    client.batch_execute(&sql).await
}

/// Ends the reading, whatever came of it.
pub(crate) async fn end<T>(client: &Client, result: Result<T, InstallError>) -> Result<T, InstallError> {
    let ended = client.batch_execute("ROLLBACK").await;
    let value = result?;
    ended?;
    Ok(value)
}

/// Reads the catalogue. `functions` are further names (schema, name) to look at, `tables` the watched ones.
pub(crate) async fn read(
    client: &Client,
    functions: &[(String, String)],
    tables: &[u32],
) -> Result<Found, tokio_postgres::Error> {
    let server = client.query_one(SERVER, &[]).await?;
    let roles = client
        .query(ROLES, &[&vec![OWNER_ROLE, PUBLISHER_ROLE], &MARK])
        .await?;
    let schema = client.query_opt(SCHEMAS, &[&SCHEMA, &MARK]).await?;
    let relations = client.query(RELATIONS, &[&SCHEMA]).await?;
    let (schemas, names): (Vec<&str>, Vec<&str>) = functions
        .iter()
        .map(|(schema, name)| (schema.as_str(), name.as_str()))
        .unzip();
    let functions = client
        .query(FUNCTIONS, &[&SCHEMA, &MARK, &schemas, &names])
        .await?;
    let functions = functions
        .iter()
        .map(function_from)
        .collect::<Result<Vec<_>, _>>()?;
    let ours: Vec<u32> = functions.iter().map(|function| function.oid).collect();
    let triggers = client.query(TRIGGERS, &[&tables, &ours]).await?;
    let relations = relations
        .iter()
        .map(relation_from)
        .collect::<Result<Vec<_>, _>>()?;
    let meta = read_meta(client, &relations).await?;
    Ok(Found {
        version: server.try_get(0)?,
        version_text: server.try_get(1)?,
        standby: server.try_get(2)?,
        me: Me {
            name: server.try_get(3)?,
            superuser: server.try_get(4)?,
            create_role: server.try_get(5)?,
        },
        owner: role_from(&roles, OWNER_ROLE)?,
        publisher: role_from(&roles, PUBLISHER_ROLE)?,
        schema: schema.as_ref().map(schema_from).transpose()?,
        relations,
        functions,
        triggers: triggers.iter().map(trigger_from).collect::<Result<_, _>>()?,
        meta,
    })
}

async fn read_meta(
    client: &Client,
    relations: &[RelationFacts],
) -> Result<Option<Vec<(String, String)>>, tokio_postgres::Error> {
    let Some(meta) = relations
        .iter()
        .find(|relation| relation.name == "meta" && relation.kind == "r")
    else {
        return Ok(Some(Vec::new()));
    };
    const READABLE: &str =
        "SELECT has_schema_privilege($1, 'USAGE') AND has_table_privilege($2::oid, 'SELECT')";
    if !client
        .query_one(READABLE, &[&SCHEMA, &meta.oid])
        .await?
        .try_get::<_, bool>(0)?
    {
        return Ok(None);
    }
    let rows = client
        .query("SELECT key, value FROM pregon.meta ORDER BY key", &[])
        .await?;
    rows.iter()
        .map(|row| Ok((row.try_get(0)?, row.try_get(1)?)))
        .collect::<Result<Vec<_>, _>>()
        .map(Some)
}

fn role_from(rows: &[Row], name: &str) -> Result<Option<RoleFacts>, tokio_postgres::Error> {
    for row in rows {
        if row.try_get::<_, &str>(0)? == name {
            return Ok(Some(RoleFacts {
                oid: row.try_get(1)?,
                marked: row.try_get(2)?,
                superuser: row.try_get(3)?,
                member: row.try_get(4)?,
            }));
        }
    }
    Ok(None)
}

fn schema_from(row: &Row) -> Result<SchemaFacts, tokio_postgres::Error> {
    Ok(SchemaFacts {
        oid: row.try_get(0)?,
        marked: row.try_get(1)?,
        owner: row.try_get(2)?,
        public_usage: row.try_get(3)?,
    })
}

fn relation_from(row: &Row) -> Result<RelationFacts, tokio_postgres::Error> {
    Ok(RelationFacts {
        oid: row.try_get(0)?,
        name: row.try_get(1)?,
        kind: row.try_get(2)?,
        owner: row.try_get(3)?,
    })
}

fn function_from(row: &Row) -> Result<FunctionFacts, tokio_postgres::Error> {
    Ok(FunctionFacts {
        oid: row.try_get(0)?,
        schema: row.try_get(1)?,
        name: row.try_get(2)?,
        arguments: row.try_get(3)?,
        body: row.try_get(4)?,
        definer: row.try_get(5)?,
        settings: row.try_get(6)?,
        owner: row.try_get(7)?,
        returns_trigger: row.try_get(8)?,
        comment: row.try_get(9)?,
        public_execute: row.try_get(10)?,
    })
}

fn trigger_from(row: &Row) -> Result<TriggerFacts, tokio_postgres::Error> {
    let arguments: Vec<u8> = row.try_get(6)?;
    let first = arguments.split(|byte| *byte == 0).next().unwrap_or_default();
    Ok(TriggerFacts {
        schema: row.try_get(0)?,
        table: row.try_get(1)?,
        name: row.try_get(2)?,
        type_bits: row.try_get(3)?,
        enabled: row.try_get(4)?,
        rows_alias: row.try_get(5)?,
        argument: String::from_utf8_lossy(first).into_owned(),
        condition: row.try_get(7)?,
        constraint: row.try_get(8)?,
        function_oid: row.try_get(9)?,
        function: row.try_get(10)?,
    })
}
