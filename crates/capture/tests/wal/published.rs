//! The set of published tables: what cannot be published is refused, and what comes, goes or changes later is seen.

use pregon_capture::connect::Settings;
use pregon_capture::install::{self, WatchSpec, plan};
use pregon_capture::query::{Pool, PoolOptions};
use pregon_capture::wal::{Health, health};
use pregon_testkit::{Database, postgres};

use crate::kit::{install, installed, target};

async fn seen(database: &Database<'_>, target: &install::Target) -> Health {
    let pool = Pool::new(PoolOptions::new(Settings::parse(&database.url()).unwrap()));
    health(&pool, &target.slot, &target.watches).await.unwrap()
}

/// A child that is made after the installation, as a hypertable makes its chunks.
#[tokio::test]
async fn a_child_that_comes_later_is_missing_until_it_is_taken_in() {
    let (database, admin, target) = installed(
        "CREATE TABLE t (id int PRIMARY KEY)",
        vec![WatchSpec::new("t", "public", "t")],
    )
    .await;
    let before = seen(&database, &target).await;
    assert!(before.is_complete(), "{before:?}");
    admin
        .batch_execute("CREATE SCHEMA trozos; CREATE TABLE trozos.uno (PRIMARY KEY (id)) INHERITS (t)")
        .await
        .unwrap();
    let later = seen(&database, &target).await;
    assert_eq!(later.missing, ["trozos.uno is not in the publication"]);
    install(&admin, &target).await.unwrap();
    let after = seen(&database, &target).await;
    assert!(after.is_complete() && after.seal != before.seal, "{after:?}");
    assert_eq!(
        after.publication, before.publication,
        "what was right stays as it is"
    );
}

#[tokio::test]
async fn what_somebody_alters_is_seen_also_when_it_is_altered_back() {
    let (database, admin, target) = installed(
        "CREATE TABLE t (id int PRIMARY KEY, a text)",
        vec![WatchSpec::new("t", "public", "t")],
    )
    .await;
    let name = &target.slot;
    let before = seen(&database, &target).await;
    admin
        .batch_execute(&format!("ALTER PUBLICATION {name} SET (publish = 'insert')"))
        .await
        .unwrap();
    let altered = seen(&database, &target).await;
    assert!(
        altered.missing[0].contains("leaves out operations"),
        "{altered:?}"
    );
    install(&admin, &target).await.unwrap();
    let back = seen(&database, &target).await;
    assert!(
        back.is_complete() && back.publication != before.publication,
        "{back:?}"
    );
    admin
        .batch_execute(&format!(
            "ALTER PUBLICATION {name} DROP TABLE t; ALTER PUBLICATION {name} ADD TABLE t"
        ))
        .await
        .unwrap();
    let again = seen(&database, &target).await;
    assert!(again.is_complete() && again.seal != back.seal, "{again:?}");
    let version = "SELECT current_setting('server_version_num')::int";
    if admin.query_one(version, &[]).await.unwrap().get::<_, i32>(0) >= 150_000 {
        let filter = format!("ALTER PUBLICATION {name} SET TABLE t WHERE (id > 5)");
        admin.batch_execute(&filter).await.unwrap();
        let filtered = seen(&database, &target).await;
        assert!(
            filtered.missing[0].contains("some rows or columns of public.t only"),
            "{filtered:?}"
        );
        install(&admin, &target).await.unwrap();
        assert!(seen(&database, &target).await.is_complete());
    }
}

/// What is written to a foreign partition is in the WAL of another server.
#[tokio::test]
async fn foreign_partitions_and_doubly_watched_ones_are_refused_by_name() {
    let database = Database::create(postgres::shared().await).await.unwrap();
    let admin = database.client().await.unwrap();
    admin
        .batch_execute(
            "CREATE TABLE t (id int PRIMARY KEY) PARTITION BY RANGE (id); CREATE TABLE t1 PARTITION OF t FOR VALUES FROM (0) TO (10);
             CREATE FOREIGN DATA WRAPPER nada; CREATE SERVER lejos FOREIGN DATA WRAPPER nada;
             CREATE TABLE u (id int) PARTITION BY RANGE (id); CREATE FOREIGN TABLE remota PARTITION OF u FOR VALUES FROM (0) TO (10) SERVER lejos",
        )
        .await
        .unwrap();
    let spec = |table: &str| WatchSpec::new(table, "public", table);
    for (watches, words) in [
        (vec![spec("u")], "public.remota is a foreign table"),
        (
            vec![spec("t"), spec("t1")],
            "public.t1 is a partition of public.t",
        ),
    ] {
        let refused = plan(&admin, &target(&database, watches))
            .await
            .unwrap_err()
            .to_string();
        assert!(refused.contains(words), "{refused}");
    }
    // One that comes later is seen.
    let keyed = "DROP TABLE u; CREATE TABLE u (id int PRIMARY KEY)";
    admin.batch_execute(keyed).await.unwrap();
    let target = target(&database, vec![spec("u")]);
    install(&admin, &target).await.unwrap();
    assert!(seen(&database, &target).await.is_complete());
    admin
        .batch_execute("CREATE FOREIGN TABLE remota () INHERITS (u) SERVER lejos")
        .await
        .unwrap();
    let later = seen(&database, &target).await;
    assert!(
        later.blocked[0].contains("public.remota is a foreign table"),
        "{later:?}"
    );
}

/// Up to PostgreSQL 17 a slot cannot go on with a publication that was made after it.
#[tokio::test]
async fn a_publication_that_was_made_anew_renews_an_older_slot() {
    let (database, admin, target) = installed(
        "CREATE TABLE t (id int PRIMARY KEY)",
        vec![WatchSpec::new("t", "public", "t")],
    )
    .await;
    let name = &target.slot;
    let before = seen(&database, &target).await;
    admin
        .batch_execute(&format!(
            "DROP PUBLICATION {name}; CREATE PUBLICATION {name} FOR TABLE t"
        ))
        .await
        .unwrap();
    let refused = plan(&admin, &target).await.unwrap_err().to_string();
    assert!(
        refused.contains(&format!("DROP PUBLICATION \"{name}\"")),
        "{refused}"
    );
    admin
        .batch_execute(&format!(
            "COMMENT ON PUBLICATION {name} IS 'pregon: tables of the watches'"
        ))
        .await
        .unwrap();
    let planned = install(&admin, &target).await.unwrap();
    let objects: Vec<&str> = planned.steps.iter().map(|step| step.object.as_str()).collect();
    let version = "SELECT current_setting('server_version_num')::int";
    let old = admin.query_one(version, &[]).await.unwrap().get::<_, i32>(0) < 180_000;
    assert_eq!(objects.contains(&&*format!("slot {name}")), old, "{objects:?}");
    assert!(plan(&admin, &target).await.unwrap().is_empty());
    let after = seen(&database, &target).await;
    assert!(
        after.is_complete() && after.publication != before.publication,
        "{after:?}"
    );
}

/// Since PostgreSQL 17 a slot that goes over to standbys waits for them.
#[tokio::test]
async fn a_standby_that_holds_up_the_stream_is_named() {
    let setting = ("synchronized_standby_slots".to_owned(), "parado".to_owned());
    let database = Database::create(postgres::shared().await).await.unwrap();
    let version = "SELECT current_setting('server_version_num')::int";
    let admin = database.client().await.unwrap();
    if admin.query_one(version, &[]).await.unwrap().get::<_, i32>(0) < 170_000 {
        return;
    }
    let server = postgres::Server::start(postgres::Options {
        settings: vec![setting],
        ..Default::default()
    })
    .await
    .unwrap();
    let database = Database::create(&server).await.unwrap();
    let admin = database.client().await.unwrap();
    admin
        .batch_execute("CREATE TABLE t (id int PRIMARY KEY)")
        .await
        .unwrap();
    let target = target(&database, vec![WatchSpec::new("t", "public", "t")]);
    install(&admin, &target).await.unwrap();
    let held = seen(&database, &target).await;
    assert_eq!(held.standbys, ["parado"]);
    assert!(!held.is_complete());
}
