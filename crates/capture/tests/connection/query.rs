//! The pool: single queries, batches, publishing.

use std::time::Duration;

use pregon_capture::attachment::{Attachment, Attachments};
use pregon_capture::connect::Settings;
use pregon_capture::query::{NamedSql, Pool, PoolOptions, QueryError};
use pregon_testkit::Database;
use pregon_testkit::postgres::shared;
use serde_json::{Value, json};

fn pool(database: &Database<'_>) -> anyhow::Result<Pool> {
    Ok(Pool::new(PoolOptions {
        size: 2,
        statement_timeout: Duration::from_millis(500),
        ..PoolOptions::new(Settings::parse(&database.url())?)
    }))
}

const MIEMBROS: &str = "CREATE TYPE nivel AS ENUM ('oro', 'plata');
    CREATE TABLE miembros (id_miembro bigint PRIMARY KEY, nombre text, nivel nivel, alta timestamptz);
    INSERT INTO miembros SELECT n, 'miembro ' || n, 'oro', '2026-01-02 03:04:05+00' FROM generate_series(1, 100) AS n;";

#[tokio::test]
async fn a_batch_is_one_statement_and_keeps_the_order() -> anyhow::Result<()> {
    let database = Database::create(shared().await).await?;
    database.execute(MIEMBROS).await?;
    let pool = pool(&database)?;
    let sql = NamedSql::parse("SELECT nombre FROM miembros WHERE id_miembro = :id_miembro -- comment");
    let rows: Vec<Value> = (0..1000)
        .map(|n| json!({"id_miembro": (n * 7) % 150, "otro": {"a": [1]}}))
        .collect();
    let found = pool.query_batch(&sql, &rows).await?;
    assert_eq!(found.len(), rows.len());
    for (row, found) in rows.iter().zip(&found) {
        let id = row["id_miembro"].as_i64().unwrap();
        let expected = (1..=100)
            .contains(&id)
            .then(|| json!({"nombre": format!("miembro {id}")}));
        assert_eq!(*found, expected);
    }
    assert!(pool.query_batch(&sql, &[]).await?.is_empty());
    Ok(())
}

#[tokio::test]
async fn a_batch_takes_types_from_the_statement() -> anyhow::Result<()> {
    let database = Database::create(shared().await).await?;
    database.execute(MIEMBROS).await?;
    let pool = pool(&database)?;
    let sql = NamedSql::parse(
        "SELECT count(*) AS n, max(alta) AS alta FROM miembros
         WHERE nivel = :nivel AND id_miembro = ANY(:ids) AND alta < :hasta AND (:extra::jsonb) ? 'a';",
    );
    let rows = [
        json!({"nivel": "oro", "ids": [1, 2, 3], "hasta": "2027-01-01", "extra": {"a": 1}}),
        json!({"nivel": "plata", "ids": [1], "hasta": "2027-01-01", "extra": {"a": 1}}),
        json!({"nivel": null, "ids": null}),
    ];
    let found = pool.query_batch(&sql, &rows).await?;
    assert_eq!(
        found[0],
        Some(json!({"n": 3, "alta": "2026-01-02T03:04:05+00:00"}))
    );
    assert_eq!(found[1].as_ref().unwrap()["n"], 0);
    assert_eq!(found[2].as_ref().unwrap()["n"], 0);
    Ok(())
}

#[tokio::test]
async fn values_are_never_sql() -> anyhow::Result<()> {
    let database = Database::create(shared().await).await?;
    let pool = pool(&database)?;
    let evil = "'; DROP TABLE x; -- \" $1 :a \\";
    let sql = NamedSql::parse("SELECT :a::text AS a");
    let expected = json!({"a": evil});
    assert_eq!(
        pool.query_batch(&sql, std::slice::from_ref(&expected)).await?,
        [Some(expected.clone())]
    );
    assert_eq!(
        pool.query_named(&sql, expected.as_object().unwrap()).await?,
        std::slice::from_ref(&expected)
    );
    assert_eq!(
        pool.query_json("SELECT $1::text AS a", &[json!(evil)]).await?,
        [expected]
    );
    Ok(())
}

#[tokio::test]
async fn the_first_row_wins_and_numbers_keep_their_digits() -> anyhow::Result<()> {
    let database = Database::create(shared().await).await?;
    let pool = pool(&database)?;
    let sql = NamedSql::parse("SELECT v FROM (VALUES (:n::numeric), (0)) AS t(v) ORDER BY v DESC");
    let found = pool
        .query_batch_raw(
            &sql,
            &[r#"{"n":123456789012345678901234567890.10}"#, r#"{"n":-1}"#],
        )
        .await?;
    assert_eq!(
        found[0].as_deref(),
        Some(&br#"{"v":123456789012345678901234567890.10}"#[..])
    );
    assert_eq!(found[1].as_deref(), Some(&br#"{"v":0}"#[..]));
    Ok(())
}

#[tokio::test]
async fn single_queries_bind_json_values_of_all_kinds() -> anyhow::Result<()> {
    let database = Database::create(shared().await).await?;
    let pool = pool(&database)?;
    let sql =
        "SELECT $1::int AS i, $2::bool AS b, $3::jsonb AS j, $4::text[] AS a, $5::text AS n, $6::jsonb AS s;";
    let params = [
        json!(7),
        json!(true),
        json!({"k": 1}),
        json!(["a\"b\\", null, "ñ"]),
        Value::Null,
        json!("x"),
    ];
    let rows = pool.query_json(sql, &params).await?;
    assert_eq!(
        rows,
        [json!({"i": 7, "b": true, "j": {"k": 1}, "a": ["a\"b\\", null, "ñ"], "n": null, "s": "x"})]
    );
    assert!(matches!(
        pool.query_json("SELECT $1::int AS i", &[]).await,
        Err(QueryError::Value(_))
    ));
    Ok(())
}

#[tokio::test]
async fn errors_have_kinds_and_leave_the_pool_usable() -> anyhow::Result<()> {
    let database = Database::create(shared().await).await?;
    let pool = pool(&database)?;
    assert!(matches!(
        pool.query_json("SELECT pg_sleep(30)", &[]).await,
        Err(QueryError::Timeout)
    ));
    assert!(
        matches!(pool.query_json("SELECT nope", &[]).await, Err(QueryError::Sql { code, .. }) if code == "42703")
    );
    let wrong = pool
        .query_json("SELECT $1::int AS i", &[json!("x")])
        .await
        .unwrap_err();
    assert!(wrong.is_permanent(), "{wrong}");
    // Both connections at once, then one that was cut behind the pool's back.
    let (a, b) = tokio::join!(
        pool.query_json("SELECT 1 AS x", &[]),
        pool.query_json("SELECT 2 AS x", &[])
    );
    assert_eq!((a?, b?), (vec![json!({"x": 1})], vec![json!({"x": 2})]));
    database
        .execute("SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = current_database() AND pid <> pg_backend_pid()")
        .await?;
    pregon_testkit::eventually(Duration::from_secs(5), || async {
        pool.query_json("SELECT 3 AS x", &[]).await
    })
    .await?;
    Ok(())
}

#[tokio::test]
async fn a_changed_table_does_not_break_a_prepared_statement() -> anyhow::Result<()> {
    let database = Database::create(shared().await).await?;
    database
        .execute("CREATE TABLE t (a int); INSERT INTO t VALUES (1)")
        .await?;
    let pool = pool(&database)?;
    let sql = NamedSql::parse("SELECT * FROM t WHERE a = :a");
    assert_eq!(
        pool.query_batch(&sql, &[json!({"a": 1})]).await?,
        [Some(json!({"a": 1}))]
    );
    database.execute("ALTER TABLE t ADD b text DEFAULT 'x'").await?;
    assert_eq!(
        pool.query_batch(&sql, &[json!({"a": 1})]).await?,
        [Some(json!({"a": 1, "b": "x"}))]
    );
    database.execute("ALTER TABLE t ALTER a TYPE text").await?;
    assert_eq!(
        pool.query_batch(&sql, &[json!({"a": "1"})]).await?,
        [Some(json!({"a": "1", "b": "x"}))]
    );
    Ok(())
}

#[tokio::test]
async fn attachments_are_read_by_id_and_never_beyond_the_limit() -> anyhow::Result<()> {
    let database = Database::create(shared().await).await?;
    database
        .execute(
            "CREATE SCHEMA chat; CREATE TABLE chat.\"Files\" (id bigserial UNIQUE, payload bytea);
             INSERT INTO chat.\"Files\" (payload) VALUES ('\\x00ff10'), (NULL)",
        )
        .await?;
    let pool = pool(&database)?;
    let files = Attachments::new("chat.Files");
    let whole = Attachment::Payload(vec![0, 255, 16].into());
    assert_eq!(files.fetch(&pool, 1, 3).await?, whole);
    assert_eq!(files.fetch(&pool, 1, 2).await?, Attachment::TooLarge);
    assert_eq!(files.fetch(&pool, 2, 3).await?, Attachment::TooLarge);
    assert_eq!(files.fetch(&pool, 3, 3).await?, Attachment::Missing);
    let unknown = Attachments::new("files").fetch(&pool, 1, 3).await;
    assert!(matches!(unknown, Err(QueryError::Sql { .. })), "{unknown:?}");
    Ok(())
}
