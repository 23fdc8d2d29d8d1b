//! Tables that a native subscription writes: it fires triggers of rows only, and only those that are ENABLE ALWAYS.

use std::time::Duration;

use pregon_capture::install::{self, Mode, Target, WatchSpec, plan};
use pregon_testkit::eventually;
use pregon_testkit::postgres::{Database, Options, Server};

use crate::kit::install;

const TABLE: &str = "CREATE TABLE t (id int PRIMARY KEY, n int)";
const SOON: Duration = Duration::from_secs(20);

#[tokio::test]
async fn what_a_subscription_writes_is_captured_once_its_owner_says_so() {
    let options = Options {
        settings: vec![("wal_level".into(), "logical".into())],
        ..Options::default()
    };
    let server = Server::start(options).await.unwrap();
    let (from, to) = (
        Database::create(&server).await.unwrap(),
        Database::create(&server).await.unwrap(),
    );
    from.execute(TABLE).await.unwrap();
    from.execute("CREATE PUBLICATION p FOR TABLE t").await.unwrap();
    from.execute("SELECT pg_create_logical_replication_slot('copy', 'pgoutput')")
        .await
        .unwrap();
    let admin = to.client().await.unwrap();
    admin.batch_execute(TABLE).await.unwrap();
    let target = Target {
        watches: vec![WatchSpec::new("t", "public", "t")],
        mode: Mode::Outbox,
        ..Target::default()
    };
    // The subscription comes later than the statement trigger.
    install(&admin, &target).await.unwrap();
    let subscribe = format!(
        "CREATE SUBSCRIPTION copy CONNECTION '{}' PUBLICATION p WITH (create_slot = false, copy_data = false)",
        from.url()
    );
    admin.batch_execute(&subscribe).await.unwrap();
    // As it is, the rows of a session are captured; ALWAYS would give updates without inserts.
    assert!(plan(&admin, &target).await.unwrap().is_sufficient());
    admin
        .batch_execute("ALTER TABLE t ENABLE ALWAYS TRIGGER \"!pregon_t\"")
        .await
        .unwrap();
    assert!(!plan(&admin, &target).await.unwrap().is_sufficient());

    install(&admin, &target).await.unwrap();
    let planned = plan(&admin, &target).await.unwrap();
    assert!(planned.is_empty() && planned.warnings.is_empty(), "{planned:?}");
    admin
        .batch_execute("ALTER TABLE t ENABLE TRIGGER ALL")
        .await
        .unwrap();
    let warned = plan(&admin, &target).await.unwrap().warnings.join("; ");
    let (_, remedy) = warned.split_once('`').unwrap();
    let (remedy, _) = remedy.split_once('`').unwrap();
    assert!(warned.contains("subscription copy writes public.t"), "{warned}");
    admin.batch_execute(remedy).await.unwrap();

    from.execute(
        "INSERT INTO t VALUES (1, 1), (2, 2); UPDATE t SET n = 3 WHERE id = 1; DELETE FROM t WHERE id = 2",
    )
    .await
    .unwrap();
    let captured = eventually(SOON, || async {
        let sql = "SELECT string_agg(op::text, '' ORDER BY id) FROM pregon.outbox";
        let ops: Option<String> = admin.query_one(sql, &[]).await?.get(0);
        anyhow::ensure!(ops.as_deref() == Some("IIUD"), "{ops:?}");
        Ok(())
    });
    captured.await.unwrap();
    assert!(install::plan(&admin, &target).await.unwrap().is_empty());
    admin.batch_execute("DROP SUBSCRIPTION copy").await.unwrap();
}
