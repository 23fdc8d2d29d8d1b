//! What of the router's objects is in the database already. Reads only.

use tokio_postgres::{Client, Error};

use super::{MARK, RouterSpec, SCHEMA, TableName};

/// Columns and indexes of a table.
pub(super) struct TableFacts {
    pub(super) columns: Vec<String>,
    pub(super) indexes: Vec<String>,
    /// Columns that must be given and that the router does not know.
    pub(super) demanding: Vec<String>,
}

/// What was found.
pub(super) struct Facts {
    /// Whether the schema is there, and ours.
    pub(super) schema: Option<bool>,
    /// Tables of our schema.
    pub(super) tables: Vec<String>,
    /// Names and bodies of our functions.
    pub(super) functions: Vec<(String, String)>,
}

pub(super) async fn read(client: &Client) -> Result<Facts, Error> {
    const OURS: &str = "
        SELECT coalesce(obj_description(oid, 'pg_namespace'), '') LIKE $2 || '%' FROM pg_namespace WHERE nspname = $1";
    const TABLES: &str = "
        SELECT c.relname::text FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace
         WHERE n.nspname = $1 AND c.relkind = 'r'";
    const FUNCTIONS: &str = "
        SELECT p.proname::text, p.prosrc FROM pg_proc p JOIN pg_namespace n ON n.oid = p.pronamespace WHERE n.nspname = $1";
    let schema = client.query_opt(OURS, &[&SCHEMA, &MARK]).await?;
    let tables = client.query(TABLES, &[&SCHEMA]).await?;
    let functions = client.query(FUNCTIONS, &[&SCHEMA]).await?;
    Ok(Facts {
        schema: schema.map(|row| row.try_get(0)).transpose()?,
        tables: tables
            .iter()
            .map(|row| row.try_get(0))
            .collect::<Result<_, _>>()?,
        functions: functions
            .iter()
            .map(|row| Ok((row.try_get(0)?, row.try_get(1)?)))
            .collect::<Result<_, Error>>()?,
    })
}

/// A table of the application, if it is there. `known` are the columns that the router fills.
pub(super) async fn table(
    client: &Client,
    name: &TableName,
    known: &[&str],
) -> Result<Option<TableFacts>, Error> {
    const OID: &str = "
        SELECT c.oid FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace
         WHERE n.nspname = $1 AND c.relname = $2 AND c.relkind IN ('r', 'p', 'v')";
    const COLUMNS: &str = "
        SELECT a.attname::text, a.attnotnull AND NOT a.atthasdef AND a.attidentity = '' AND a.attname <> ALL ($2::text[])
          FROM pg_attribute a WHERE a.attrelid = $1 AND a.attnum > 0 AND NOT a.attisdropped";
    // A unique index counts by what it covers, any other by its name.
    const INDEXES: &str = "
        SELECT i.relname::text FROM pg_index x JOIN pg_class i ON i.oid = x.indexrelid WHERE x.indrelid = $1
        UNION ALL
        SELECT 'unique ' || (SELECT string_agg(a.attname, ',' ORDER BY a.attname) FROM pg_attribute a
                              WHERE a.attrelid = x.indrelid AND a.attnum = ANY (x.indkey))
          FROM pg_index x WHERE x.indrelid = $1 AND x.indisunique AND x.indpred IS NULL AND x.indisvalid";
    let Some(row) = client.query_opt(OID, &[&name.schema, &name.name]).await? else {
        return Ok(None);
    };
    let oid: u32 = row.try_get(0)?;
    let mut facts = TableFacts {
        columns: Vec::new(),
        indexes: Vec::new(),
        demanding: Vec::new(),
    };
    for row in client.query(COLUMNS, &[&oid, &known]).await? {
        let column: String = row.try_get(0)?;
        if row.try_get(1)? {
            facts.demanding.push(column.clone());
        }
        facts.columns.push(column);
    }
    for row in client.query(INDEXES, &[&oid]).await? {
        facts.indexes.extend(row.try_get::<_, Option<String>>(0)?);
    }
    Ok(Some(facts))
}

/// Whether `pregon.publish` is there, of whatever way of capturing.
pub(super) async fn publishes(client: &Client) -> Result<bool, Error> {
    const THERE: &str = "SELECT to_regprocedure('pregon.publish(text, text, jsonb)') IS NOT NULL";
    client.query_one(THERE, &[]).await?.try_get(0)
}

/// Whether a number has a message twice, so that the unique index could not be made.
pub(super) async fn has_repeats(client: &Client, messages: &TableName) -> Result<bool, Error> {
    let sql = format!(
        "SELECT EXISTS (SELECT 1 FROM {} WHERE numero IS NOT NULL AND wamid IS NOT NULL
          GROUP BY numero, wamid HAVING count(*) > 1)",
        messages.sql()
    );
    client.query_one(&sql, &[]).await?.try_get(0)
}

/// Whether the role lacks a right on an object; objects that are yet to be made belong to the present role.
pub(super) async fn lacks(client: &Client, role: &str, question: &str) -> Result<bool, Error> {
    let sql = format!(
        "SELECT NOT coalesce(({question}), r.rolsuper OR r.rolname = current_user) FROM pg_roles r WHERE r.rolname = $1"
    );
    match client.query_opt(&sql, &[&role]).await? {
        Some(row) => row.try_get(0),
        None => Ok(true),
    }
}

/// The sequences behind the ids of tables that were made with `serial`; identity columns need no right.
pub(super) async fn sequences(client: &Client, spec: &RouterSpec) -> Result<Vec<String>, Error> {
    const SERIAL: &str = "
        SELECT pg_get_serial_sequence(format('%I.%I', n.nspname, c.relname), 'id')
          FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace
          JOIN pg_attribute a ON a.attrelid = c.oid AND a.attname = 'id' AND a.attidentity = ''
         WHERE n.nspname = $1 AND c.relname = $2";
    let mut found = Vec::new();
    for table in [&spec.contacts, &spec.conversations, &spec.messages] {
        for row in client.query(SERIAL, &[&table.schema, &table.name]).await? {
            found.extend(row.try_get::<_, Option<String>>(0)?);
        }
    }
    Ok(found)
}
